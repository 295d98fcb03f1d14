# SPDX-License-Identifier: Apache-2.0
"""A private pyrt for the tests: its own root, run directory, bridge and cgroup parent, driven through the command line.

`pyrt("run", "--rm", "bb", "true")` runs the client to its end; `pyrt.start(...)` leaves it running; `pyrt.pty(...)`
gives it a terminal. Everything that was run is kept for the report of a failing test.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import ledger
from tests.processes import alive, descendants, processes, wait_gone, wait_until
from tests.terminal import Terminal

REPOSITORY = Path(__file__).resolve().parent.parent
CGROUPS = Path("/sys/fs/cgroup")
SHOWN_BYTES = 4000


@dataclass(frozen=True, slots=True)
class Result:
    """A command that has ended."""

    argv: tuple[str, ...]
    status: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Standard output without the last newline."""
        return self.out.decode(errors="replace").removesuffix("\n")

    @property
    def lines(self) -> list[str]:
        return self.out.decode(errors="replace").splitlines()

    @property
    def error(self) -> str:
        """The one line of an error; AssertionError when standard error is not exactly `Error: TEXT`."""
        lines = self.err.decode(errors="replace").splitlines()
        assert len(lines) == 1 and lines[0].startswith("Error: "), f"not one clear line: {self.err!r}"
        return lines[0].removeprefix("Error: ")

    def __str__(self) -> str:
        command = f"$ pyrt {' '.join(map(repr, self.argv))}\nstatus {self.status}\n"
        return command + _shown("out", self.out) + _shown("err", self.err)


def client_path() -> Path | None:
    """The compiled client: of an in-place or editable build, else the installed one."""
    candidates = (REPOSITORY / "pyrt/core/_libexec/pyrt", Path(sysconfig.get_path("scripts")) / "pyrt")
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


class Pyrt:
    """One instance. Create it, use it, `close()` it; `close` fails when processes refuse to end."""

    def __init__(self, client: Path, *, root: Path | None = None, engine: str = "native") -> None:
        self.client = client
        self.engine = engine
        self.directory = Path(tempfile.mkdtemp(prefix="pt", dir=os.environ.get("PYRT_TEST_DIR", "/tmp")))
        self.root = root or self.directory / "r"
        self.run_dir = self.directory / "s"
        # What the runtime calls everything of a root that is not the default one: bridge, cgroups; nft table pyrt-NAME.
        self.bridge = self.cgroup = f"pyrt{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:7]}"
        ledger.OUR_INSTANCES.add(self.bridge)
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYRT_ROOT": str(self.root),
            "PYRT_RUN_DIR": str(self.run_dir),
            "PYRT_ENGINE": engine,
        }
        self.history: deque[Result] = deque(maxlen=12)
        self.running: list[tuple[tuple[str, ...], subprocess.Popen[bytes]]] = []

    def __call__(
        self,
        *argv: str | bytes,
        input: bytes | None = None,
        timeout: float = 30,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
    ) -> Result:
        """Run a command to its end, stdin /dev/null without `input`; on timeout it is killed and the test fails."""
        text = tuple(os.fsdecode(word) for word in argv)
        source: dict[str, object] = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        try:
            done = subprocess.run(
                [self.client, *argv],
                capture_output=True,
                timeout=timeout,
                env={**self.environment, **(env or {})},
                cwd=cwd,
                check=False,
                **source,  # type: ignore[call-overload]
            )
        except subprocess.TimeoutExpired as expired:
            result = Result(text, -1, expired.stdout or b"", expired.stderr or b"")
            self.history.append(result)
            raise AssertionError(f"not finished after {timeout:g} s:\n{result}") from None
        result = Result(text, done.returncode, done.stdout, done.stderr)
        self.history.append(result)
        return result

    def ok(self, *argv: str | bytes, input: bytes | None = None, timeout: float = 30) -> Result:
        """As a call, and the status must be 0."""
        result = self(*argv, input=input, timeout=timeout)
        assert result.status == 0, str(result)
        return result

    def run(self, *argv: str | bytes, input: bytes | None = None, timeout: float = 30) -> Result:
        """`pyrt run --rm ...`, whatever its status."""
        return self("run", "--rm", *argv, input=input, timeout=timeout)

    def start(
        self, *argv: str, stdin: int = subprocess.DEVNULL, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a command with pipes on both outputs; the end of the test kills what is left of it."""
        process = subprocess.Popen(
            [self.client, *argv],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.environment, **(env or {})},
            cwd="/",
        )
        self.running.append((argv, process))
        return process

    def pty(self, *argv: str, rows: int = 24, columns: int = 80) -> Terminal:
        """Start a command on a terminal of its own."""
        terminal = Terminal([str(self.client), *argv], env=self.environment, rows=rows, columns=columns)
        self.running.append((argv, terminal.process))
        return terminal

    def detached(self, *argv: str, timeout: float = 30) -> str:
        """`pyrt run -d ...`; returns the container's id."""
        return self.ok("run", "-d", *argv, timeout=timeout).text

    def status_of(self, name: str) -> str:
        """The STATUS column of a container in `ps -a`, or "" when it is not listed."""
        header, *rows = self.ok("ps", "-a", "--no-trunc").lines
        start, end = header.index("STATUS"), header.index("COMMENT")
        return next((row[start:end].strip() for row in rows if row.startswith(name) or name in row.split()), "")

    def wait_status(self, name: str, prefix: str, *, seconds: float = 10.0) -> None:
        """Wait until `ps -a` shows a status that starts with `prefix` ("Up", "Exit")."""
        wait_until(lambda: self.status_of(name).startswith(prefix), seconds=seconds, what=f"{name} being {prefix}")

    @property
    def daemon_pid(self) -> int:
        """0 when there is no daemon."""
        return _pid(self.run_dir / "daemon.pid")

    @property
    def supervisor_pid(self) -> int:
        """0 when there is no supervisor."""
        return _pid(self.run_dir / "supervisor.pid")

    def ensure(self) -> None:
        """See to it that daemon and supervisor run."""
        if not (self.daemon_pid and self.supervisor_pid):
            self.ok("ps")

    def kill_daemon(self) -> None:
        """SIGKILL the daemon and wait until it is gone."""
        pid = self.daemon_pid
        assert pid, "there is no daemon to kill"
        os.kill(pid, 9)
        wait_gone(pid)

    def subject(self) -> ledger.Subject:
        """What the leak ledger takes for this instance's own."""
        return ledger.Subject(
            root=self.root,
            run_dir=self.run_dir,
            bridge=self.bridge,
            cgroup=self.cgroup,
            daemon_pid=self.daemon_pid,
            supervisor_pid=self.supervisor_pid,
        )

    def end_commands(self) -> None:
        """Kill every command that `start` and `pty` left running, and take its status."""
        for argv, process in self.running:
            if process.poll() is None:
                process.kill()
            status = process.wait(timeout=10)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream:
                    stream.close()
            self.history.append(Result(argv, status, b"", b""))
        self.running.clear()

    def remove_containers(self) -> None:
        """Remove every container, running or not."""
        names = self("ps", "-a", "-q", "--no-trunc").lines
        if names:
            self("rm", "-f", *names, timeout=60)

    def report(self) -> str:
        """What was run lately, and the ends of both logs."""
        parts = [str(result) for result in self.history]
        for log in (self.run_dir / "daemon.log", self.run_dir / "supervisor.log"):
            text = log.read_bytes()[-SHOWN_BYTES:].decode(errors="replace") if log.exists() else "(there is none)\n"
            parts.append(f"==> {log} <==\n{text}")
        return "\n".join(parts)

    def close(self) -> None:
        """Remove the containers, end daemon and supervisor, and take down what an instance keeps between commands."""
        self.end_commands()
        refused: list[int] = []
        if self.daemon_pid:
            self.remove_containers()
        table = processes()
        pids = [pid for pid in (self.daemon_pid, self.supervisor_pid) if pid]
        for pid in pids:
            os.kill(pid, 15)
        for pid in [*pids, *descendants(table, set(pids))]:
            try:
                wait_gone(pid)
            except TimeoutError:
                refused.append(pid)
                os.kill(pid, 9)
        self._remove_traces()
        assert not refused, f"did not end on SIGTERM: {[table[pid].command for pid in refused if pid in table]}"

    def _remove_traces(self) -> None:
        bridges = Path("/sys/class/net")
        for bridge in (*bridges.glob(self.bridge), *bridges.glob(f"{self.bridge}-*")):  # of many containers
            subprocess.run(["ip", "link", "delete", bridge.name], check=True)
        tables = subprocess.run(["nft", "list", "tables"], check=True, capture_output=True, text=True).stdout
        for line in tables.splitlines():
            if self.bridge in line:
                subprocess.run(["nft", "delete", *line.split()], check=True)
        for directory, _, _ in os.walk(CGROUPS, topdown=False):
            if self.cgroup in directory:
                os.rmdir(directory)
        shutil.rmtree(self.directory)


def start_instance(fail: Callable[[str], object], *, root: Path | None = None, engine: str = "native") -> Pyrt:
    """A running instance; `fail` is told why when there is no client to run."""
    client = client_path()
    if client is None:
        fail("pyrt is not built here: run scripts/setup")
        raise AssertionError("unreachable")
    pyrt = Pyrt(client, root=root, engine=engine)
    try:
        pyrt.ensure()
    except BaseException:
        print(pyrt.report())
        pyrt.close()
        raise
    return pyrt


def _pid(path: Path) -> int:
    try:
        pid = int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0
    return pid if alive(pid) else 0


def _shown(title: str, data: bytes) -> str:
    if not data:
        return ""
    cut = f" (the last {SHOWN_BYTES} of {len(data)} bytes)" if len(data) > SHOWN_BYTES else ""
    return f"{title}{cut}:\n{data[-SHOWN_BYTES:].decode(errors='backslashreplace')}\n"
