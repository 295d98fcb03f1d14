# SPDX-License-Identifier: Apache-2.0
"""Builds what pyproject.toml cannot describe: the compiled modules and the static programs."""

import copy
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from distutils.ccompiler import CCompiler
from distutils.command.build_scripts import build_scripts  # setuptools' own copy: it has no wrapper for this one
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

WARNINGS = "-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2".split()
# Nobody puts another function in the place of one of ours: gcc may inline across what a module exports.
CFLAGS = ["-std=gnu11", "-O2", "-fno-semantic-interposition", "-g", "-UNDEBUG", *WARNINGS]
LDFLAGS: list[str] = []
STATIC = ["-static"]
KERNEL_HEADERS = ["/usr/include", f"/usr/include/{sysconfig.get_config_var('MULTIARCH')}"]
if os.environ.get("PYRT_WERROR"):
    CFLAGS.append("-Werror")
if os.environ.get("PYRT_SANITIZE"):  # an ASan + UBSan build; its runtime cannot be linked statically
    SANITIZE = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"]
    CFLAGS, LDFLAGS, STATIC = [*CFLAGS, *SANITIZE], SANITIZE, []
LOG = ["csrc/frames.c", *sorted(str(path) for path in Path("csrc").glob("log*.c"))]
BROADCAST = sorted(str(path) for path in Path("csrc").glob("broadcast*.c"))
TAR = [
    str(path)
    for path in sorted(Path("csrc").glob("*tar/*.c"))
    if path.name not in ("main.c", "sandbox.c", "changes.c")
]
HEADERS = sorted(str(path) for path in Path("csrc").rglob("*.h"))
# Cython's own output does not meet these two warnings.
CYTHON_CFLAGS = [flag for flag in CFLAGS if flag not in ("-Wshadow", "-Wmissing-prototypes", "-Werror")]


def find_musl() -> list[str]:
    """The command of a compiler with musl; empty where there is none that finds the kernel's headers.

    In a virtual machine, where cpuid traps, glibc takes 0.6 ms before main to find out about the processor. musl does
    not ask.
    """
    program = shutil.which("musl-gcc")
    if program is None or os.environ.get("PYRT_SANITIZE"):
        return []
    command = [program, *(word for path in KERNEL_HEADERS for word in ("-idirafter", path))]
    source = b"#include <linux/mount.h>\n#include <stdio.h>\nint main(void) { return puts(__func__) < 0; }\n"
    with tempfile.TemporaryDirectory() as directory:
        probe = [*command, "-static", "-x", "c", "-", "-o", f"{directory}/probe"]
        return command if subprocess.run(probe, input=source, capture_output=True).returncode == 0 else []


MUSL = find_musl()


class Program(Extension):
    """A C program installed inside the package, rather than a module."""


class QuickProgram(Program):
    """One that is started with every command or container: linked with musl, where that is there."""


class BuildNative(build_ext):
    """Also links every `Program`, so wheels, sdists and editable installs carry it."""

    client_defines: tuple[str, ...] = ()

    def run(self) -> None:
        if self.inplace:  # nothing lies beside a client in a checkout; what a wheel is built with may be gone tomorrow
            self.client_defines = (f'-DPYRT_BUILD_PYTHON="{sys.executable}"',)
        super().run()

    def get_ext_filename(self, fullname: str) -> str:
        if isinstance(self.ext_map.get(fullname), Program):
            return os.path.join(*fullname.split("."))
        return super().get_ext_filename(fullname)

    def copy_extensions_to_source(self) -> None:
        Path("pyrt/core/_libexec").mkdir(exist_ok=True)  # nothing in git: all of it is built
        super().copy_extensions_to_source()

    def build_extension(self, ext: Extension) -> None:
        if not isinstance(ext, Program):
            return super().build_extension(ext)
        path = self.get_ext_fullpath(ext.name)
        if not (self.force or newer_group([*ext.sources, *ext.depends], path, "newer")):
            return None
        compiler = with_musl(self.compiler) if MUSL and isinstance(ext, QuickProgram) else self.compiler
        objects = compiler.compile(  # a folder of its own: cffi compiles some of the same files
            ext.sources,
            output_dir=os.path.join(self.build_temp, ext.name),
            include_dirs=ext.include_dirs,
            extra_postargs=[*ext.extra_compile_args, *self.client_defines],
        )
        self.mkpath(os.path.dirname(path))
        compiler.link_executable(objects, path, extra_postargs=[*ext.extra_link_args, *LDFLAGS])
        return None


def with_musl(compiler: CCompiler) -> CCompiler:
    """The same compiler with another C library."""
    other = copy.copy(compiler)
    other.set_executables(compiler_so=[*MUSL, *compiler.compiler_so[1:]], linker_exe=MUSL[:1])
    other.library_dirs = []
    return other


class BuildClient(build_scripts):
    """Installs the compiled client as the `pyrt` command: the one script that is not a script."""

    def run(self) -> None:
        self.run_command("build_ext")
        client = self.get_finalized_command("build_ext").get_ext_fullpath("pyrt.core._libexec.pyrt")
        self.mkpath(self.build_dir)
        shutil.copy(client, os.path.join(self.build_dir, "pyrt"))


def cython(name: str, *sources: str) -> Extension:
    return Extension(
        name,
        [name.replace(".", "/") + ".pyx", *sources],
        include_dirs=["csrc"],
        depends=HEADERS,
        extra_compile_args=CYTHON_CFLAGS,
        extra_link_args=LDFLAGS,
    )


def program(name: str, *sources: str, started_often: bool = False) -> Program:
    """A program of csrc/NAME/*.c and more sources."""
    kind = QuickProgram if started_often else Program
    folder = name.removeprefix("pyrt-") if name != "pyrt" else "client"
    return kind(
        f"pyrt.core._libexec.{name}",
        [*sorted(str(path) for path in Path("csrc", folder).glob("*.c")), *sources],
        include_dirs=["csrc"],
        depends=HEADERS,
        extra_compile_args=CFLAGS,
        extra_link_args=STATIC,
    )


setup(
    ext_modules=[
        *cythonize(
            [
                cython("pyrt.core.frames", "csrc/frames.c"),
                cython("pyrt.core.broadcast", *BROADCAST, *LOG),
                cython("pyrt.core.lines", *LOG),
            ],
            build_dir="build/cython",
            compiler_directives={"language_level": 3, "auto_pickle": False, "autotestdict": False},
        ),
        program("pyrt-init", "csrc/netlink.c", "csrc/rtnl.c", started_often=True),
        program("pyrt-tar", "csrc/locate.c", "csrc/rootfs.c"),
        program("pyrt-untar", "csrc/locate.c", "csrc/rootfs.c"),
        # It packs and unpacks by itself: there is nothing to be found.
        program("pyrt", "csrc/frames.c", "csrc/locate.c", *TAR, started_often=True),
    ],
    cffi_modules=[
        "csrc/ffi_build.py:namespaces",
        "csrc/ffi_build.py:nftables",
        "csrc/ffi_build.py:seccomp",
    ],
    scripts=["csrc/client/client.c"],
    cmdclass={"build_ext": BuildNative, "build_scripts": BuildClient},
)
