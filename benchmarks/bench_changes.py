# SPDX-License-Identifier: Apache-2.0
"""What do diff and commit cost? They are to depend on what a container changed, not on how large its image is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.interleave import Comparison, Replay, Sample, compare, replay
from tests.harness import Pyrt, start_instance
from tests.images import directory, file, with_members
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
CHANGED = 5
SIZES = {"50,000": 500, "500": 5}  # directories of 100 files each
VERBS = ("diff", "commit")
NAMES = tuple(f"{verb}, {CHANGED} of {size} files" for verb in VERBS for size in SIZES)


@pytest.fixture(scope="module")
def comparison(ratios: list[str]) -> Iterator[Comparison]:
    """Every contender's samples, taken in turn. Its tables go to the end of the output."""
    pyrt = start_instance(pytest.skip)
    try:
        for size, directories in SIZES.items():
            pyrt.ok("import", "-", f"of{directories}", input=_image(directories), timeout=300)
            script = "; ".join(f"echo changed > /d{number}/f{number}" for number in range(CHANGED))
            pyrt.ok("run", "--name", size.replace(",", ""), f"of{directories}", "sh", "-c", script)
        samples = [_sample(pyrt, verb, size.replace(",", "")) for verb in VERBS for size in SIZES]
        found = compare("changes", dict(zip(NAMES, samples, strict=True)), rounds=ROUNDS)
        ratios += ["", *found.table(*(name for name in NAMES if name.endswith("of 500 files")))]
        yield found
    finally:
        pyrt.close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.benchmark(group="changes", timer=Replay.clock)
def test_changes(benchmark: Any, comparison: Comparison, name: str) -> None:
    replay(benchmark, comparison, name)


def _image(directories: int) -> bytes:
    members = []
    for number in range(directories):
        members.append(directory(f"d{number}"))
        members += [file(f"d{number}/f{entry}", b"content %d" % entry) for entry in range(100)]
    return with_members(busybox_tar(), members)


def _sample(pyrt: Pyrt, verb: str, name: str) -> Sample:
    def sample() -> float:
        start = time.perf_counter()
        result = pyrt.ok(verb, name)
        seconds = time.perf_counter() - start
        if verb == "diff":
            assert len(result.lines) == CHANGED
        else:
            pyrt.ok("rmi", result.text)
        return seconds

    return sample
