# SPDX-License-Identifier: Apache-2.0
"""top, stats and events: what containers do while they run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.processes import wait_until

pytestmark = pytest.mark.root

BUSY = "while :; do :; done"


def read_line(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout
    return process.stdout.readline().decode()


def test_top(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "web", "-u", "1234", "bb", "sh", "-c", "sleep 60 & exec sleep 61")

    def shown() -> list[list[str]]:
        return [line.split(maxsplit=7) for line in pyrt.ok("top", "web").lines]

    wait_until(lambda: {row[7] for row in shown()} >= {"sleep 60", "sleep 61"}, what="two processes")
    heading, *rows = shown()
    assert heading == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    first = pyrt.ok("inspect", "-f", "{{.State.Pid}}", "web").text
    by_command = {row[7]: row for row in rows}
    assert by_command["sleep 61"][1] == first and by_command["sleep 60"][2] == first
    for row in rows:
        assert row[0] == "1234" and row[5] == "?" and row[6] == "00:00:00"
        assert re.fullmatch(r"\d\d:\d\d", row[4])
        assert Path(f"/proc/{row[1]}/cmdline").read_text().replace("\0", " ").strip() == row[7]
    pyrt.ok("kill", "web")
    assert pyrt("top", "web").error == "container web is not running"
    assert pyrt("top", "nosuch").error == "No such container: nosuch"
    pyrt.ok("rm", "web")


def test_top_shows_the_terminal_and_one_line_per_process(pyrt: Pyrt) -> None:
    pyrt.detached("-t", "--name", "tty", "bb", "sh", "-c", "sleep 60; # a\nb")
    wait_until(lambda: b"sleep" in pyrt.ok("top", "tty").out, what="its process")
    rows = pyrt.ok("top", "tty").lines[1:]
    assert any(row.split()[5] == "pts/0" for row in rows) and any("# a\\nb" in row for row in rows)
    pyrt.ok("rm", "-f", "tty")


def test_stats_of_a_busy_container(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "busy", "-m", "64m", "bb", "sh", "-c", BUSY)
    pyrt.detached("--name", "idle", "--network", "host", "bb", "sleep", "60")
    heading, *rows = pyrt.ok("stats", "--no-stream").lines
    assert re.split(r" {2,}", heading) == [
        *("ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"),
    ]
    assert [row.split()[1] for row in rows] == ["idle", "busy"]
    row = json.loads(pyrt.ok("stats", "--no-stream", "--format", "json", "busy").text)
    assert float(row["CPUPerc"].removesuffix("%")) > 1 and row["PIDs"] == 1
    assert row["MemUsage"].endswith(" / 64MiB") and 0 < float(row["MemPerc"].removesuffix("%")) < 100
    assert re.fullmatch(r"[\d.]+k?B / [\d.]+k?B", row["NetIO"])
    assert pyrt.ok("stats", "--no-stream", "--format", "{{.Name}} {{.NetIO}}", "idle").text == "idle --"
    pyrt.ok("kill", "busy")
    assert pyrt.ok("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "busy").text == "busy --"
    assert len(pyrt.ok("stats", "--no-stream").lines) == 2 and len(pyrt.ok("stats", "-a", "--no-stream").lines) == 3
    assert pyrt("stats", "nosuch").error == "No such container: nosuch"
    pyrt.ok("rm", "-f", "busy", "idle")


def test_stats_on_a_terminal_stay_in_place_and_end_with_the_container(pyrt: Pyrt) -> None:
    pyrt.detached("--name", "one", "bb", "sleep", "60")
    terminal = pyrt.pty("stats", "one")
    terminal.expect(b"\x1b[HID")
    terminal.expect(b"\x1b[HID")
    pyrt.ok("kill", "one")
    assert terminal.process.wait(timeout=20) == 0
    pyrt.ok("rm", "one")


def test_events_are_shown_as_they_happen(pyrt: Pyrt) -> None:
    before = time.time()
    watcher = pyrt.start("events", "--since", f"{before:.6f}")
    identifier = pyrt.detached("--name", "web", "bb", "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.01; done")
    lines = [read_line(watcher), read_line(watcher)]
    pyrt.ok("stop", "web")
    lines += [read_line(watcher), read_line(watcher)]
    pyrt.ok("rm", "web")
    lines.append(read_line(watcher))
    time_of = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"
    expected = ["create", "start", "die", "stop", "destroy"]
    for line, verb in zip(lines, expected, strict=True):
        attributes = "exitCode=3, image=bb, name=web" if verb == "die" else "image=bb, name=web"
        assert re.fullmatch(rf"{time_of} container {verb} {identifier} \({attributes}\)\n", line), line
    watcher.send_signal(signal.SIGINT)
    assert watcher.wait(timeout=10) != 0
    again = pyrt.ok("events", "--since", f"{before:.6f}", "--until", f"{time.time():.6f}")
    assert again.out.decode() == "".join(lines)


def test_events_of_one_container_in_another_form(pyrt: Pyrt) -> None:
    before = time.time()
    pyrt.ok("run", "--name", "one", "bb", "true")
    pyrt.ok("rm", "one")
    pyrt.ok("tag", "bb", "mine")
    pyrt.ok("rmi", "mine")
    now = ("--since", f"{before:.6f}", "--until", "0s")
    verbs = pyrt.ok("events", *now, "-f", "container=one", "--format", "{{.Action}} {{.Actor.Attributes.name}}").lines
    assert verbs == ["create one", "start one", "die one", "destroy one"]
    rows = [json.loads(line) for line in pyrt.ok("events", *now, "-f", "type=image", "--format", "json").lines]
    assert [(row["Type"], row["Action"], row["Actor"]["Attributes"]["name"]) for row in rows] == [
        ("image", "tag", "mine:latest"),
        ("image", "untag", "mine:latest"),
    ]
    assert pyrt.ok("events", *now, "-f", "event=die", "-f", "image=bb", "--format", "{{.Action}}").lines == ["die"]


def test_an_out_of_memory_is_an_event(pyrt: Pyrt) -> None:
    before = time.time()
    pyrt("run", "--rm", "--name", "hog", "-m", "8m", "bb", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M")

    def told() -> list[str]:
        return pyrt.ok("events", "--since", f"{before:.6f}", "--until", "0s", "--format", "{{.Action}}").lines

    wait_until(lambda: told()[-1] == "destroy", what="its removal")  # which its client does not wait for
    assert told() == ["create", "start", "oom", "die", "destroy"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--since", "yesterday"], "expected a time such as"),
        (["--filter", "color=red"], "there is no such filter; there are container, image, event, type"),
        (["--format", "{{.Nosuch}}"], "there is no field .Nosuch"),
    ],
)
def test_events_refuse(pyrt: Pyrt, words: list[str], text: str) -> None:
    result = pyrt("events", *words)
    assert result.status == 125 and text in result.error


def test_a_watcher_that_does_not_read_harms_nobody(pyrt: Pyrt) -> None:
    watcher = pyrt.start("events")
    stopped = pyrt.start("events")
    os.kill(stopped.pid, signal.SIGSTOP)
    for _ in range(5):
        pyrt.ok("tag", "bb", "mine")
        pyrt.ok("rmi", "mine")
    assert " image tag " in read_line(watcher)
    os.kill(stopped.pid, signal.SIGCONT)
