# SPDX-License-Identifier: Apache-2.0
"""The extractor's parser under ASan and UBSan, fed with mutated archives."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "csrc" / "untar" / name for name in ("header.c", "name.c", "reader.c")]


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "fuzz_tar"
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    command: list[str | Path] = [
        "gcc",
        *flags,
        f"-I{ROOT / 'csrc'}",
        Path(__file__).with_name("fuzz_tar.c"),
        *SOURCES,
        "-o",
        path,
    ]
    subprocess.run(command, check=True)
    return path


@pytest.mark.parametrize("seed", [1, 20130326])
def test_mutated_archives(fuzzer: Path, seed: int) -> None:
    done = subprocess.run([fuzzer, str(seed), "100000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[2]) > 100_000, "the mutations leave nothing to read"
