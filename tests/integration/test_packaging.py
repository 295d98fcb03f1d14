# SPDX-License-Identifier: Apache-2.0
"""What a user installs: the sdist has everything it takes to build, and the wheel brings a `pyrt` that works.

One chain, each link made of nothing but the one before: checkout, sdist, wheel, clean virtual environment. It needs no
package index: the build tools are those of the tests' own environment, the dependencies copies of what is there.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from tests.harness import REPOSITORY, Pyrt

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

BUILD_SDIST = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
# What is made in a checkout, as .gitignore has it, and what belongs to git alone.
MADE = ("build", "dist", ".venv", ".bench", "*.egg-info", "__pycache__", "*.so", "*.o", "_libexec", ".*_cache")
NOT_SHIPPED = (".git", ".gitattributes", ".gitignore", ".benchmarks", ".hypothesis")
DEPENDENCIES = ("cffi", "pycparser", "backports.zstd")


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This tree as git would have it, so that nothing built earlier can stand in for what is missing."""
    if not (REPOSITORY / "setup.py").exists():
        pytest.skip("the tests are not run from the repository")
    path = tmp_path_factory.mktemp("packaging") / "checkout"
    shutil.copytree(REPOSITORY, path, ignore=shutil.ignore_patterns(*MADE, *NOT_SHIPPED), symlinks=True)
    return path


@pytest.fixture(scope="module")
def sdist(checkout: Path) -> Path:
    wanted = {path.relative_to(checkout) for path in checkout.rglob("*") if path.is_file()}
    (checkout.parent / "wanted").write_text("\n".join(sorted(map(str, wanted))))
    output = run(sys.executable, "-c", BUILD_SDIST, checkout.parent, cwd=checkout)
    return checkout.parent / output.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """Built of the sdist, in a directory with nothing else in it."""
    build = sdist.parent / "empty"
    build.mkdir()
    # pip's way from an sdist to a wheel, without the package index.
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-index", "--no-deps", "--no-build-isolation", sdist, cwd=build)
    [path] = build.iterdir()
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path) -> Path:
    """A clean virtual environment with pyrt and what it depends on in it."""
    path = wheel.parent.parent / "venv"
    run(sys.executable, "-m", "venv", path, cwd=wheel.parent)
    [packages] = path.glob("lib/python*/site-packages")
    for name in DEPENDENCIES:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:  # part of newer Pythons
            continue
        for file in files:
            if ".." not in file.parts:
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(Path(str(file.locate())), packages / file)
    # Without --no-deps: pip refuses when the wheel asks for anything but these.
    run(path / "bin/python3", "-m", "pip", "install", "-q", "--no-index", wheel, cwd=wheel.parent)
    return path


@pytest.fixture
def installed(environment: Path) -> Iterator[Pyrt]:
    """An instance of the installed client, in whose PATH is no Python but one without pyrt."""
    instance = Pyrt(environment / "bin/pyrt")
    instance.environment["PATH"] = "/usr/sbin:/usr/bin:/sbin:/bin"
    yield instance
    instance.close()


def test_the_sdist_is_the_whole_tree(sdist: Path) -> None:
    wanted = set((sdist.parent / "wanted").read_text().splitlines())
    with tarfile.open(sdist) as archive:
        members = {name.partition("/")[2] for name in archive.getnames()}
        modes = {member.name.partition("/")[2]: member.mode for member in archive}
    assert wanted - members == set()
    assert {name for name in members if name.endswith((".so", ".o", ".pyc"))} == set()
    assert not [name for name in members if name.startswith("build/")]
    for script in ("scripts/demo", "scripts/test", "scripts/setup"):
        assert modes[script] & 0o111 == 0o111


def test_the_wheel_has_what_runs_and_only_that(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        programs = {name: archive.read(name) for name in modes if "/_libexec/" in name or "/scripts/" in name}
    [client] = [name for name in programs if name.endswith(".data/scripts/pyrt")]
    assert {Path(name).name for name in programs} == {"pyrt", "pyrt-init", "pyrt-tar", "pyrt-untar"}
    for name, content in programs.items():
        assert stat.S_IMODE(modes[name]) == 0o755, name
        assert os.fsencode(sys.executable) not in content, f"{name} names an interpreter of the build machine"
    assert programs[client] == programs["pyrt/core/_libexec/pyrt"]
    assert {"pyrt/py.typed", "pyrt/core/frames.pyi", "pyrt/core/broadcast.pyi"} <= modes.keys()
    tops = {name.partition("/")[0].partition("-")[0] for name in modes}
    assert tops == {"pyrt"}, "nothing but the package itself"
    assert [name for name in modes if name.endswith("licenses/LICENSE")]


def test_an_installed_pyrt_runs_a_container(installed: Pyrt, environment: Path) -> None:
    assert installed.ok("version").text
    interpreter = Path(f"/proc/{installed.daemon_pid}/cmdline").read_bytes().split(b"\0")[0]
    assert os.fsdecode(interpreter) == str(environment / "bin/python3")
    assert installed.run("host", "echo", "installed").text == "installed"


def test_the_program_inside_the_package_finds_that_python_too(installed: Pyrt, environment: Path) -> None:
    [client] = environment.glob("lib/python*/site-packages/pyrt/core/_libexec/pyrt")
    installed.client = client
    assert installed.ok("images").lines[1].startswith("host ")
    interpreter = Path(f"/proc/{installed.daemon_pid}/cmdline").read_bytes().split(b"\0")[0]
    assert os.fsdecode(interpreter) == str(environment / "bin/python3")
