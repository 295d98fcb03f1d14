# SPDX-License-Identifier: Apache-2.0
"""What cannot be done gives one clear line and a status other than 0, leaves nothing, and the next command works."""

from __future__ import annotations

import io
import os
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Pyrt
from tests.images import file, link, with_members

pytestmark = [pytest.mark.root, pytest.mark.both_engines]


@pytest.fixture(autouse=True)
def next_command_works(pyrt: Pyrt) -> Iterator[None]:
    yield
    assert pyrt.run("bb", "echo", "fine").out == b"fine\n"


def refused(pyrt: Pyrt, *argv: str, input: bytes | None = None) -> str:
    """The error's text, in lower case, of a command that must fail with 125."""
    result = pyrt(*argv, input=input)
    assert result.status == 125 and result.out == b"", str(result)
    return result.error.lower()


def test_unknown_image(pyrt: Pyrt) -> None:
    assert "no such image: nosuch" in refused(pyrt, "run", "--rm", "nosuch", "true")
    assert "no such image" in refused(pyrt, "run", "--rm", "bb:nosuchtag", "true")


@pytest.mark.parametrize("name", ["", "/", "..", "../../etc", "a/../b", "bb:", ":latest", "x" * 5000, "bb\n", "UPPER"])
def test_names_of_images_that_are_none(pyrt: Pyrt, name: str) -> None:
    refused(pyrt, "run", "--rm", name, "true")


@pytest.mark.parametrize("verb", ["run", "ps", "logs", "rm", "import", "images"])
def test_unknown_flag(pyrt: Pyrt, verb: str) -> None:
    text = refused(pyrt, verb, "--nosuchflag")
    assert "nosuchflag" in text and f"pyrt {verb} --help" in text


def test_unknown_verb(pyrt: Pyrt) -> None:
    result = pyrt("nosuchverb")
    assert result.status == 125 and b"nosuchverb" in result.out + result.err


@pytest.mark.parametrize("verb", ["run", "logs", "wait", "stop", "kill", "rm", "rmi", "import"])
def test_too_few_arguments_show_the_usage(pyrt: Pyrt, verb: str) -> None:
    result = pyrt(verb)
    assert result.status == 125 and f"pyrt {verb}" in result.text and result.err == b""


@pytest.mark.parametrize("flag", ["-m", "-e", "-u", "-p", "-w", "-v", "--name", "--cpus"])
def test_a_flag_without_its_value(pyrt: Pyrt, flag: str) -> None:
    assert flag.lstrip("-") in refused(pyrt, "run", flag)


def test_unknown_user(pyrt: Pyrt) -> None:
    assert "nosuch" in refused(pyrt, "run", "--rm", "-u", "nosuch", "bb", "true")


def test_unknown_network(pyrt: Pyrt) -> None:
    assert "nosuch" in refused(pyrt, "run", "--rm", "--network", "nosuch", "bb", "true")


@pytest.mark.parametrize("cwd", ["/nosuch", "/etc/passwd", "relative", ""])
def test_working_directories_that_are_none(pyrt: Pyrt, cwd: str) -> None:
    result = pyrt.run(f"--workdir={cwd}", "bb", "true")
    assert result.status in (125, 126, 127) and result.error


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "80:80:80:80", "80/sctp", "1.2.3.4.5:80:80", "8080:", ":::"])
def test_ports_that_are_none(pyrt: Pyrt, port: str) -> None:
    assert refused(pyrt, "run", "--rm", f"-p={port}", "bb", "true")


def test_a_port_another_container_has(pyrt: Pyrt) -> None:
    with socket.socket() as finder:
        finder.bind(("127.0.0.1", 0))
        port = finder.getsockname()[1]
    pyrt.detached("--name", "first", "-p", f"127.0.0.1:{port}:80", "bb", "sleep", "60")
    assert str(port) in refused(pyrt, "run", "--rm", "-p", f"127.0.0.1:{port}:80", "bb", "true")
    pyrt.ok("rm", "-f", "first")
    pyrt.ok("run", "--rm", "-p", f"127.0.0.1:{port}:80", "bb", "true")


def test_a_port_a_program_of_the_host_has(pyrt: Pyrt) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert str(port) in refused(pyrt, "run", "--rm", "-p", f"127.0.0.1:{port}:80", "bb", "true")


@pytest.mark.parametrize(
    "volume", ["/nosuch:/data", "relative:/data", "/tmp", "/tmp:relative", ":/data", "/tmp:/data:maybe"]
)
def test_volumes_that_are_none(pyrt: Pyrt, volume: str) -> None:
    result = pyrt.run("-v", volume, "bb", "true")
    assert result.status == 125 and result.error


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a/b", "x" * 300, "é"])
def test_names_of_containers_that_are_none(pyrt: Pyrt, name: str) -> None:
    assert refused(pyrt, "run", "--rm", f"--name={name}", "bb", "true")


@pytest.mark.parametrize("hostname", ["a b", "x" * 65, "-", "a\nb"])
def test_hostnames_that_are_none(pyrt: Pyrt, hostname: str) -> None:
    assert refused(pyrt, "run", "--rm", f"--hostname={hostname}", "bb", "true")


@pytest.mark.parametrize(
    "flags",
    [
        ["--cap-add", "NOSUCH"],
        ["--security-opt", "nosuch"],
        ["--security-opt", "seccomp=/nosuch"],
        ["--log-opt", "nosuch=1"],
        ["--log-opt", "max-size=x"],
        ["--cpus", "x"],
        ["-p", "80", "--network", "none"],
        ["-p", "80", "--network", "host"],
        ["--timeout", "x"],
    ],
    ids=" ".join,
)
def test_values_that_are_none(pyrt: Pyrt, flags: list[str]) -> None:
    assert refused(pyrt, "run", "--rm", *flags, "bb", "true")


def test_kill_with_a_signal_that_is_none(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sleep", "60")
    for name in ("NOSUCH", "0", "65", "-9"):
        result = pyrt("kill", f"--signal={name}", identifier)
        assert result.status == 125 and result.error
    pyrt.ok("rm", "-f", identifier)


def test_rm_of_a_running_container_without_force(pyrt: Pyrt) -> None:
    """0.1.0 stops it first; either way it is said what happened and nothing is left half removed."""
    identifier = pyrt.detached("bb", "sleep", "60")
    if pyrt("rm", identifier).status:
        assert pyrt.status_of(identifier[:16]).startswith("Up")
        pyrt.ok("rm", "-f", identifier)
    assert pyrt.status_of(identifier[:16]) == ""


def tarball(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    return with_members(empty.getvalue(), members)


BROKEN = {
    "empty": b"",
    "not a tar": b"this is no archive\n" * 1000,
    "gzip of nothing": b"\x1f\x8b\x08\x00garbage",
    "html": b"<html><body>404 Not Found</body></html>",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_archives_that_are_none(pyrt: Pyrt, kind: str) -> None:
    before = pyrt.ok("images").out
    assert refused(pyrt, "import", "-", "broken", input=BROKEN[kind])
    assert pyrt.ok("images").out == before


def test_an_archive_that_is_cut_short(pyrt: Pyrt, bb_tar: bytes) -> None:
    assert refused(pyrt, "import", "-", "cut", input=bb_tar[: len(bb_tar) // 2])
    assert "cut" not in pyrt.ok("images").text


@pytest.mark.parametrize("name", ["../escape", "/../../escape", "a/../../escape"])
def test_an_archive_that_wants_out(pyrt: Pyrt, tmp_path: Path, name: str) -> None:
    outside = pyrt.root.parent / "escape"
    pyrt("import", "-", "out", input=tarball(file(name, b"out")))
    assert not outside.exists() and not Path("/escape").exists()
    pyrt("rmi", "out")


def test_an_archive_that_writes_through_its_own_link(pyrt: Pyrt, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    pyrt("import", "-", "through", input=tarball(link("way", str(canary)), file("way/in", b"deceived")))
    assert os.listdir(canary) == []
    pyrt("rmi", "through")


def test_import_of_a_file_that_is_not_there(pyrt: Pyrt) -> None:
    assert "/nosuch.tar" in refused(pyrt, "import", "/nosuch.tar", "x")


@pytest.mark.parametrize("name", ["a:b", "A B", "../x", "", "x" * 1000])
def test_repositories_that_are_none(pyrt: Pyrt, bb_tar: bytes, name: str) -> None:
    result = pyrt("import", "-", name, input=bb_tar)
    assert result.status == 125 and result.error


def test_rmi_of_an_image_in_use(pyrt: Pyrt) -> None:
    identifier = pyrt.detached("bb", "sleep", "60")
    result = pyrt("rmi", "bb")
    assert result.status == 125 and result.error
    pyrt.ok("rm", "-f", identifier)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 64,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\x10\0\0\0\xff\xff\xff\xff",
        b"\x10\0\0\0\0\0\0\x02{}",
        b"\x10\0\0\0\0\0\0\x01\xff",
        b"[" * 100_000,
    ],
)
def test_garbage_on_the_socket(pyrt: Pyrt, data: bytes) -> None:
    daemon = pyrt.daemon_pid
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(pyrt.run_dir / "pyrt.sock"))
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert pyrt.daemon_pid == daemon
