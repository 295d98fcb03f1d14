# SPDX-License-Identifier: Apache-2.0
"""The client's fixtures: the program, a scripted server, and a Python that runs the daemon without containers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fake_server import FakeServer, Peer

REPOSITORY = Path(__file__).parents[2]
NOBODY = 65534
Script = Callable[[Peer], Any]


@pytest.fixture(scope="session")
def program() -> str:
    """The client's path; PYRT_CLIENT names another build."""
    path = os.environ.get("PYRT_CLIENT") or str(REPOSITORY / "pyrt/core/_libexec/pyrt")
    assert os.access(path, os.X_OK), f"{path} is not built"
    return path


@pytest.fixture
def serve(tmp_path: Path) -> Callable[[Script], FakeServer]:
    """Start a server that plays a script; one after the other."""

    def start(script: Script) -> FakeServer:
        (tmp_path / "fake.sock").unlink(missing_ok=True)
        return FakeServer(tmp_path / "fake.sock", script)

    return start


class Client:
    """Runs the client against a script."""

    def __init__(self, program: str, serve: Callable[[Script], FakeServer]) -> None:
        self.program = program
        self.serve = serve
        self.value: Any = None

    def start(self, script: Script, *argv: str | bytes, **options: Any) -> tuple[subprocess.Popen[bytes], FakeServer]:
        server = self.serve(script)
        settings = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([self.program, "-H", server.address, *argv], **settings), server

    def run(
        self, script: Script, *argv: str | bytes, stdin: bytes = b"", **options: Any
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end; the script's value is in `value`."""
        process, server = self.start(script, *(argv or ("x",)), **options)
        out, err = process.communicate(stdin, timeout=30)
        self.value = server.result()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def client(program: str, serve: Callable[[Script], FakeServer]) -> Client:
    return Client(program, serve)


@pytest.fixture
def nobody(program: str) -> Iterator[tuple[Client, Path]]:
    """A client that somebody else than root can run, and a directory of his."""
    with tempfile.TemporaryDirectory(prefix="pyrt-nobody-", dir="/tmp") as name:
        top = Path(name)
        top.chmod(0o755)
        shutil.copy(program, top / "pyrt")
        (top / "home").mkdir()
        os.chown(top / "home", NOBODY, NOBODY)

        def serve(script: Script) -> FakeServer:
            (top / "socket").unlink(missing_ok=True)
            server = FakeServer(top / "socket", script)
            (top / "socket").chmod(0o666)
            return server

        yield Client(str(top / "pyrt"), serve), top / "home"


class Instance:
    """Root, run directory and environment of a daemon that clients start by themselves."""

    def __init__(self, program: str, directory: Path) -> None:
        self.program = program
        self.root = directory / "root"
        self.run_dir = directory / "run"
        python = directory / "python3"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -I {REPOSITORY}/tests/cli/fake_daemon.py "$@"\n')
        python.chmod(0o755)
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYRT_PYTHON": str(python),
            "PYRT_ROOT": str(self.root),
            "PYRT_RUN_DIR": str(self.run_dir),
        }

    def run(self, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *argv],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def daemon(self, *argv: str) -> subprocess.Popen[str]:
        """Start `pyrt -d` and wait until it is ready or has failed."""
        process = subprocess.Popen(
            [self.program, "-d", *argv],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr
        self.lines = []
        for line in process.stderr:
            self.lines.append(line)
            if line.endswith(": ready\n"):
                break
        return process

    @property
    def pid(self) -> int:
        return int((self.run_dir / "daemon.pid").read_text())

    @property
    def log(self) -> str:
        return (self.run_dir / "daemon.log").read_text()

    def is_up(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.run_dir / "pyrt.sock"))
            except OSError:
                return False
        return True

    def stop(self) -> None:
        """End the daemon that holds the run directory, if one does, and wait until it is gone."""
        if not self.is_up():
            return
        watch = os.pidfd_open(self.pid)
        signal.pidfd_send_signal(watch, signal.SIGTERM)
        os.set_blocking(watch, True)
        import select

        assert select.select([watch], [], [], 20)[0], "the daemon did not end"
        os.close(watch)


@pytest.fixture
def instance(program: str, tmp_path: Path) -> Iterator[Instance]:
    made = Instance(program, tmp_path)
    yield made
    made.stop()
