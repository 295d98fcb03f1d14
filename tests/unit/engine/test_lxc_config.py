# SPDX-License-Identifier: Apache-2.0
"""config.lxc: Docker 0.1.0's keys by their names of today, and nothing that a user writes becomes a key."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrt.engine import lxc_config
from pyrt.engine.hierarchies import Layout
from pyrt.engine.limits import Limits
from pyrt.engine.lxc_config import shown
from pyrt.engine.spec import LaunchSpec, Network, Root, Volume
from pyrt.errors import StartError

ID = "a" * 64
ROOT = Root(directory="/l", lower=("a/diff",), upper="/c/diff", work="/c/work")
SPEC = LaunchSpec(id=ID, root=ROOT, argv=("sh",), env=("A=1",), hostname="web", capabilities=1, engine="lxc")
V1 = Layout("pyrt", groups={"memory": "/m/pyrt", "cpu": "/c/pyrt", "pids": "/p/pyrt"}, swap=True)
V2 = Layout("pyrt", groups={"memory": "/u/pyrt"}, v2="/u/pyrt", on_v2=frozenset({"memory"}), swap=True)


def keys_of(text: str) -> dict[str, list[str]]:
    """What lxc reads: lines that begin with lxc., split at the first equals sign."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in text.split("\n"):
        if line.strip().startswith("lxc."):
            key, _, value = line.partition("=")
            found[key.strip()].append(value.strip())
    return found


def keys(layout: Layout = V1, **changes: object) -> dict[str, list[str]]:
    return keys_of(lxc_config.make(dataclasses.replace(SPEC, **changes), layout))  # type: ignore[arg-type]


def test_host_name_memory_and_twice_the_memory() -> None:
    found = keys(limits=Limits(memory_bytes=33554432))
    assert found["lxc.uts.name"] == ["web"]
    assert found["lxc.cgroup.memory.limit_in_bytes"] == ["33554432"]
    assert found["lxc.cgroup.memory.memsw.limit_in_bytes"] == ["67108864"]


def test_the_same_limits_on_version_2() -> None:
    found = keys(V2, limits=Limits(memory_bytes=33554432))
    assert found["lxc.cgroup2.memory.max"] == found["lxc.cgroup2.memory.swap.max"] == ["33554432"]
    assert not any(key.startswith("lxc.cgroup.memory") for key in found)


def test_a_negative_swap_limit_is_none() -> None:
    found = keys(limits=Limits(memory_bytes=33554432, memory_swap_bytes=-1))
    assert "lxc.cgroup.memory.memsw.limit_in_bytes" not in found


def test_the_network() -> None:
    network = Network("bridge", 1, "172.30.0.2", 22, "172.30.0.1", 1400)  # the interface with index 1 is lo everywhere
    found = keys(network=network)
    assert {key.removeprefix("lxc.net.0."): value for key, value in found.items() if key.startswith("lxc.net.")} == {
        "type": ["veth"],
        "veth.pair": ["pyrtaaaaaaaaaaa"],
        "link": ["lo"],
        "name": ["eth0"],
        "flags": ["up"],
        "mtu": ["1400"],
        "hwaddr": ["02:70:ac:1e:00:02"],
        "ipv4.address": ["172.30.0.2/22 172.30.3.255"],
        "ipv4.gateway": ["172.30.0.1"],
    }
    assert keys(network=Network("host"))["lxc.net.0.type"] == ["none"]
    assert keys(network=Network("none"))["lxc.net.0.type"] == ["empty"]


def test_devices_are_an_allow_list_by_number() -> None:
    found = keys()
    assert found["lxc.cgroup.devices.deny"] == found["lxc.cgroup2.devices.deny"] == ["a"]
    assert "c 1:3 rwm" in found["lxc.cgroup.devices.allow"] and "c 136:* rwm" in found["lxc.cgroup2.devices.allow"]
    assert not any("devices" in key for key in keys(privileged=True))


def test_capabilities_are_an_allow_list() -> None:
    (kept,) = keys(capabilities=1 << 13)["lxc.cap.keep"]
    assert "net_raw" in kept.split() and "sys_admin" in kept.split() and "sys_module" not in kept.split()
    assert "lxc.cap.keep" not in keys(privileged=True)


def test_what_is_hidden_and_read_only() -> None:
    entries = keys()["lxc.mount.entry"]
    assert "sysfs sys sysfs nosuid,nodev,noexec,ro 0 0" in entries
    assert "proc/sys proc/sys none bind,ro,nosuid,nodev,noexec,relative 0 0" in entries
    assert not any("optional" in entry for entry in entries)  # a mask that fails must fail the start
    assert keys(privileged=True)["lxc.mount.entry"][:2] == [
        "proc proc proc nosuid,nodev,noexec 0 0",
        "sysfs sys sysfs nosuid,nodev,noexec 0 0",
    ]


@pytest.mark.parametrize("name", ["web\nlxc.hook.start = /x", "a\rb", "\u2028x", " web", "web ", '"web"', "", "a\x00b"])
def test_a_value_that_would_not_stay_one_is_refused(name: str) -> None:
    with pytest.raises(StartError, match=r"lxc.uts.name cannot be"):
        keys(hostname=name)


HOSTILE = st.text(st.one_of(st.sampled_from("\n\r#=, lxc.hook.start\\\t\u2028\udce9"), st.characters()), min_size=1)


@given(source=HOSTILE, target=HOSTILE, argument=HOSTILE, user=HOSTILE)
def test_what_a_user_chooses_adds_no_key(source: str, target: str, argument: str, user: str) -> None:
    try:
        source.encode("utf-8", "surrogateescape"), target.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # no path there is
        return
    found = keys(
        volumes=(Volume(source, target, True),), argv=(argument,), env=(f"A={argument}",), user=user, cwd=target
    )
    assert found == keys()


def test_paths_are_shown_as_in_fstab() -> None:
    assert shown("/a b\n#\\\udce9é") == "/a\\040b\\012#\\134\\351\\303\\251"
