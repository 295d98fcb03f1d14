# SPDX-License-Identifier: Apache-2.0
"""The leak ledger: everything a test could leave behind on the machine, counted before and after it.

A snapshot maps a kind ("mounts", "veths and bridges", ...) to a multiset of normalised names: identifiers and inode
numbers are taken out. The names as they were seen are kept for the report. What the supervisor keeps prepared (parked
slots) comes and goes as it sees fit and is left out, as long as it is not too much. What is
recognisably somebody else's (another pyrt's, a container manager's, a login's) does not count. PYRT_LEDGER=shared looks
only at what is recognisably the instance's own, for a machine on which much else is at work.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pyrt.daemon.main import MAX_THREADS
from pyrt.engine.slots import MOST, link_name
from tests.processes import Process, descendants, is_parked, open_files, processes

SETTLE_SECONDS = 6.0
POLL_SECONDS = 0.04
# asyncio.to_thread grows its pool as it is used; that is no leak. Beyond the pool it is.
POOL_THREADS = MAX_THREADS + 2
MOST_PARKED = 2 * MOST
HOST_KINDS = ("host mounts", "veths and bridges", "nft rules", "named network namespaces", "loop devices")
IDENTIFIER = re.compile(r"[0-9a-f]{12,}")
NUMBER = re.compile(r"\d+")
# The instances that this run of the tests has made, closed ones too: every other is somebody else's.
OUR_INSTANCES: set[str] = set()
INSTANCE = re.compile(r"\bpyrt[0-9a-f]{7}\b")
FOREIGN_LINK = re.compile(r"docker|podman|cni|br-|virbr|lxc|lxd|incus")
FOREIGN_MOUNT = re.compile(r"/run/(user|credentials|docker|containerd|snapd)/|/var/lib/(docker|container(s|d))/|/snap/")
# What logging in makes, or the kernel: _ses, _uid.0, _uid_ses.0, .builtin_trusted_keys, ...
FOREIGN_KEYRING = re.compile(r"_(ses|tid|pid|uid\b.*|uid_ses\b.*|persistent\..*)$|\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is recognisably the instance's own. Pids are 0 where there is no such process."""

    root: Path
    run_dir: Path
    bridge: str = "(none)"
    cgroup: str = "(none)"
    daemon_pid: int = 0
    supervisor_pid: int = 0

    @property
    def paths(self) -> tuple[str, str]:
        return str(self.root), str(self.run_dir)

    def mentioned_in(self, text: str) -> bool:
        return any(path in text for path in self.paths)


@dataclass(slots=True)
class Snapshot:
    """A multiset of normalised names for each kind, and the names as they were seen."""

    counts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seen: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, kind: str, name: str, *, key: str | None = None) -> None:
        key = IDENTIFIER.sub("<id>", name) if key is None else key
        self.counts[kind][key] += 1
        self.seen[kind, key].add(name)


class LeakError(AssertionError):
    """A test left something behind; the text is the diff."""


def take(subject: Subject, *, shared: bool | None = None) -> Snapshot:
    """Count everything now. Needs root; takes some 20 ms."""
    if shared is None:
        shared = os.environ.get("PYRT_LEDGER") == "shared"
    snapshot = Snapshot()
    table = processes()
    parked = _take_out_parked(table)
    owned = list(_owned(subject, table))
    _mounts(snapshot, subject, table, shared)
    parked_links = {link_name(name) for name in parked.values()}
    _links(snapshot, subject, shared, parked_links)
    _namespaces(snapshot, owned, shared)
    _nft(snapshot, subject, shared)
    _cgroups(snapshot, subject, set(parked.values()))
    _processes(snapshot, owned)
    own = sum(process.parent == subject.supervisor_pid for process in parked)
    _descriptors(snapshot, subject, own, parked_links)
    if own > MOST_PARKED:
        snapshot.add("parked slots", f"{own} of them", key="too many")
    _threads(snapshot, subject)
    _sockets(snapshot, subject)
    _files(snapshot, subject)
    _keyrings(snapshot, shared)
    _shared_memory(snapshot, table, {process.pid for process in owned}, shared)
    _loops(snapshot, subject, shared)
    return snapshot


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """What is there more than before, and what of the host's own is missing; readable lines, empty when all is well."""
    lines = []
    for kind in sorted(before.counts.keys() | after.counts.keys()):
        for key, count in (after.counts[kind] - before.counts[kind]).items():
            new = after.seen[kind, key] - before.seen[kind, key] or after.seen[kind, key]
            lines.append(f"  {kind}: {count} more: {key}{_examples(new, key)}")
        if kind in HOST_KINDS:
            for key, count in (before.counts[kind] - after.counts[kind]).items():
                if not OUR_INSTANCES.intersection(INSTANCE.findall(key)):  # an idle one gives up slots as it pleases
                    lines.append(f"  {kind}: {count} missing: {key}")
    return lines


def settled(subject: Callable[[], Subject], *, seconds: float = SETTLE_SECONDS) -> Snapshot:
    """A snapshot that has not changed for one poll: what runs in the background (slots, teardown) has come to rest."""
    deadline = time.monotonic() + seconds
    last = take(subject())
    while time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        now = take(subject())
        if now.counts == last.counts:
            break
        last = now
    return last


@contextmanager
def watch(subject: Callable[[], Subject], *, seconds: float = SETTLE_SECONDS) -> Iterator[None]:
    """Raise LeakError when the block leaves something behind; teardown gets `seconds` to finish first."""
    before = settled(subject)
    yield
    deadline = time.monotonic() + seconds
    while leaks := difference(before, take(subject())):
        if time.monotonic() > deadline:
            raise LeakError("\n".join([f"left behind (still there after {seconds:g} s):", *leaks]))
        time.sleep(POLL_SECONDS)


def _examples(names: Iterable[str], key: str) -> str:
    shown = [name for name in sorted(names) if name != key][:3]
    return f"  [{', '.join(shown)}]" if shown else ""


def _is_foreign(name: str) -> bool:
    """Whether the name is that of an instance these tests have not made."""
    return bool(set(INSTANCE.findall(name)) - OUR_INSTANCES)


def _owned(subject: Subject, table: dict[int, Process]) -> Iterator[Process]:
    """Processes of the test and of the instance: by descent, by cgroup, by command line, by what they have mounted."""
    heads = {os.getpid(), subject.daemon_pid, subject.supervisor_pid} - {0}
    family = descendants(table, heads) | (heads - {os.getpid()})
    for pid, process in table.items():
        if pid == os.getpid() or process.kernel_thread:
            continue
        if pid in family or subject.cgroup in process.read("cgroup") or subject.mentioned_in(process.command):
            yield process
        elif process.foreign_mounts and subject.mentioned_in(process.read("mountinfo")):
            yield process


def _take_out_parked(table: dict[int, Process]) -> dict[Process, str]:
    """Take the parked slots, anybody's, out of the table of processes; return their names (of their cgroups)."""
    parked = {}
    for process in list(table.values()):
        if not process.kernel_thread and is_parked(process.pid):
            parked[process] = process.read("cgroup").strip().rpartition("/")[2]
            del table[process.pid]
    return parked


def _mounts(snapshot: Snapshot, subject: Subject, table: dict[int, Process], shared: bool) -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if subject.mentioned_in(line) or not (shared or FOREIGN_MOUNT.search(_mount_name(line))):
            snapshot.add("host mounts", _mount_name(line))
    namespaces = {process.namespace("mnt"): process for process in table.values() if process.foreign_mounts}
    for namespace, process in namespaces.items():
        for line in process.read("mountinfo").splitlines():
            if subject.mentioned_in(line):
                name = f"{_mount_name(line)} in {namespace} of {process.name}"
                snapshot.add("mounts elsewhere", name, key=IDENTIFIER.sub("<id>", _mount_name(line)))


def _mount_name(line: str) -> str:
    fields, _, rest = line.partition(" - ")
    kind, source = rest.split()[:2]
    return f"{fields.split()[4]} ({kind} of {source})"


def _links(snapshot: Snapshot, subject: Subject, shared: bool, parked: set[str]) -> None:
    for link in Path("/sys/class/net").iterdir():
        if link.name in parked:
            continue
        try:
            bridge = os.path.basename(os.readlink(link / "master"))
        except OSError:
            bridge = ""
            if not link.exists():  # it went while the list was read
                continue
        names = (bridge, link.name)
        foreign = any(_is_foreign(name) or FOREIGN_LINK.match(name) for name in names)
        if subject.bridge not in names and (shared or foreign):
            continue
        key = f"a port of {bridge}" if bridge else link.name
        snapshot.add("veths and bridges", f"{link.name} on {bridge}" if bridge else link.name, key=key)


def _namespaces(snapshot: Snapshot, owned: list[Process], shared: bool) -> None:
    for kind in ("net", "mnt", "pid", "ipc", "uts", "cgroup", "user", "time"):
        for name in {process.namespace(kind) for process in owned} - {""}:
            snapshot.add("namespaces", name, key=f"{kind} namespace")
    named = Path("/run/netns")
    for path in named.iterdir() if named.is_dir() and not shared else ():
        snapshot.add("named network namespaces", path.name)


def _nft(snapshot: Snapshot, subject: Subject, shared: bool) -> None:
    """Every rule under the table and chain it stands in, without counters."""
    listing = subprocess.run(["nft", "-s", "list", "ruleset"], check=True, capture_output=True, text=True).stdout
    for table in re.split(r"^}\n", listing, flags=re.MULTILINE):
        title = table.partition("{")[0].strip()
        if subject.bridge in table or not (shared or _is_foreign(title)):
            for line in table.splitlines():
                if line.strip() and line.strip() != "}":
                    snapshot.add("nft rules", f"{title}: {line.strip()}")


def _cgroups(snapshot: Snapshot, subject: Subject, parked: set[str]) -> None:
    top = Path("/sys/fs/cgroup")
    for directory, _, _ in os.walk(top):
        name = directory.removeprefix(f"{top}/")
        if subject.cgroup in name and os.path.basename(name) not in parked:
            snapshot.add("cgroups", name)


def _processes(snapshot: Snapshot, owned: list[Process]) -> None:
    for process in owned:
        state = " (zombie)" if process.state == "Z" else ""
        snapshot.add("processes", f"{process.pid} {process.name}{state}: {process.command}", key=process.name + state)


def _descriptors(snapshot: Snapshot, subject: Subject, parked: int, links: set[str]) -> None:
    for owner, pid in (("daemon", subject.daemon_pid), ("supervisor", subject.supervisor_pid)):
        for number, target in open_files(pid).items():
            if target.endswith("/brport/port_no") and target.split("/")[-3] in links:
                continue
            key = f"{owner}: {NUMBER.sub('N', IDENTIFIER.sub('<id>', target))}"
            snapshot.add("descriptors", f"{number} -> {target}", key=key)
    for key in ("supervisor: anon_inode:[pidfd]", "supervisor: mnt:[N]", "supervisor: socket:[N]"):
        snapshot.counts["descriptors"][key] -= parked


def _threads(snapshot: Snapshot, subject: Subject) -> None:
    for owner, pid, free in (("daemon", subject.daemon_pid, POOL_THREADS), ("supervisor", subject.supervisor_pid, 0)):
        directory = f"/proc/{pid}/task"
        threads = sorted(os.listdir(directory), key=int) if os.path.isdir(directory) else []
        for thread in threads[free:]:
            snapshot.add("threads", f"{owner} {thread}", key=owner)


def _sockets(snapshot: Snapshot, subject: Subject) -> None:
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        path = line.split(maxsplit=7)[7:]
        if path and (subject.mentioned_in(path[0]) or path[0].startswith("@pyrt")):
            snapshot.add("unix sockets", path[0])


def _files(snapshot: Snapshot, subject: Subject) -> None:
    """Two levels of root and run directory; below that are the insides of layers, containers and logs."""
    for top in (subject.root, subject.run_dir):
        for path in sorted([*top.glob("*"), *top.glob("*/*")]):
            if path.parent.name != "cache" and (path.parent != top or path.name != "cache"):
                snapshot.add("files", str(path))


def _keyrings(snapshot: Snapshot, shared: bool) -> None:
    for line in Path("/proc/keys").read_text().splitlines():
        kind, description = line.split(maxsplit=8)[7:]
        name = description.rpartition(":")[0]
        if kind == "keyring" and (name.startswith("pyrt") or not (shared or FOREIGN_KEYRING.match(name))):
            snapshot.add("keyrings", line, key=IDENTIFIER.sub("<id>", name))


def _shared_memory(snapshot: Snapshot, table: dict[int, Process], owned: set[int], shared: bool) -> None:
    """Segments whose creator is gone or ours; what a database keeps has its creator beside it."""
    for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:] if not shared else ():
        creator = int(line.split()[4])
        if creator not in table or creator in owned:
            snapshot.add("System V shared memory", line, key="segment")


def _loops(snapshot: Snapshot, subject: Subject, shared: bool) -> None:
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        backing = path.read_text().strip()
        if subject.mentioned_in(backing) or not (shared or backing.startswith("/var/lib/snapd/")):
            snapshot.add("loop devices", backing)
