# SPDX-License-Identifier: Apache-2.0
"""The cgroup tests on a machine with cgroup v2 alone: a virtual one, booted once for all of them.

What runs inside is test_cgroups.py as it is, guest_cgroup_v2.py, and guest_engine.py and guest_lxc.py, which start
containers; each of their tests is a test here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

import pytest

from tests.integration import machine

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]
if os.uname().machine != "x86_64":
    pytest.skip("the virtual machine is one of x86_64", allow_module_level=True)

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
MODULES = ("test_cgroups.py", "guest_cgroup_v2.py", "guest_engine.py", "guest_lxc.py")
PACKAGES = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments", "_cffi_backend")
RESULT = re.compile(r"^(\S+\.py)::(\S+?)(?:\[(.*?)\])? (PASSED|FAILED|ERROR|SKIPPED)", re.MULTILINE)


def names(file: str) -> list[str]:
    return re.findall(r"^def (test_\w+)", (HERE / file).read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, set[str]], str]:
    """Boot, run everything, and return {test: outcomes} with the whole console output."""
    if REPOSITORY not in Path(machine.__file__).parents:
        pytest.skip("the tests are not run from the repository")
    files = [*(HERE / name for name in MODULES), Path("/usr/bin/lxc-start")]
    files += [REPOSITORY / "pyrt/engine", REPOSITORY / "pyrt/core", *(REPOSITORY / "pyrt").glob("*.py")]
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec and spec.origin
        files.append(Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin))
    site = Path(str(pytest.__file__)).parent.parent
    command = f"""
cd {REPOSITORY}
export PYTHONPATH={REPOSITORY}:{site} PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
run="{os.path.realpath(sys.executable)} -m pytest -v --no-header --noconftest --assert=plain --tb=short --color=no \\
    -c /dev/null --rootdir={REPOSITORY} -p no:cacheprovider -W error -o markers=root"
$run -k "not alone" {files[0]} {files[1]}
# An initramfs cannot be pivoted away from: containers are started from a copy of it.
mkdir /copy; mount -t tmpfs copy /copy
for entry in /*; do case $entry in /copy|/proc|/sys|/dev) ;; *) cp -a $entry /copy ;; esac; done
mkdir /copy/proc /copy/sys /copy/dev
for name in proc sys dev; do mount --rbind /$name /copy/$name; done
chroot /copy sh -c "cd {REPOSITORY} && $run {files[2]} {files[3]}"
"""
    try:
        console = machine.run(command, files=files, work=tmp_path_factory.mktemp("machine"))
    except machine.Unavailable as error:
        pytest.skip(str(error))
    results: dict[str, set[str]] = {}
    for _, name, _, result in RESULT.findall(console):
        results.setdefault(name, set()).add(result)
    return results, console


@pytest.mark.parametrize("name", [name for module in MODULES for name in names(module)])
def test_on_cgroup_v2(outcome, name):
    results, console = outcome
    assert results.get(name) == {"PASSED"}, console
