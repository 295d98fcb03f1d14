# SPDX-License-Identifier: Apache-2.0
"""Archives' code under ASan and UBSan: the extractor's parser with mutated ones, the packer's writer read back."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READER = [ROOT / "csrc" / "untar" / name for name in ("header.c", "name.c", "reader.c")]
WRITER = [ROOT / "csrc" / "tar" / name for name in ("encode.c", "links.c", "output.c")]


def build(directory: Path, name: str, sources: list[Path]) -> Path:
    path = directory / name
    flags = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-fsanitize=address,undefined", "-fno-sanitize-recover"]
    source = Path(__file__).with_name(f"{name}.c")
    command: list[str | Path] = ["gcc", *flags, f"-I{ROOT / 'csrc'}", source, *sources, "-o", path]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("fuzz"), "fuzz_tar", READER)


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("writer"), "fuzz_tar_writer", [*READER, *WRITER])


@pytest.mark.parametrize("seed", [1, 20130326])
def test_mutated_archives(fuzzer: Path, seed: int) -> None:
    done = subprocess.run([fuzzer, str(seed), "100000"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[2]) > 100_000, "the mutations leave nothing to read"


@pytest.mark.parametrize("seed", [1, 2, 3, 20130326])
def test_what_is_written_is_read(writer: Path, seed: int, tmp_path: Path) -> None:
    done = subprocess.run([writer, str(seed), "1500", tmp_path / "archive.tar"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "archive.tar") as archive:
        assert len(archive.getmembers()) == 12, "Python's reader agrees"
