# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests: the instance under test, its busybox image, the leak ledger, and the report of a failure."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests import ledger
from tests.harness import Pyrt, start_instance
from tests.images import with_files
from tests.rootfs import busybox_tar

PROBE_SOURCE = Path(__file__).parent / "integration" / "probe.c"


def pytest_configure() -> None:
    """Forget what programs of tests would inherit: signals ignored by nohup or `&`, variables meant for pyrt."""
    for name in ("PYRT_ROOT", "PYRT_RUN_DIR", "PYRT_HOST", "PYRT_ENGINE"):
        os.environ.pop(name, None)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root the integration tests are skipped, and the summary says so."""
    if os.geteuid() != 0:
        for item in items:
            if item.get_closest_marker("root"):
                item.add_marker(pytest.mark.skip(reason="needs root"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `both_engines` run once with each engine."""
    if "pyrt" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_engines"):
        metafunc.parametrize("engine", ["native", "lxc"])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing container test shows what was run, and the logs of daemon and supervisor."""
    report = yield
    if report.failed:
        for instance in getattr(item, "funcargs", {}).values():
            if isinstance(instance, Pyrt):
                report.sections.append((f"pyrt in {instance.directory}", instance.report()))
    return report


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that looks around inside a container, built static."""
    path = tmp_path_factory.mktemp("probe") / "probe"
    warnings = ["-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", "-std=gnu11", "-O1", "-static", *warnings, "-o", path, PROBE_SOURCE], check=True)
    return path


@pytest.fixture(scope="session")
def bb_tar(probe: Path) -> bytes:
    """The image `bb`: busybox, and the probe as /bin/probe."""
    return with_files(busybox_tar(), {"bin/probe": (probe.read_bytes(), 0o755)})


class Instances:
    """One instance of pyrt per engine for the whole run, started by the first test that asks for it."""

    def __init__(self, bb_tar: bytes) -> None:
        self._bb_tar = bb_tar
        self._by_engine: dict[str, Pyrt] = {}

    def get(self, engine: str) -> Pyrt:
        if engine not in self._by_engine:
            instance = start_instance(_unbuilt, engine=engine)
            self._by_engine[engine] = instance
            instance.ok("import", "-", "bb", input=self._bb_tar)
            # Once through everything that is made on first use and kept: not a leak of the first test.
            instance.ok("run", "--rm", "-p", "127.0.0.1::80/tcp", "-m", "64m", "bb", "true")
            instance.ok("logs", instance.detached("--name", "warm", "bb", "echo", "warm"))
            instance.ok("rm", "-f", "warm")
        return self._by_engine[engine]

    def close(self) -> None:
        with contextlib.ExitStack() as closing:
            for instance in self._by_engine.values():
                closing.callback(instance.close)


@pytest.fixture(scope="session")
def instances(bb_tar: bytes) -> Iterator[Instances]:
    with contextlib.closing(Instances(bb_tar)) as all_of_them:
        yield all_of_them


@pytest.fixture(scope="session")
def session_pyrt(instances: Instances) -> Pyrt:
    """The native instance. Tests take `pyrt`."""
    return instances.get("native")


@pytest.fixture
def engine() -> str:
    """What the instance under test starts containers with; tests marked `both_engines` run once with each."""
    return "native"


@pytest.fixture
def instance(instances: Instances, engine: str) -> Pyrt:
    return instances.get(engine)


@pytest.fixture
def pyrt(instance: Pyrt) -> Iterator[Pyrt]:
    """The instance under test, with the image `bb`."""
    instance.ensure()
    instance.history.clear()
    yield instance
    instance.end_commands()


@pytest.fixture(autouse=True)
def leak_ledger(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails every root test that leaves anything behind, then removes its containers so that the next starts clean."""
    if not request.node.get_closest_marker("root"):
        yield
        return
    if "pyrt" not in request.fixturenames:
        with ledger.watch(lambda: ledger.Subject(root=Path("/nonexistent/r"), run_dir=Path("/nonexistent/s"))):
            yield
        return
    instance: Pyrt = request.getfixturevalue("instance")
    instance.ensure()
    try:
        with ledger.watch(instance.subject):
            yield
            instance.ensure()
    except ledger.LeakError as leak:
        instance.remove_containers()
        pytest.fail(f"{leak}\n\n{instance.report()}", pytrace=False)


def _unbuilt(reason: str) -> None:
    """Where a build is promised (CI) its absence is a failure; elsewhere it is a skip that is counted."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
