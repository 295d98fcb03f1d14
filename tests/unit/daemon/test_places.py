# SPDX-License-Identifier: Apache-2.0
"""The daemon's directories and locks."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from pyrt.daemon.main import parse_options
from pyrt.daemon.places import Lock, prepare_directory
from pyrt.errors import ConflictError, PyrtError, UsageError


def prepare(path: Path) -> int:
    prepare_directory(path, option="--root", marker="lock")
    return stat.S_IMODE(path.stat().st_mode)


def test_made_private_with_its_parents(tmp_path: Path) -> None:
    assert prepare(tmp_path / "a/b/c") == 0o700


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir(mode=0o777)
    assert prepare(tmp_path / "r") == 0o700


def test_ours_is_repaired_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "r").mkdir(mode=0o755)
    (tmp_path / "r/lock").touch()
    assert prepare(tmp_path / "r") == 0o700
    assert "repaired" in caplog.text


def test_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir(mode=0o755)
    (tmp_path / "r/file").touch()
    with pytest.raises(PyrtError, match="not pyrt's"):
        prepare(tmp_path / "r")
    assert stat.S_IMODE((tmp_path / "r").stat().st_mode) == 0o755


def test_a_file_and_a_link_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(PyrtError, match="not a directory"):
        prepare(tmp_path / "f")
    (tmp_path / "disk").mkdir()
    (tmp_path / "r").symlink_to(tmp_path / "disk")
    assert prepare(tmp_path / "r") == 0o700


def test_a_lock_names_its_holder_and_can_be_had_afterwards(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    first.take(option="--root")
    with pytest.raises(ConflictError, match=f"--root {tmp_path} belongs to the pyrt daemon with pid {os.getpid()}"):
        second.take(option="--root")
    first.close()
    second.take(option="--root")
    second.close()


def test_options() -> None:
    options = parse_options(["--root", "/r", "--run-dir=/s", "-H", "tcp://127.0.0.1:1", "-H=unix:///x", "-D"])
    assert (options.root, options.run_dir, options.debug) == (Path("/r"), Path("/s"), True)
    assert [str(address) for address in options.addresses] == ["tcp://127.0.0.1:1", "unix:///x"]


def test_the_engine_is_an_option_before_it_is_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_options([]).engine == ""
    assert parse_options(["--engine", "native"]).engine == "native"
    monkeypatch.setenv("PYRT_ENGINE", "steam")
    assert parse_options(["--engine", "native"]).engine == "native"
    with pytest.raises(UsageError, match="^PYRT_ENGINE 'steam': no such engine: use one of native"):
        parse_options([])
    with pytest.raises(UsageError, match="^--engine 'water': no such engine"):
        parse_options(["--engine=water"])


@pytest.mark.parametrize(
    "words",
    [["x"], ["--root", "relative"], ["--bridge", "of-many-letters"], ["-H", "nonsense"], ["--nope"], ["--tls"],
     ["--tlskey", "k"], ["--tls", "--tlscacert=a", "--tlscert=b", "--tlskey=c"]],
)  # fmt: skip
def test_options_that_make_no_sense(words: list[str]) -> None:
    with pytest.raises(UsageError):
        parse_options(words)
