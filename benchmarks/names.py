# SPDX-License-Identifier: Apache-2.0
"""What comparisons and contenders are called where more than one file has to know: the benchmarks, and goals.py."""

from __future__ import annotations

REST_SECONDS = 0.15  # between starts that are called cold
IN_A_ROW = 5  # starts of one contender that are called back to back

IN_PROCESS = "begin to exec, back to back"
IN_PROCESS_COLD = "begin to exec, 150 ms apart"
WHOLE = "whole command, back to back"
WHOLE_COLD = "whole command, 150 ms apart"
RATE = "containers a second"
CROWD = "whole commands beside live containers"
MEMORY = "memory of a runtime's own processes for each live container"
TAIL = "whole command, 1,000 times each"

FLOOR = "C floor"
FLOOR_VETH = "C floor + veth"
FLOOR_PARKED = "C floor, parked"
FLOOR_PARKED_VETH = "C floor, parked + veth"
FLOOR_BARE = "C floor, no cgroup"
FLOOR_PARKED_BARE = "C floor, parked, no cgroup"
PYRT_VETH = "pyrt in process + veth"
PYRT = "pyrt in process"
PYRT_PARKED = "pyrt in process, parked"
PYRT_PARKED_VETH = "pyrt in process, parked + veth"
CORE = "pyrt.core in process, no cgroup"
CORE_PARKED = "pyrt.core in process, parked, no cgroup"
PLAIN_PYTHON = "plain Python: ctypes and os.fork"

FLOOR_WHOLE = "C floor, whole"
FLOOR_TWICE = "C floor by 2 processes"
FLOOR_VETH_TWICE = "C floor + veth by 2 processes"
FLOOR_VETH_MANY = "C floor + veth by 16 processes"
RUN = "pyrt run"
RUN_NO_NETWORK = "pyrt run --network none"
RUN_LXC = "pyrt run --engine lxc"
PS = "pyrt ps"
CRUN = "crun run"
DOCKER = "docker run"


def with_clients(name: str, clients: int) -> str:
    return f"{name}, {clients} client{'s' if clients != 1 else ''}"


def beside(name: str, live: int) -> str:
    return f"{name}, {live:,} live"
