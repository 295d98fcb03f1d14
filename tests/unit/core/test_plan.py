# SPDX-License-Identifier: Apache-2.0
"""A plan's bytes: every record as csrc/plan.h has it, and nothing in it that would end a string early."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from pyrt.core import namespaces
from pyrt.core._namespaces import lib
from pyrt.core.plan import Plan


def records(plan: Plan) -> list[tuple[int, int, bytes]]:
    """A slow and obvious reading: (op, flags, payload) of each."""
    data, found = bytes(plan), []
    while data:
        op, flags, size = struct.unpack_from("=HHI", data)
        assert len(data) >= 8 + size
        found.append((op, flags, data[8 : 8 + size]))
        data = data[8 + size :]
    return found


ONE: list[tuple[Callable[[Plan], Plan], tuple[int, int, bytes]]] = [
    (lambda p: p.hostname("web"), (lib.PYRT_PLAN_HOSTNAME, 0, b"web\0")),
    (
        lambda p: p.address("10.0.0.2", 24, "10.0.0.1"),
        (lib.PYRT_PLAN_ADDRESS, 0, b"\x0a\0\0\x02\x0a\0\0\x01" + struct.pack("=I", 24)),
    ),
    (lambda p: p.overlay("/d", "lowerdir=a"), (lib.PYRT_PLAN_OVERLAY, 0, b"/d\0lowerdir=a\0")),
    (
        lambda p: p.mask("a/b", mode=0o755, uid=1, gid=2),
        (lib.PYRT_PLAN_MASK, 0, struct.pack("=III", 0o755, 1, 2) + b"a/b\0"),
    ),
    (lambda p: p.mask(""), (lib.PYRT_PLAN_MASK, 0, bytes(12) + b"\0")),
    (lambda p: p.rootfs("/r\udcff"), (lib.PYRT_PLAN_ROOTFS, 0, b"/r\xff\0")),
    (lambda p: p.readonly(), (lib.PYRT_PLAN_READONLY, 0, b"")),
    (lambda p: p.volume("/s", "/t"), (lib.PYRT_PLAN_VOLUME, 0, b"/s\0/t\0")),
    (lambda p: p.volume("/s", "/t", readonly=True), (lib.PYRT_PLAN_VOLUME, 1, b"/s\0/t\0")),
    (lambda p: p.file("/etc/hosts", b"a\0b"), (lib.PYRT_PLAN_FILE, 0o644, b"/etc/hosts\0a\0b")),
    (lambda p: p.file("/f", b"", mode=0o600), (lib.PYRT_PLAN_FILE, 0o600, b"/f\0")),
    (lambda p: p.stdio(stdin=True), (lib.PYRT_PLAN_STDIO, 1, b"")),
    (lambda p: p.stdio(stdin=False), (lib.PYRT_PLAN_STDIO, 0, b"")),
    (lambda p: p.terminal(33, 121), (lib.PYRT_PLAN_TERMINAL, 0, struct.pack("=HH", 33, 121))),
    (lambda p: p.user("bob:staff"), (lib.PYRT_PLAN_USER, 0, b"bob:staff\0")),
    (lambda p: p.cwd("/tmp"), (lib.PYRT_PLAN_CWD, 0, b"/tmp\0")),
    (lambda p: p.capabilities(1 << 63 | 1), (lib.PYRT_PLAN_CAPS, 0, struct.pack("=Q", 1 << 63 | 1))),
    (lambda p: p.no_new_privileges(), (lib.PYRT_PLAN_NO_NEW_PRIVS, 0, b"")),
    (lambda p: p.gate(), (lib.PYRT_PLAN_GATE, 0, b"")),
    (lambda p: p.seccomp(bytes(16)), (lib.PYRT_PLAN_SECCOMP, 0, bytes(16))),
    (lambda p: p.env(["A=1", "B="]), (lib.PYRT_PLAN_ENV, 0, b"A=1\0B=\0")),
    (lambda p: p.env([]), (lib.PYRT_PLAN_ENV, 0, b"")),
    (lambda p: p.argv(("sh", "", "ü")), (lib.PYRT_PLAN_ARGV, 0, "sh\0\0ü\0".encode())),
    (lambda p: p.no_stdio(), (lib.PYRT_PLAN_STDIO, 2, b"")),
    (lambda p: p.join(), (lib.PYRT_PLAN_JOIN, 0, b"")),
    (lambda p: p.join(["/a/cgroup.procs", "/b"]), (lib.PYRT_PLAN_JOIN, 0, b"/a/cgroup.procs\0/b\0")),
]


@pytest.mark.parametrize(("add", "expected"), ONE)
def test_every_record(add: Callable[[Plan], Plan], expected: tuple[int, int, bytes]) -> None:
    plan = Plan()
    assert add(plan) is plan
    assert records(plan) == [expected]


def test_records_follow_each_other_in_the_order_of_the_calls() -> None:
    plan = Plan()
    for add, _ in ONE:
        add(plan)
    assert records(plan) == [expected for _, expected in ONE]


def test_every_record_there_is_has_been_tried() -> None:
    known = {getattr(lib, name) for name in dir(lib) if name.startswith("PYRT_PLAN_")}
    assert known == {expected[0] for _, expected in ONE}


@pytest.mark.parametrize(
    "add",
    [
        lambda p: p.hostname("a\0b"),
        lambda p: p.overlay("/d\0", "x"),
        lambda p: p.overlay("/d", "x\0y"),
        lambda p: p.mask("a\0"),
        lambda p: p.rootfs("\0"),
        lambda p: p.volume("/s\0", "/t"),
        lambda p: p.volume("/s", "/t\0"),
        lambda p: p.file("/f\0", b""),
        lambda p: p.user("bob\0"),
        lambda p: p.cwd("/\0"),
        lambda p: p.env(["A=1", "B=\0"]),
        lambda p: p.argv(["sh", "\0"]),
        lambda p: p.argv([b"\0"]),
    ],
)
def test_a_nul_byte_is_refused_and_leaves_the_plan_as_it_was(add: Callable[[Plan], Plan]) -> None:
    plan = Plan().hostname("h")
    with pytest.raises(ValueError, match="NUL"):
        add(plan)
    assert records(plan) == [(lib.PYRT_PLAN_HOSTNAME, 0, b"h\0")]


@pytest.mark.parametrize(
    "add",
    [
        lambda p: p.address("10.0.0.256", 24, "10.0.0.1"),
        lambda p: p.address("10.0.0.2", 24, "::1"),
        lambda p: p.terminal(65536, 1),
        lambda p: p.capabilities(1 << 64),
        lambda p: p.file("/f", b"", mode=1 << 16),
    ],
)
def test_values_that_do_not_fit(add: Callable[[Plan], Plan]) -> None:
    plan = Plan()
    with pytest.raises((ValueError, struct.error)):
        add(plan)
    assert bytes(plan) == b""


def test_step_errors_say_step_text_and_reason() -> None:
    assert str(namespaces.StepError("root", 2, "/x")) == "root: /x: No such file or directory"
    assert str(namespaces.StepError("user", 0, "no such user")) == "user: no such user"
    assert str(namespaces.StepError("clone", 1)) == "clone: Operation not permitted"
    assert namespaces.StepError("root", 2, "/x").errno == 2
