# SPDX-License-Identifier: Apache-2.0
"""The layer below all others."""

from __future__ import annotations

import stat
from pathlib import Path

from pyrt.image import base


def test_made_as_it_is_to_be_and_mended(tmp_path: Path) -> None:
    base.make(tmp_path)
    (tmp_path / "base" / "etc" / "hosts").unlink()
    (tmp_path / "base" / "dev").chmod(0o700)
    base.make(tmp_path)
    made = {str(path.relative_to(tmp_path / "base")): path.stat() for path in (tmp_path / "base").rglob("*")}
    assert set(made) == {"dev", "etc", "etc/hostname", "etc/hosts", "etc/resolv.conf", "proc", "sys"}
    for status in made.values():
        assert stat.S_IMODE(status.st_mode) == (0o755 if stat.S_ISDIR(status.st_mode) else 0o644)
    assert stat.S_IMODE((tmp_path / "base").stat().st_mode) == 0o755
