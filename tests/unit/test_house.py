# SPDX-License-Identifier: Apache-2.0
"""The house rules that a machine can check: which package may import which, and how files begin and end."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ALLOWED = {
    "core": set[str](),
    "engine": {"core", "errors"},
    "image": {"core", "engine", "errors", "durable"},
    "network": {"core", "engine", "errors"},
    "registry": {"core", "engine", "errors", "durable", "image"},
    "container": {"core", "engine", "errors", "durable", "image", "network", "registry"},
    "commands": {"core", "engine", "errors", "image", "network", "registry", "container", "daemon"},
    "daemon": {"core", "engine", "errors", "image", "network", "registry", "container", "commands"},
    "errors": set[str](),
    "durable": set[str](),
}
BANNED_NAMES = {"utils", "helpers", "misc", "common"}
SUFFIXES = {".py", ".pyx", ".pyi", ".c", ".h"}
LONGEST = 500


def sources() -> list[Path]:
    tops = ("pyrt", "csrc", "tests", "benchmarks")
    return sorted(path for top in tops for path in (REPOSITORY / top).rglob("*") if path.suffix in SUFFIXES)


def imports(path: Path) -> set[str]:
    """The parts of pyrt that a module imports, by their first name; pyrt itself counts for nothing."""
    names = set()
    for item in ast.walk(ast.parse(path.read_text())):
        if isinstance(item, ast.Import):
            names |= {alias.name for alias in item.names}
        elif isinstance(item, ast.ImportFrom) and item.level == 0 and item.module:
            names |= {item.module} | {f"{item.module}.{alias.name}" for alias in item.names if item.module == "pyrt"}
    return {name.split(".")[1] for name in names if name.startswith("pyrt.")}


@pytest.mark.parametrize("package", ALLOWED)
def test_dependencies_run_one_way(package: str) -> None:
    top = REPOSITORY / "pyrt" / package
    files = [top.with_suffix(".py")] if package in ("errors", "durable") else sorted(top.rglob("*.py"))
    wrong = {
        str(path.relative_to(REPOSITORY)): bad
        for path in files
        if (bad := imports(path) - ALLOWED[package] - {package})
    }
    assert not wrong


def test_every_source_says_its_licence_first() -> None:
    assert not [str(path) for path in sources() if "SPDX-License-Identifier: Apache-2.0" not in path.read_text()[:200]]


def test_no_file_has_outgrown_its_noun() -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in sources()}
    assert not {path: length for path, length in lengths.items() if length > LONGEST}


def test_modules_are_nouns() -> None:
    assert not [str(path) for path in sources() if path.stem in BANNED_NAMES]
