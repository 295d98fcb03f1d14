# SPDX-License-Identifier: Apache-2.0
"""What --cap-add, --cap-drop and --privileged make of a container's capabilities."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrt.engine import capabilities
from pyrt.engine.capabilities import DEFAULT, NAMES, resolve
from pyrt.errors import UsageError

ALL = frozenset(NAMES)
HERE = ALL - {"CAP_SYS_RESOURCE"}


def test_the_default_is_an_allow_list_of_eleven():
    assert resolve(available=ALL) == DEFAULT
    assert len(DEFAULT) == 11
    assert not DEFAULT & {"CAP_NET_RAW", "CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_AUDIT_WRITE"}


@pytest.mark.parametrize("spelling", ["NET_RAW", "net_raw", "CAP_NET_RAW", "cap_net_raw", " Net_Raw "])
def test_every_spelling_of_a_name(spelling):
    assert resolve([spelling], available=ALL) == DEFAULT | {"CAP_NET_RAW"}
    assert "CAP_KILL" not in resolve(drop=[spelling.lower().replace("net_raw", "kill")], available=ALL)


@pytest.mark.parametrize(
    ("add", "drop", "expected"),
    [
        ([], ["ALL"], frozenset()),
        (["CHOWN"], ["all"], {"CAP_CHOWN"}),
        (["ALL"], [], HERE),
        (["all"], ["SYS_ADMIN"], HERE - {"CAP_SYS_ADMIN"}),
        (["CHOWN"], ["CHOWN"], DEFAULT),
    ],
)
def test_all_and_precedence_as_docker_has_them(add, drop, expected):
    assert resolve(add, drop, available=HERE) == expected


def test_privileged_is_what_we_have_ourselves():
    assert resolve(privileged=True, available=HERE) == HERE
    assert resolve(drop=["NET_RAW"], privileged=True, available=HERE) == HERE - {"CAP_NET_RAW"}


@pytest.mark.parametrize("flag", ["add", "drop"])
def test_an_unknown_name_is_named(flag):
    with pytest.raises(UsageError, match=rf"--cap-{flag}: unknown capability 'NET_RAWW'"):
        resolve(["NET_RAWW"] if flag == "add" else [], ["NET_RAWW"] if flag == "drop" else [], available=ALL)


def test_what_we_lack_cannot_be_given_silently():
    with pytest.raises(UsageError, match="CAP_SYS_RESOURCE"):
        resolve(["SYS_RESOURCE"], available=HERE)
    assert resolve(available=frozenset({"CAP_CHOWN"})) == {"CAP_CHOWN"}


def test_contradiction():
    with pytest.raises(UsageError, match="contradict"):
        resolve(["ALL"], ["ALL"], available=ALL)


def test_masks_are_the_kernels_numbers():
    assert capabilities.mask(["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]) == 1 | 1 << 21 | 1 << 40
    assert capabilities.mask(DEFAULT) == 0x800405FB
    assert capabilities.from_mask(capabilities.mask(ALL)) == ALL
    assert capabilities.from_mask(1 << 50 | 1) == {"CAP_CHOWN"}


def test_the_numbers_are_those_of_the_system_header():
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("linux/capability.h is not installed")
    words = [line.split() for line in header.read_text().splitlines() if line.startswith("#define CAP_")]
    numbers = {line[1]: int(line[2]) for line in words if len(line) > 2 and line[2].isdigit()}
    assert numbers == capabilities.NUMBERS


def test_a_process_that_lacks_some():
    assert capabilities.from_status("CapPrm:\t0000000000000003\nCapBnd:\t0000000000000005\n") == {"CAP_CHOWN"}
    assert capabilities.process_capabilities() <= ALL
