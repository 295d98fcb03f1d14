# SPDX-License-Identifier: Apache-2.0
"""The program in order of ranges decides as the one that libseccomp writes, whatever the profile, and is shorter."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrt.engine import seccomp
from pyrt.engine.capabilities import DEFAULT
from pyrt.engine.seccomp import ProgramCache
from pyrt.engine.seccomp_code import write
from pyrt.engine.seccomp_docker import read_profile
from pyrt.engine.seccomp_graph import Graph, Word
from pyrt.engine.seccomp_profile import BY_CAPABILITY, NAMESPACE_FLAGS, default_profile
from pyrt.engine.seccomp_program import compile_program, plain_program
from pyrt.engine.seccomp_ranges import by_ranges
from pyrt.engine.seccomp_rules import ABSENT, ALLOW, DENY, Action, Compare, Profile, Rule
from pyrt.errors import PyrtError
from tests.bpf import ARCHITECTURES, X32_BIT, instructions, run

EDGES = [0xF0000, 0xF0001, 0xF0006, 0xF0100, (1 << 31) - 1, 1 << 31, (1 << 32) - 2, (1 << 32) - 1]
FAR = [X32_BIT - 1, X32_BIT, X32_BIT | 1, X32_BIT | 41, X32_BIT | 56, X32_BIT | 512, X32_BIT | 600, *EDGES]
OTHERS = {"none": 0, "x32 as such": 0x4000003E, "beyond": 0xFFFFFFFF}  # architectures that no profile names
LOW_32 = 0xFFFFFFFF


def samples(profile: Profile, count: int) -> list[tuple[int, ...]]:
    """Return arguments around the values that a profile compares with."""
    values = {value for rule in profile.rules for one in rule.compare for value in (one.value, one.second)}
    near = {0, 1, *(value + change for value in values for change in (-1, 0, 1, 1 << 32)), *(~v for v in values)}
    chosen = random.Random(1)
    pool = sorted(near)
    return [tuple(chosen.choice(pool) for _ in range(6)) for _ in range(count)]


def differences(plain: bytes, program: bytes, numbers: list[int], arguments: list[tuple[int, ...]]) -> list[object]:
    found: list[object] = []
    for name, architecture in (ARCHITECTURES | OTHERS).items():
        for number in numbers:
            before: set[int] = set()
            after: set[int] = set()
            wanted = run(plain, architecture, number, (), before)
            if run(program, architecture, number, (), after) != wanted:
                found.append((name, number))
            if not after <= before:  # the kernel runs no program for calls that it allows without looking further
                found.append((name, number, "looks at more", after - before))
            if before <= {0, 4}:
                continue
            for sample in arguments:
                if run(program, architecture, number, sample) != run(plain, architecture, number, sample):
                    found.append((name, number, sample))
    return found


def rule(*names: str, action: str = "ALLOW", args: Sequence[object] = (), **more: object) -> dict[str, object]:
    return {"names": list(names), "action": f"SCMP_ACT_{action}", "args": list(args)} | more


def compare(op: str, value: int, *, index: int = 0, second: int = 0) -> dict[str, object]:
    return {"index": index, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{op}"}


def docker(*rules: dict[str, object], default: str = "ERRNO", machine: str = "x86_64", **more: object) -> Profile:
    text = json.dumps({"defaultAction": f"SCMP_ACT_{default}", "syscalls": rules} | more)
    return read_profile(text, capabilities=DEFAULT, machine=machine, kernel="6.1")


THREE_ABIS = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
EVERY_ACTION = [
    rule("read", action="ERRNO", errnoRet=13), rule("write", action="ERRNO"), rule("open", action="KILL"),
    rule("close", action="KILL_PROCESS"), rule("stat", action="TRAP"), rule("fstat", action="LOG"),
    rule("lstat", action="TRACE", errnoRet=7),
]  # fmt: skip
COMPARISONS = [
    rule(name, args=[compare(op, 4, second=4)])
    for name, op in zip(
        ("read", "write", "open", "close", "stat", "fstat", "socket"),
        ("EQ", "NE", "LT", "LE", "GE", "GT", "MASKED_EQ"),
        strict=True,
    )
]
SOCKETS = [rule("socket", args=[compare("LE", 2)]), rule("connect"), rule("accept4", "listen", args=[compare("NE", 3)])]
LONG = rule("ioctl", args=[compare("EQ", 3 * value, index=1) for value in range(600)])
WIDE = [
    rule(name, args=[compare("GT", 1 << 40, index=2), compare("NE", 7, index=4)])
    for name in "read write open close stat fstat lstat poll lseek mmap mprotect munmap brk ioctl pread64 readv".split()
]

PROFILES = {
    "default": default_profile(DEFAULT, "x86_64"),
    "no capabilities": default_profile(frozenset(), "x86_64"),
    "all capabilities": default_profile(frozenset(BY_CAPABILITY), "x86_64"),
    **{name: default_profile(DEFAULT | {name}, "x86_64") for name in BY_CAPABILITY},
    "arm": default_profile(DEFAULT, "aarch64"),
    "arm, all capabilities": default_profile(frozenset(BY_CAPABILITY), "aarch64"),
    "one call": docker(rule("read")),
    "three ABIs": docker(rule("read", "getppid"), architectures=THREE_ABIS),
    "every action": docker(*EVERY_ACTION, default="ALLOW"),
    "every action, three ABIs": docker(*EVERY_ACTION, default="ALLOW", architectures=THREE_ABIS),
    "logged": docker(rule("read"), default="LOG"),
    "killed": docker(rule("read"), *EVERY_ACTION[1:], default="KILL_PROCESS"),
    "traced": docker(rule("read"), rule("write", args=[compare("EQ", 1)]), default="TRACE", defaultErrnoRet=3),
    "absent": docker(rule("read"), defaultErrnoRet=38),
    "comparisons": docker(*COMPARISONS),
    "comparisons, three ABIs": docker(*COMPARISONS, architectures=THREE_ABIS),
    "comparisons, what they let through": docker(
        *(one | {"action": "SCMP_ACT_KILL"} for one in COMPARISONS), default="ALLOW", architectures=THREE_ABIS
    ),
    "comparisons, arm": docker(*COMPARISONS, machine="aarch64", architectures=["SCMP_ARCH_ARM"]),
    "sockets of i386": docker(*SOCKETS, architectures=THREE_ABIS),
    "several arguments": docker(rule("read", args=[compare("EQ", 1), compare("EQ", 2, index=1)])),
    "alternatives": docker(rule("read", args=[compare("EQ", 1), compare("EQ", 5)])),
    "with and without a condition": docker(rule("read", args=[compare("EQ", 1)]), rule("read")),
    "two answers for one call": docker(
        rule("read", args=[compare("EQ", 1)]), rule("read", action="LOG", args=[compare("EQ", 2)]), default="KILL"
    ),
    "long": docker(LONG, rule("read"), architectures=THREE_ABIS),
    "wide": docker(*WIDE, architectures=THREE_ABIS),
}


@pytest.mark.parametrize("name", PROFILES)
def test_every_number_has_the_answer_it_had(name):
    profile = PROFILES[name]
    plain, program = plain_program(profile), compile_program(profile)
    assert len(program) <= len(plain)
    assert not differences(plain, program, [*range(1001), *FAR], samples(profile, 60))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_default_program_is_several_times_shorter(machine):
    profile = default_profile(DEFAULT, machine)
    assert len(compile_program(profile)) * 4 < len(plain_program(profile))


def test_conditions_on_one_word_become_ranges():
    """A comparison with a mask is three instructions, and the families of sockets are seven of them in the profile."""
    masks = [k for code, _, _, k in instructions(compile_program(PROFILES["default"])) if code == 0x54]
    assert masks == [NAMESPACE_FLAGS]


def test_a_profile_may_be_too_long_for_the_kernel():
    conditions = [compare("EQ", (value << 32) + 3 * value, index=1) for value in range(2500)]
    with pytest.raises(PyrtError, match="too long: [0-9]+ instructions, not 4096"):
        compile_program(docker(rule("ioctl", args=conditions)))


@pytest.mark.parametrize("seed", range(30))
def test_jumps_farther_than_a_byte(seed):
    chosen = random.Random(seed)
    graph = Graph()
    nodes = [graph.answer(value) for value in range(5)]
    for value in range(700):
        word, jump = Word(chosen.choice([0, 4, 16])), chosen.choice([0x15, 0x25])
        then = chosen.choice(nodes), chosen.choice([chosen.choice(nodes), *nodes[-2:]])
        nodes.append(graph.test(word, jump, value, *then))
    for root in nodes[-20:]:
        program = write(graph, root)
        for _ in range(5):
            words = {offset: chosen.randrange(700) for offset in (0, 4, 16)}
            node = root
            while not isinstance(test := graph[node], int):
                value = words[test.word.offset]
                holds = value == test.value if test.jump == 0x15 else value > test.value
                node = test.yes if holds else test.no
            assert run(program, words[4], words[0], (words[16],)) == test


def test_what_it_does_not_understand_it_leaves_alone():
    length = struct.pack("=HBBI", 0x80, 0, 0, 0)  # A = the size of the data
    program = length + struct.pack("=HBBI", 0x15, 0, 0, 64) + struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)
    assert by_ranges(program) == program


def test_programs_of_another_version_are_not_used(tmp_path, monkeypatch):
    text = json.dumps({"defaultAction": "SCMP_ACT_ALLOW"})
    path, digest = ProgramCache(tmp_path).profile(text)
    monkeypatch.setattr(seccomp, "VERSION", seccomp.VERSION - 1)
    assert ProgramCache(tmp_path).profile(text)[1] != digest


ACTIONS = st.sampled_from([
    ALLOW, DENY, ABSENT, Action("SCMP_ACT_LOG"), Action("SCMP_ACT_TRACE", 9), Action("SCMP_ACT_KILL"),
    Action("SCMP_ACT_KILL_PROCESS"), Action("SCMP_ACT_TRAP"),
])  # fmt: skip
NAMES = """read write open close socket connect accept4 bind send recv socketcall ipc semop clone clone3 mmap mmap2
    ioctl personality exit getuid getuid32 futex futex_time64 openat2 mseal cachestat uretprobe no_such_call""".split()
VALUES = st.one_of(
    st.integers(0, 40), st.sampled_from([LOW_32, 1 << 32, (1 << 64) - 1, 1 << 63]), st.integers(0, (1 << 64) - 1)
)
OPERATIONS = [f"SCMP_CMP_{op}" for op in ("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")]
COMPARES = st.builds(Compare, st.integers(0, 5), st.sampled_from(OPERATIONS), VALUES, VALUES)
RULES = st.builds(
    Rule,
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=8).map(tuple),
    ACTIONS,
    st.lists(COMPARES, max_size=3, unique_by=lambda one: one.index).map(tuple),
)
PROFILES_OF_ANY_KIND = st.builds(
    Profile,
    default=ACTIONS,
    architectures=st.sampled_from([
        ("SCMP_ARCH_X86_64",), tuple(THREE_ABIS[:2]), tuple(THREE_ABIS), ("SCMP_ARCH_X86_64", "SCMP_ARCH_X32"),
        ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    ]),
    rules=st.lists(RULES, max_size=12).map(tuple),
    numbers=st.sampled_from([(), (("cachestat", 451), ("mseal", 462), ("uretprobe", 335))]),
    absent=st.booleans(),
    named_only=st.booleans(),
    socketcall_opens=st.booleans(),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(PROFILES_OF_ANY_KIND)
def test_any_profile(profile):
    try:
        plain = plain_program(profile)
    except PyrtError as error:  # two answers for one call, for instance
        with pytest.raises(PyrtError) as again:
            compile_program(profile)
        assert str(again.value) == str(error)
        return
    program = compile_program(profile)
    assert len(program) <= len(plain)
    assert not differences(plain, program, [*range(0, 480), *FAR], samples(profile, 25))


VALUES_OF_WORDS = [*range(11), 1 << 31, LOW_32 - 1, LOW_32]
MASKS = [LOW_32, LOW_32 ^ 1, LOW_32 ^ 3, LOW_32 ^ 4, 0, 1, 6, 7, 8, 1 << 31]


def program_of_any_kind(chosen: random.Random) -> bytes:
    """Return what libseccomp would not write: few values, so that the tests of one word meet each other."""
    length, farthest, loads = chosen.choice([(8, 2, 20), (20, 4, 20), (60, 6, 10), (600, 255, 1)])
    code = [(0x20, 0, 0, 4)]
    while len(code) < length:
        far = min(farthest, length - len(code))
        true, false = chosen.randint(0, far), chosen.choice([0, 0, chosen.randint(0, far)])
        code += chosen.choices(
            [
                (0x20, 0, 0, chosen.choice([0, 0, 4, 16, 20])),
                (0x54, 0, 0, chosen.choice(MASKS)),
                (0x05, 0, 0, true),
                (chosen.choice([0x15, 0x25, 0x35, 0x45]), true, false, chosen.choice(VALUES_OF_WORDS)),
                (0x06, 0, 0, chosen.randint(0, 3)),
            ],
            weights=[loads, 8, 2, 60, 6],
        )
    code += [(0x06, 0, 0, answer % 7) for answer in range(farthest + 1)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 1 << 32))
def test_any_program(seed):
    chosen = random.Random(seed)
    program = program_of_any_kind(chosen)
    other = by_ranges(program)
    assert len(other) <= len(program)
    for _ in range(100):
        architecture, number, low, high = chosen.choices(VALUES_OF_WORDS, k=4)
        call = (architecture, number, (low | high << 32,))
        assert run(other, *call) == run(program, *call)
