# SPDX-License-Identifier: Apache-2.0
"""A virtual machine for what this one's kernel cannot show: a stock Debian kernel and an initramfs made of this Python.

No disk, no network, no installed package but qemu; the kernel is downloaded once into a cache and unpacked there.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

CACHE = Path(os.environ.get("PYRT_TEST_CACHE", "/var/cache/pyrt-tests"))
ALSO_RUN = (Path("/usr/bin/lxc-start"),)
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "turtledemo", "pydoc_data", "site-packages"}


class Unavailable(Exception):
    """There is no virtual machine to be had; the text says why."""


def kernel() -> Path:
    """Return a Debian cloud kernel, downloading it on first use. Raises Unavailable."""
    found = sorted(CACHE.glob("boot/vmlinuz-*"))
    if found:
        return found[-1]
    if not shutil.which("apt-get"):
        raise Unavailable("no kernel for the virtual machine, and no apt-get to download one")
    CACHE.mkdir(parents=True, exist_ok=True)
    depends = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True).stdout
    package = re.search(r"Depends: (linux-image-\S+)", depends)
    if package is None:
        raise Unavailable("apt knows no linux-image-cloud-amd64 to boot the virtual machine with")
    done = subprocess.run(["apt-get", "download", "-q", package[1]], cwd=CACHE, capture_output=True, text=True)
    archives = sorted(CACHE.glob("linux-image-*.deb"))
    if done.returncode or not archives:
        raise Unavailable(f"{package[1]} cannot be downloaded: {done.stderr.strip().splitlines()[-1:]}")
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(archives[-1])], stdout=subprocess.PIPE) as unpack:
        subprocess.run(["tar", "-xf", "-", "-C", str(CACHE), "./boot"], stdin=unpack.stdout, check=True)
    archives[-1].unlink()
    return sorted(CACHE.glob("boot/vmlinuz-*"))[-1]


def run(command: str, *, files: Iterable[Path], work: Path, seconds: int = 150) -> str:
    """Boot, run a shell command as init's child, power off; return the console's output.

    `files` go into the machine under the paths they have here, directories with all in them; so does this Python with
    its standard library, but not its site-packages. Raises Unavailable.
    """
    qemu, busybox = shutil.which("qemu-system-x86_64"), shutil.which("busybox")
    if qemu is None or busybox is None:
        raise Unavailable("qemu-system-x86_64 or a static busybox is not installed")
    image = kernel()
    interpreter = Path(os.path.realpath(sys.executable))
    everything = {interpreter, *_below(Path(sysconfig.get_path("stdlib")))}
    for path in files:
        everything |= _below(path) if path.is_dir() else {path}
    everything |= _libraries(everything)
    init = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mkdir -p /proc /sys /dev /tmp /root
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
{command}
poweroff -f
"""
    initramfs = work / "initramfs"
    contents = {"init": init.encode(), "bin/busybox": Path(busybox).read_bytes()}
    contents |= {str(path)[1:]: path.read_bytes() for path in sorted(everything)}
    with open(initramfs, "wb") as file:
        file.writelines(_archive(contents.items()))
    arguments = "-accel tcg -m 768 -nodefaults -no-reboot -display none -serial stdio".split()
    append = "console=ttyS0 loglevel=1 panic=-1 mitigations=off cgroup_no_v1=all"
    with subprocess.Popen(
        [qemu, *arguments, "-kernel", str(image), "-initrd", str(initramfs), "-append", append],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as machine:  # fmt: skip
        try:
            output, _ = machine.communicate(timeout=seconds)
        finally:
            machine.kill()
    return output.decode(errors="replace").replace("\r", "")


def _below(directory: Path) -> set[Path]:
    found = set()
    for path, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if name not in LEFT_OUT and not name.startswith("config-")]
        found |= {Path(path) / name for name in names if stat.S_ISREG(os.stat(f"{path}/{name}").st_mode)}
    return found


def _libraries(files: Iterable[Path]) -> set[Path]:
    """Return the shared libraries that these files need, and the dynamic loader, by the names they are looked up."""
    interpreter = Path(os.path.realpath(sys.executable))
    programs = [str(path) for path in files if ".so" in path.name or path in (interpreter, *ALSO_RUN)]
    output = subprocess.run(["ldd", *programs], capture_output=True, text=True).stdout
    return {Path(path) for path in re.findall(r"(?:=>\s+|^\s+)(/\S+)", output, re.MULTILINE)}


def _archive(contents: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Yield a cpio archive (newc) of executable files, each directory before what is in it."""
    made = set()
    for path, data in contents:
        for parent in reversed(Path(path).parents[:-1]):
            if parent not in made:
                made.add(parent)
                yield _record(str(parent), 0o40755, b"")
        yield _record(path, 0o100755, data)
    yield _record("TRAILER!!!", 0, b"")


def _record(path: str, mode: int, data: bytes) -> bytes:
    name = path.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
