# SPDX-License-Identifier: Apache-2.0
"""A container's network: its address on pyrt's bridge, its published ports, and the rules that lead to them."""

from __future__ import annotations

from pyrt.network.allocation import Allocation
from pyrt.network.manager import NetworkManager
from pyrt.network.ports import PortMapping, PortSpec, parse_port_spec

__all__ = ["Allocation", "NetworkManager", "PortMapping", "PortSpec", "parse_port_spec"]
