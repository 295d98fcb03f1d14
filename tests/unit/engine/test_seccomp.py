# SPDX-License-Identifier: Apache-2.0
"""What the compiled seccomp programs decide, on a BPF interpreter; profile files; the cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pyrt.engine import seccomp
from pyrt.engine.capabilities import DEFAULT
from pyrt.engine.seccomp import ProgramCache, compile_default, compile_profile
from pyrt.errors import PyrtError, UsageError
from tests import seccomp_golden
from tests.bpf import X32_BIT, decide

if os.uname().machine != "x86_64":
    pytest.skip("the tables are those of x86_64", allow_module_level=True)

AF_ALG, AF_VSOCK = 38, 40
CLONE, SOCKET, PERSONALITY, MOUNT, UNSHARE = 56, 41, 135, 165, 272
NEW_ANY = {
    "mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000, "pid": 0x20000000,
    "net": 0x40000000,
}  # fmt: skip


@pytest.fixture(scope="module")
def program() -> bytes:
    return compile_default(DEFAULT, machine="x86_64")


@pytest.mark.parametrize("architecture", ["x86_64", "i386", "x32"])
def test_every_number_as_written_down(program, architecture):
    wrong = {}
    for number in range(601):
        expected = seccomp_golden.expected(architecture, number)
        flag = X32_BIT if architecture == "x32" else 0
        decided = decide(program, "x86_64" if flag else architecture, number | flag)
        if expected is not None and decided != expected:
            wrong[number] = (decided, expected)
    assert not wrong


@pytest.mark.parametrize("number", [10_000, X32_BIT - 1, X32_BIT, 1 << 31, (1 << 32) - 2])
@pytest.mark.parametrize("architecture", ["x86_64", "i386"])
def test_far_numbers_do_not_exist(program, architecture, number):
    assert decide(program, architecture, number) == "ENOSYS"


def test_a_call_that_a_tracer_skipped_is_let_be(program):
    assert decide(program, "x86_64", -1) == "allow"


def test_an_architecture_this_kernel_cannot_run(program):
    assert decide(program, "aarch64", 0).startswith("kill")


@pytest.mark.parametrize("flag", NEW_ANY.values(), ids=NEW_ANY.keys())
@pytest.mark.parametrize(("architecture", "number"), [("x86_64", CLONE), ("i386", 120)])
def test_clone_makes_no_namespaces(program, architecture, number, flag):
    for others in (0, 17, 0x003D0F00, 0xFFFFFFFF & ~sum(NEW_ANY.values()), 1 << 63):
        assert decide(program, architecture, number, others) == "allow"
        assert decide(program, architecture, number, others | flag) == "EPERM"


@pytest.mark.parametrize("high", [0, 1 << 32, 0xFFFFFFFF << 32])
def test_socket_families(program, high):
    """The kernel looks at the lower half alone, so the upper half must not decide."""
    allowed = {family for family in range(100) if decide(program, "x86_64", SOCKET, family | high) == "allow"}
    assert allowed == set(range(48)) - {AF_ALG, AF_VSOCK}
    for family in (AF_ALG, AF_VSOCK, 48, 1000, 0xFFFFFFFF, 0x80000000 | AF_ALG):
        assert decide(program, "x86_64", SOCKET, family | high) == "EPERM"


def test_sockets_of_32_bit_programs(program):
    assert decide(program, "i386", 359, 2) == "allow"
    assert decide(program, "i386", 359, AF_ALG) == "EPERM"
    socketcall = {call: decide(program, "i386", 102, call, 0xFFFF0000) for call in range(1, 21)}
    assert socketcall.pop(1) == "ENOSYS"  # the family is behind a pointer: a socket this way could be any
    assert set(socketcall.values()) == {"allow"}


def test_personality(program):
    for value in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF, -1):
        assert decide(program, "x86_64", PERSONALITY, value) == "allow"
    for value in (0x40000, 0x400000, 0x40008, 1, 0x8000000):  # no ADDR_NO_RANDOMIZE, no READ_IMPLIES_EXEC
        assert decide(program, "x86_64", PERSONALITY, value) == "EPERM"


@pytest.mark.parametrize(
    ("capability", "numbers"),
    [
        ("CAP_SYS_ADMIN", [MOUNT, UNSHARE, 308, 321, 428, 435, 467]),
        ("CAP_SYS_PTRACE", [312, 438, 440]),
        ("CAP_DAC_READ_SEARCH", [304]),
        ("CAP_SYS_MODULE", [175, 313, 176]),
        ("CAP_SYS_TIME", [164, 227]),
        ("CAP_SYS_NICE", [237, 238, 239]),
        ("CAP_SYS_BOOT", [169]),
        ("CAP_SYS_RAWIO", [172, 173]),
        ("CAP_SYS_PACCT", [163]),
        ("CAP_SYS_TTY_CONFIG", [153]),
        ("CAP_SYSLOG", [103]),
        ("CAP_BPF", [321]),
        ("CAP_PERFMON", [298]),
    ],
)
def test_a_capability_brings_its_calls_and_no_others(program, capability, numbers):
    more = compile_default(DEFAULT | {capability}, machine="x86_64")
    changed = {n for n in range(601) if decide(program, "x86_64", n) != decide(more, "x86_64", n)}
    assert changed >= set(numbers)
    assert all(decide(more, "x86_64", number) == "allow" for number in changed)
    assert not changed & {425, 426, 427, 246, 248, 250, 320, 323}  # with no capability at all


def test_chroot_goes_with_its_capability(program):
    assert decide(program, "x86_64", 161) == "allow"
    assert decide(compile_default(DEFAULT - {"CAP_SYS_CHROOT"}), "x86_64", 161) == "EPERM"


def test_sys_admin_may_make_namespaces():
    program = compile_default(DEFAULT | {"CAP_SYS_ADMIN"})
    assert decide(program, "x86_64", CLONE, NEW_ANY["user"]) == "allow"


def test_arm():
    program = compile_default(DEFAULT, machine="aarch64")
    for number, expected in [(63, "allow"), (56, "allow"), (40, "EPERM"), (97, "EPERM"), (435, "ENOSYS"),
                             (425, "EPERM"), (250, "ENOSYS"), (600, "ENOSYS")]:  # fmt: skip
        assert decide(program, "aarch64", number) == expected, number
    assert decide(program, "aarch64", 220, NEW_ANY["net"]) == "EPERM"
    assert decide(program, "aarch64", 198, AF_ALG | 1 << 32) == "EPERM"
    assert decide(program, "arm", 0xF0002) == "allow"  # cacheflush, without which no JIT works
    assert decide(program, "arm", 0xF0100) == "ENOSYS"
    assert decide(program, "arm", 21) == "EPERM"


def test_no_machine_without_a_profile():
    with pytest.raises(PyrtError, match="no seccomp profile for vax"):
        compile_default(DEFAULT, machine="vax")


def profile(**more: object) -> str:
    basis = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}
    return json.dumps(basis | more)


def rule(*names: str, **more: object) -> dict[str, object]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW"} | more


def compare(value: int, op: str, *, index: int = 0, second: int = 0) -> dict[str, object]:
    return {"index": index, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{op}"}


def test_a_small_profile_file():
    program = compile_profile(profile(syscalls=[rule("read", "no_such_call", "write"), rule("getppid")]))
    assert [decide(program, "x86_64", n) for n in (0, 1, 110, 2, 109, 111, 400)] == [
        "allow", "allow", "allow", "EPERM", "EPERM", "ENOSYS", "ENOSYS",
    ]  # fmt: skip


def test_actions_and_errnos():
    rules = [
        rule("read", action="SCMP_ACT_ERRNO", errnoRet=13),
        rule("write", action="SCMP_ACT_ERRNO"),
        rule("open", action="SCMP_ACT_KILL"),
        rule("close", action="SCMP_ACT_KILL_PROCESS"),
        rule("stat", action="SCMP_ACT_TRAP"),
        rule("fstat", action="SCMP_ACT_LOG"),
        rule("lstat", action="SCMP_ACT_TRACE", errnoRet=7),
    ]
    program = compile_profile(profile(defaultAction="SCMP_ACT_ALLOW", syscalls=rules))
    decisions = [decide(program, "x86_64", number) for number in range(8)]
    assert decisions == ["EACCES", "EPERM", "kill", "kill process", "trap", "log", "trace", "allow"]
    assert decide(program, "x86_64", 599) == "allow"
    assert decide(compile_profile(profile(defaultErrnoRet=38)), "x86_64", 1) == "ENOSYS"


@pytest.mark.parametrize(
    ("op", "second", "allowed"),
    [
        ("EQ", 0, {4}), ("NE", 0, {0, 3, 5, 8, 12}), ("LT", 0, {0, 3}), ("LE", 0, {0, 3, 4}), ("GE", 0, {4, 5, 8, 12}),
        ("GT", 0, {5, 8, 12}), ("MASKED_EQ", 4, {4, 5, 12}), ("MASKED_EQ", 0, {0, 3, 8}), ("MASKED_EQ", 6, {4, 5, 12}),
    ],
)  # fmt: skip
def test_comparisons(op, second, allowed):
    program = compile_profile(profile(syscalls=[rule("read", args=[compare(4, op, second=second)])]))
    assert {v for v in (0, 3, 4, 5, 8, 12) if decide(program, "x86_64", 0, v) == "allow"} == allowed


def test_several_arguments_all_hold_but_one_argument_has_alternatives():
    both = compile_profile(profile(syscalls=[rule("read", args=[compare(1, "EQ"), compare(2, "EQ", index=1)])]))
    assert [decide(both, "x86_64", 0, *args) for args in ((1, 2), (1, 3), (0, 2))] == ["allow", "EPERM", "EPERM"]
    either = compile_profile(profile(syscalls=[rule("read", args=[compare(1, "EQ"), compare(5, "EQ")])]))
    assert [decide(either, "x86_64", 0, value) for value in (1, 5, 2)] == ["allow", "allow", "EPERM"]


def test_conditions_on_capabilities_machine_and_kernel():
    def names(number: int, **given: object) -> bool:
        return decide(compile_profile(text, **given), "x86_64", number) == "allow"  # type: ignore[arg-type]

    text = profile(
        syscalls=[
            rule("mount", includes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("read", excludes={"caps": ["CAP_SYS_ADMIN"]}),
            rule("ptrace", includes={"minKernel": "4.8"}),
            rule("write", includes={"arches": ["amd64"]}),
            rule("open", excludes={"arches": ["amd64", "arm64"]}),
            rule("userfaultfd", includes=None, excludes={}),
        ]
    )
    admin = frozenset({"CAP_SYS_ADMIN"})
    assert names(MOUNT, capabilities=admin) and not names(MOUNT)
    assert names(0) and not names(0, capabilities=admin)
    assert names(101, kernel="6.1.0-18-cloud") and names(101, kernel="4.8") and not names(101, kernel="4.4.0")
    assert names(1) and not names(2) and names(323)


def test_architectures_of_a_file():
    alone = compile_profile(profile())
    assert decide(alone, "i386", 3).startswith("kill")
    mapped = [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
        {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
    ]
    for text in (
        profile(archMap=mapped),
        profile(architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_MIPS"]),
    ):
        program = compile_profile(text)
        reads = [("x86_64", 0), ("i386", 3), ("x86_64", X32_BIT)]
        assert {decide(program, *call) for call in reads} == {"allow"}
        assert decide(program, "i386", 2) == "EPERM"
        assert decide(program, "x86_64", X32_BIT | 1) == "EPERM"
        assert decide(program, "i386", 300) == "ENOSYS"


def test_the_oldest_form_with_one_name_an_entry():
    program = compile_profile(profile(syscalls=[{"name": "read", "action": "SCMP_ACT_ALLOW", "args": None}]))
    assert decide(program, "x86_64", 0) == "allow"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "seccomp profile: it is not JSON"),
        ("[]", "must be a JSON object"),
        ("{}", "defaultAction None is not one of SCMP_ACT_ALLOW"),
        (profile(defaultAction="ALLOW"), "defaultAction 'ALLOW'"),
        (profile(syscalls={}), "syscalls: it must be a list"),
        (profile(syscalls=[5]), r"syscalls\[0\]: it must be an object"),
        (profile(syscalls=[rule()]), r"syscalls\[0\]: there are no"),
        (profile(syscalls=[rule("read"), rule("a b")]), r"syscalls\[1\]: 'a b' cannot be the name"),
        (profile(syscalls=[rule("read", name="read")]), "either"),
        (profile(syscalls=[rule("read", action="SCMP_ACT_NOTIFY")]), "needs an agent"),
        (profile(syscalls=[rule("read", action=["x"])]), "action"),
        (profile(syscalls=[rule("read", args=[compare(1, "ABOUT")])]), r"args\[0\]: op 'SCMP_CMP_ABOUT'"),
        (profile(syscalls=[rule("read", args=[compare(1, "EQ", index=6)])]), "index must be a whole number"),
        (profile(syscalls=[rule("read", args=[compare(-1, "EQ")])]), "value must be"),
        (profile(syscalls=[rule("read", args=[{"op": "SCMP_CMP_EQ"}])]), "index must be"),
        (profile(syscalls=[rule("read", action="SCMP_ACT_ERRNO", errnoRet=70000)]), "errnoRet must be"),
        (profile(syscalls=[rule("read", includes={"minKernel": "new"})]), "minKernel 'new'"),
        (profile(syscalls=[rule("read", includes=[])]), None),
        (profile(syscalls=[rule("read", excludes=["x"])]), r"syscalls\[0\].excludes: it must be an object"),
        (profile(architectures=["SCMP_ARCH_X86"], archMap=[{}]), "either"),
        (profile(architectures=["x86"]), "'x86' is not the name of an architecture"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(text, message):
    if message is None:
        compile_profile(text)
    else:
        with pytest.raises(UsageError, match=message):
            compile_profile(text)


def test_programs_fit_the_kernel(program):
    everything = compile_default(frozenset(f"CAP_{name}" for name in ("SYS_ADMIN", "SYS_PTRACE", "BPF", "SYSLOG")))
    for one in (program, everything):
        assert len(one) % 8 == 0
        assert len(one) // 8 < 1500


def test_the_cache_compiles_once(tmp_path, monkeypatch):
    cache = ProgramCache(tmp_path / "cache" / "seccomp")
    path, digest = cache.default(DEFAULT)
    assert path.name == f"{digest}.bpf"
    assert path.read_bytes() == compile_default(DEFAULT)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    monkeypatch.setattr(seccomp, "compile_default", None)
    assert ProgramCache(path.parent).default(DEFAULT) == (path, digest)


def test_the_cache_tells_programs_apart(tmp_path):
    cache = ProgramCache(tmp_path)
    digests = {
        cache.default(DEFAULT)[1],
        cache.default(DEFAULT | {"CAP_SYS_ADMIN"})[1],
        cache.profile(profile())[1],
        cache.profile(profile(), capabilities=frozenset({"CAP_SYS_ADMIN"}))[1],
        cache.profile(profile(defaultErrnoRet=2))[1],
    }
    assert len(digests) == 5
    assert decide(cache.profile(profile())[0].read_bytes(), "x86_64", 0) == "allow"


@pytest.mark.parametrize("damage", [b"", b"abc"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    path, _ = ProgramCache(tmp_path).default(DEFAULT)
    path.write_bytes(damage)
    assert ProgramCache(tmp_path).default(DEFAULT)[0].read_bytes() == compile_default(DEFAULT)


def test_a_bad_profile_leaves_nothing_in_the_cache(tmp_path):
    with pytest.raises(UsageError):
        ProgramCache(tmp_path).profile("{}")
    assert list(tmp_path.iterdir()) == []


def test_a_hit_does_not_load_libseccomp(tmp_path):
    path, digest = ProgramCache(tmp_path).default(DEFAULT)
    code = f"""
from pathlib import Path
from pyrt.engine import capabilities, seccomp
assert seccomp.ProgramCache(Path({str(tmp_path)!r})).default(capabilities.DEFAULT)[1] == {digest!r}
assert "libseccomp" not in Path("/proc/self/maps").read_text()
"""
    subprocess.run([sys.executable, "-c", code], check=True)
