# SPDX-License-Identifier: Apache-2.0
"""How long does `run IMAGE cat FILE | sha256sum` take, whole? One file and image for every runtime, the digest checked.

The file lies in a volume. sha256sum may be slower than everything before it, so the same is done with openssl, which
uses what the processor has for it. BENCH_CAT_MEGABYTES=1000 is the figure that is quoted; the default is a short run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contenders, host
from benchmarks.interleave import Comparison, Failed, Replay, Sample, compare
from benchmarks.runtimes import Runtime, runtimes
from tests.rootfs import busybox_tar

pytestmark = pytest.mark.root

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
MEGABYTES = int(os.environ.get("BENCH_CAT_MEGABYTES", "100"))
FILE = "stream"
SUMMERS = {"sha256sum": ["sha256sum"], "openssl": ["openssl", "dgst", "-sha256", "-r"]}
PLAIN, LXC = "cat, no container", "lxc-start with a console log"
NAMES = (PLAIN, "pyrt", "docker", "podman + conmon", LXC)


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory: pytest.TempPathFactory, ratios: list[str]) -> Iterator[dict[str, Comparison]]:
    """A comparison for each way to sum, the contenders in turn. Their tables go to the end of the output."""
    directory = tmp_path_factory.mktemp("cat")
    volume = directory / "volume"
    volume.mkdir()
    digest = _make_file(volume / FILE)
    results = {}
    with runtimes(directory) as found, host.leftovers_removed(), _lxc_command(directory, volume) as lxc:
        for summer in filter(shutil.which, SUMMERS):
            summing = SUMMERS[summer]
            samples: dict[str, Sample] = {PLAIN: _piped(["cat", str(volume / FILE)], dict(os.environ), summing, digest)}
            samples |= {name: _run(runtime, volume, summing, digest) for name, runtime in found.items()}
            samples[LXC] = _lxc(lxc, directory, summing, digest)
            results[summer] = compare(f"{MEGABYTES} MB | {summer}", samples, rounds=ROUNDS)
            ratios += ["", *results[summer].table("docker", PLAIN)]
    yield results


@pytest.mark.benchmark(group="cat", timer=Replay.clock)
@pytest.mark.parametrize("summer", SUMMERS)
@pytest.mark.parametrize("name", NAMES)
def test_cat(benchmark: Any, comparisons: dict[str, Comparison], name: str, summer: str) -> None:
    if summer not in comparisons:
        pytest.skip(f"{summer} is not installed")
    if name in comparisons[summer].missing:
        pytest.skip(f"{name}: {comparisons[summer].missing[name]}")
    samples = comparisons[summer].samples[name]
    benchmark.pedantic(Replay(samples), rounds=len(samples), iterations=1)


def _make_file(path: Path) -> str:
    """Lines of printable text, as programs write them; returns the digest."""
    chooser = random.Random(7)
    block = b"".join(b"%0*x\n" % (chooser.randrange(40, 120), chooser.getrandbits(160)) for _ in range(20_000))
    digest = hashlib.sha256()
    left = MEGABYTES * 1_000_000
    with open(path, "wb") as file:
        while left > 0:
            part = block[:left]
            file.write(part)
            digest.update(part)
            left -= len(part)
    return digest.hexdigest()


def _run(runtime: Runtime, volume: Path, summing: list[str], digest: str) -> Sample:
    if runtime.missing:
        return _missing(runtime.missing)
    argv = runtime.run("--rm", "-v", f"{volume}:/data:ro", argv=["/bin/cat", f"/data/{FILE}"])
    return _piped(argv, dict(runtime.environment), summing, digest)


def _piped(argv: list[str], environment: dict[str, str], summing: list[str], digest: str) -> Sample:
    """Seconds of `ARGV | SUMMING`, from the command's start to the digest."""

    def sample() -> float:
        begin = time.perf_counter()
        command = subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        summer = subprocess.Popen(summing, stdin=command.stdout, stdout=subprocess.PIPE)
        assert command.stdout and summer.stdout
        command.stdout.close()
        text = summer.stdout.read()
        assert (command.wait(), summer.wait()) == (0, 0)
        seconds = time.perf_counter() - begin
        summer.stdout.close()
        assert text.split()[0].decode() == digest, f"{argv}: not the bytes that were written"
        return seconds

    return sample


@contextlib.contextmanager
def _lxc_command(directory: Path, volume: Path) -> Iterator[list[str]]:
    """lxc-start with a console log; nothing where there is none."""
    if not shutil.which("lxc-start"):
        yield []
        return
    rootfs = directory / "rootfs"
    (rootfs / "data").mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", rootfs], input=busybox_tar(), check=True)
    keys = {
        "lxc.uts.name": contenders.CONTAINER,
        "lxc.rootfs.path": f"dir:{rootfs}",
        "lxc.net.0.type": "empty",
        "lxc.mount.auto": "proc:mixed sys:ro",
        "lxc.mount.entry": f"{volume} data none bind,ro 0 0",
        "lxc.apparmor.profile": "unconfined",
        "lxc.console.logfile": str(directory / "console.log"),
    }
    (config := directory / "lxc-cat.conf").write_text("".join(f"{key} = {value}\n" for key, value in keys.items()))
    yield ["lxc-start", "-F", "-n", contenders.CONTAINER, "-f", str(config), "-P", str(directory)]


def _lxc(command: list[str], directory: Path, summing: list[str], digest: str) -> Sample:
    """Its console is a terminal, which puts a carriage return in each line; so the log is summed, without them."""
    if not command:
        return _missing("not installed")
    console = directory / "console.log"

    def sample() -> float:
        begin = time.perf_counter()
        argv = [*command, "--", "/bin/cat", f"/data/{FILE}"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        if done.returncode:
            raise Failed((done.stderr.decode(errors="replace").splitlines() or [f"status {done.returncode}"])[0][:100])
        pipe = f"tr -d '\\r' <'{console}' | {' '.join(summing)}"
        text = subprocess.run(["sh", "-c", pipe], stdout=subprocess.PIPE, check=True).stdout
        seconds = time.perf_counter() - begin
        console.unlink()
        if text.split()[0].decode() != digest:
            raise Failed("its log is not what was written")
        return seconds

    return sample


def _missing(reason: str) -> Sample:
    def sample() -> float:
        raise Failed(reason)

    return sample
