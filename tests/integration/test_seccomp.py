# SPDX-License-Identifier: Apache-2.0
"""The default seccomp program on the real kernel: every system call of three ABIs, and ordinary programs under it."""

from __future__ import annotations

import errno
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from pyrt.engine.capabilities import DEFAULT
from pyrt.engine.seccomp import compile_default, compile_profile
from tests import seccomp_golden

pytestmark = [pytest.mark.root, pytest.mark.both_engines]
if os.uname().machine != "x86_64":
    pytest.skip("the probe speaks x86_64", allow_module_level=True)

RETURN, JUMP, RET_ERRNO, RET_ALLOW = 0x06, 0x05, 0x00050000, 0x7FFF0000
MARKS = {RET_ALLOW: 1001, RET_ERRNO | errno.EPERM: 1002, RET_ERRNO | errno.ENOSYS: 1003}
UNASKED = {("x86_64", 335), ("x86_64", 336)}  # uretprobe and uprobe, see the probe
MEANINGS = {-1001: "allow", -1002: "EPERM", -1003: "ENOSYS"}


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> str:
    binary = str(tmp_path_factory.mktemp("probe") / "seccomp_probe")
    source = Path(__file__).with_name("seccomp_probe.c")
    subprocess.run(["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-o", binary, str(source)], check=True)
    return binary


def answers_marked(program: bytes) -> bytes:
    """Replace each answer by an errno of its own, "allow" too: the decisions show, and no call is ever carried out."""
    changed = []
    for code, true, false, k in struct.iter_unpack("=HBBI", program):
        if code == RETURN and k in MARKS:
            k = RET_ERRNO | MARKS[k]
        changed.append(struct.pack("=HBBI", code, true, false, k))
    return b"".join(changed)


def test_every_call_of_every_abi(probe, tmp_path):
    path = tmp_path / "marked.bpf"
    path.write_bytes(answers_marked(compile_default(DEFAULT)))
    output = subprocess.run([probe, str(path)], check=True, capture_output=True, text=True, timeout=30).stdout
    decided = {(abi, int(number)): int(value) for abi, number, value in map(str.split, output.splitlines())}
    assert len(decided) == 3 * 601
    # A kernel without 32-bit emulation or x32 answers before seccomp is asked.
    reached = {abi for (abi, _), value in decided.items() if value in MEANINGS}
    assert "x86_64" in reached
    wrong = {}
    for call, value in decided.items():
        expected = seccomp_golden.expected(*call)
        if call[0] in reached and call not in UNASKED and expected not in (None, MEANINGS.get(value)):
            wrong[call] = (MEANINGS.get(value, value), expected)
    assert not wrong


@pytest.fixture
def confined(probe, tmp_path):
    path = tmp_path / "default.bpf"
    path.write_bytes(compile_default(DEFAULT))

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([probe, str(path), *argv], capture_output=True, text=True, timeout=60)

    return run


def test_ordinary_programs_run(confined):
    code = (
        "import subprocess, threading, socket, tempfile, asyncio, sqlite3\n"
        "threading.Thread(target=print, args=('thread',)).start()\n"
        "a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'\n"
        "s = socket.create_server(('127.0.0.1', 0)); s.close()\n"
        "asyncio.run(asyncio.sleep(0))\n"
        "print(subprocess.run(['sh', '-c', 'echo $((6*7)) | cat'], capture_output=True, text=True).stdout)\n"
        "with tempfile.TemporaryFile() as f: f.write(b'y'); f.flush()\n"
    )
    done = confined(sys.executable, "-c", code)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["thread", "42"], "")


def test_the_kernel_takes_long_profiles(probe, tmp_path):
    """Far jumps, and conditions on several words: the same answers on the real kernel as without the filter."""
    rules = [
        {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 5 + number, "args": [
            {"index": 2, "op": "SCMP_CMP_EQ", "value": 77_000 + number + 4 * value}
        ]}
        for number, name in enumerate(("read", "write", "lseek", "ioctl"))
        for value in range(200)
    ]  # fmt: skip
    rules += [{"names": ["swapon", "swapoff", "reboot", "sethostname", "setdomainname"], "action": "SCMP_ACT_KILL"}]
    program = compile_profile(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}))
    assert len(program) > 8 * 800 and JUMP in {code for code, *_ in struct.iter_unpack("=HBBI", program)}
    path = tmp_path / "long.bpf"
    path.write_bytes(program)
    code = """
import os
read, write = os.pipe()
print(os.write(write, bytes(50_000)))
for count in (77_000, 77_796, 77_001):
    try:
        print(len(os.read(read, count)))
    except OSError as error:
        print(error.errno)
"""
    done = subprocess.run([probe, str(path), sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["50000", "5", "5", "50000"], "")


def test_what_a_container_must_not_do(confined):
    code = """
import ctypes, errno, os, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    ctypes.set_errno(0)
    return errno.errorcode[ctypes.get_errno()] if libc.syscall(*map(ctypes.c_long, arguments)) < 0 else "done"
print(call(272, 0x10000000))                # unshare(CLONE_NEWUSER)
print(call(56, 0x10000011, 0, 0, 0, 0))     # clone(CLONE_NEWUSER | SIGCHLD)
print(call(435, 0, 0))                      # clone3
print(call(165, 0, 0, 0, 0, 0))             # mount
print(call(250, 0, -3, 0))                  # keyctl
print(call(425, 1, 0))                      # io_uring_setup
print(call(321, 0, 0, 0))                   # bpf
print(call(323, 0))                         # userfaultfd
print(call(470), call(600))                 # newer than the profile
print(call(41, 38, 5, 0), call(41, 40, 1, 0), call(41, 38 + 2**32, 5, 0))   # AF_ALG, AF_VSOCK, AF_ALG in disguise
print(call(135, 0x40000))                   # personality(ADDR_NO_RANDOMIZE)
"""
    done = confined(sys.executable, "-c", code)
    assert done.stderr == ""
    assert done.stdout.split() == [
        "EPERM", "EPERM", "ENOSYS", "EPERM", "EPERM", "EPERM", "EPERM", "EPERM", "ENOSYS", "ENOSYS",
        "EPERM", "EPERM", "EPERM", "EPERM",
    ]  # fmt: skip
