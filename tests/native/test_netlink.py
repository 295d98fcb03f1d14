# SPDX-License-Identifier: Apache-2.0
"""The netlink parsers against damaged answers, under the address and undefined behaviour sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WARNINGS = "-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Werror".split()
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]


def test_damaged_answers(tmp_path: Path) -> None:
    program = tmp_path / "netlink_fuzz"
    sources = [ROOT / "tests/native/netlink_fuzz.c", ROOT / "csrc/rtnl.c", ROOT / "csrc/bridge.c"]
    compiler = ["gcc", "-std=gnu11", "-g", "-O1", "-UNDEBUG", *WARNINGS, *SANITIZE, f"-I{ROOT / 'csrc'}"]
    subprocess.run([*compiler, *sources, "-o", program], check=True)
    result = subprocess.run([program], capture_output=True, text=True, timeout=60)
    assert result.stdout == "ok\n", result.stderr
