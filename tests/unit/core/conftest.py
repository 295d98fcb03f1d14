# SPDX-License-Identifier: Apache-2.0
"""A broadcaster, and a log of 4 MiB in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyrt.core.broadcast import Broadcaster, Log
from tests.unit.core.peers import open_log


@pytest.fixture
def broadcaster() -> Iterator[Broadcaster]:
    with Broadcaster() as made:
        yield made


@pytest.fixture
def log(broadcaster: Broadcaster, tmp_path: Path) -> Log:
    return open_log(broadcaster, tmp_path)
