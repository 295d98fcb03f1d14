# SPDX-License-Identifier: Apache-2.0
"""How many frames a second go to and fro over loopback TCP? The same C client against pyrt.core, C and pure Python."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import newcomer
from benchmarks.carriers import build_program
from benchmarks.interleave import Comparison, Replay, Sample, compare
from pyrt.core import frames

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
COUNT = int(os.environ.get("BENCH_ROUND_TRIPS", "10000"))
SIZE_BYTES = 100
NAMES = ("C echo", "pyrt.core.frames", "asyncio and struct")
Serve = Callable[[socket.socket], object]


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Comparison:
    """Every contender's samples, taken in turn. Its table goes to the end of the output."""
    program = build_program(tmp_path_factory.mktemp("roundtrip"), "floor_frames")
    serves: tuple[Serve, ...] = (
        lambda connection: _run(program, connection, "echo"),
        _echo,
        lambda connection: asyncio.run(newcomer.echo(connection)),
    )
    samples = [_sample(program, serve) for serve in serves]
    title = f"{COUNT} round trips of {SIZE_BYTES} bytes"
    found = compare(title, dict(zip(NAMES, samples, strict=True)), rounds=ROUNDS)
    ratios += ["", *found.table("C echo", "asyncio and struct")]
    return found


@pytest.mark.benchmark(group="roundtrip", timer=Replay.clock)
@pytest.mark.parametrize("name", NAMES)
def test_round_trips(benchmark: Any, comparison: Comparison, name: str) -> None:
    samples = comparison.samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)


def _sample(program: Path, serve: Serve) -> Sample:
    """Serve one connection on a thread; the client takes the time, from its first frame to its last."""

    def sample() -> float:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            with socket.create_connection(listener.getsockname()) as client:
                server, _ = listener.accept()
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=serve, args=(server,))
                thread.start()
                seconds = float(_run(program, client, "ping", str(COUNT), str(SIZE_BYTES)))
                client.shutdown(socket.SHUT_RDWR)
                thread.join()
                server.close()
        return seconds

    return sample


def _run(program: Path, connection: socket.socket, *arguments: str) -> str:
    argv = [str(program), *arguments]
    return subprocess.run(argv, stdin=connection.fileno(), stdout=subprocess.PIPE, text=True, check=True).stdout


def _echo(connection: socket.socket) -> None:
    fd, reader = connection.fileno(), frames.FrameReader()
    while reader.recv(fd):
        for kind, payload in reader:
            frames.write_frame(fd, kind, payload)
