# SPDX-License-Identifier: Apache-2.0
"""How many frames a second does a Python program send and receive? pyrt.core.frames, and struct with asyncio streams.

From process to process over a unix socket; each frame becomes a bytes object in the receiver's hands.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from benchmarks.exchange import (
    exchange,
    receive_asyncio,
    receive_pyrt,
    send_asyncio,
    send_asyncio_gathered,
    send_gathered,
    send_one_by_one,
)
from benchmarks.interleave import Comparison, Replay, compare

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
COUNTS = {100: int(os.environ.get("BENCH_FRAMES", "200000")), 65536: int(os.environ.get("BENCH_LARGE_FRAMES", "8000"))}
PURE = "asyncio and struct"
WAYS = {
    "pyrt, write_frames": (send_gathered, receive_pyrt),
    "pyrt, write_frame each": (send_one_by_one, receive_pyrt),
    PURE: (send_asyncio, receive_asyncio),
    f"{PURE}, 64 KiB a write": (send_asyncio_gathered, receive_asyncio),
}


@pytest.fixture(scope="module")
def comparisons(ratios: list[str]) -> dict[int, Comparison]:
    """A comparison for each size of frame. Their tables go to the end of the output."""
    found = {}
    for size, count in COUNTS.items():
        samples = {name: exchange(send, receive, size, count) for name, (send, receive) in WAYS.items()}
        found[size] = compare(f"{count} frames of {size} bytes", samples, rounds=ROUNDS)
        ratios += ["", *found[size].table(PURE, "pyrt, write_frames")]
    return found


@pytest.mark.benchmark(group="codec", timer=Replay.clock)
@pytest.mark.parametrize("size", COUNTS)
@pytest.mark.parametrize("name", WAYS)
def test_codec(benchmark: Any, comparisons: dict[int, Comparison], name: str, size: int) -> None:
    samples = comparisons[size].samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)
