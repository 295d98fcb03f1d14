# SPDX-License-Identifier: Apache-2.0
"""What pyrt-init parses (plans, passwd and group lines), mutated, under the sanitizers.

The whole of the init runs with them in tests/integration/core, when scripts/sanitize has built it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.native.test_streams import CSRC, HERE, build, run


@pytest.fixture(scope="module")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fuzz") / "fuzz_init"
    sources = [CSRC / "init" / name for name in ("plan.c", "passwd.c")]
    return build(path, "address,undefined", HERE / "fuzz_init.c", *sources)


@pytest.mark.parametrize("seed", [1, 20130326])
def test_mutated_plans_and_lines(fuzzer: Path, seed: int) -> None:
    """By hand, for longer: fuzz_init 10000000 SEED."""
    found = re.fullmatch(
        r"200000 inputs, (\d+) plans \((\d+) that join\) and (\d+) lines accepted\n", run(fuzzer, 200_000, seed)
    )
    assert found and int(found[1]) > 10_000, "the mutations leave nothing to read"
    assert int(found[2]) > 1000 and int(found[3]) > 1000
