# SPDX-License-Identifier: Apache-2.0
"""The C of frames and broadcaster under the sanitizers: a fuzzer for the parser, a crowd of threads for the rest."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = ROOT / "tests" / "native"
CSRC = ROOT / "csrc"
WARNINGS = "-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Werror".split()
BROADCAST = [*sorted(CSRC.glob("broadcast*.c")), *sorted(CSRC.glob("log*.c"))]


def build(target: Path, sanitizers: str, *sources: Path) -> Path:
    flags = ["-std=gnu11", "-O1", "-g", *WARNINGS, f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all"]
    subprocess.run(["gcc", *flags, f"-I{CSRC}", "-o", target, *sources, "-pthread"], check=True)
    return target


def run(*command: object) -> str:
    # scripts/sanitize preloads its sanitizers into Python; these programs have their own, and two do not get on.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    words = [str(part) for part in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, env=environment)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def test_the_parser_agrees_with_a_plain_reading_of_200_000_inputs(tmp_path):
    """By hand, for longer: fuzz_frames 10000000 SEED."""
    program = build(tmp_path / "fuzz_frames", "address,undefined", HERE / "fuzz_frames.c", CSRC / "frames.c")
    assert run(program, 200_000) == "200000 inputs\n"


def test_a_search_in_3000_logs_that_are_none(tmp_path):
    """By hand, for longer: fuzz_lines DIRECTORY 1000000 SEED."""
    sources = [HERE / "fuzz_lines.c", *sorted(CSRC.glob("log*.c")), CSRC / "frames.c"]
    program = build(tmp_path / "fuzz_lines", "address,undefined", *sources)
    (tmp_path / "log").mkdir()
    assert run(program, tmp_path / "log", 3000) == "3000 logs\n"


@pytest.mark.parametrize("sanitizers", ["address,undefined", "thread"])
def test_a_crowd_of_readers_is_served_without_a_fault(tmp_path, sanitizers):
    program = build(tmp_path / "check", sanitizers, HERE / "broadcast_check.c", *BROADCAST, CSRC / "frames.c")
    (tmp_path / "log").mkdir()
    run(program, tmp_path / "log")
