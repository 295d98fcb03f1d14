# SPDX-License-Identifier: Apache-2.0
"""Builds the cffi modules. What Python may call of a header is the text between its two cdef marks."""

from pathlib import Path

from cffi import FFI

CSRC = Path("csrc")
CFLAGS = ["-std=gnu11", "-O2", "-g", "-UNDEBUG", "-Wall", "-Wextra"]


def declarations(header: str) -> str:
    text = (CSRC / header).read_text()
    return text.split("/* cdef: begin */")[1].split("/* cdef: end */")[0]


def builder(module: str, headers: list[str], *, sources: list[str], libraries: list[str]) -> FFI:
    ffi = FFI()
    for header in headers:
        ffi.cdef(declarations(header))
    ffi.set_source(
        module,
        "".join(f'#include "{header}"\n' for header in headers),
        sources=[str(CSRC / source) for source in sources],
        include_dirs=[str(CSRC)],
        depends=[str(path) for path in sorted(CSRC.rglob("*.h"))],
        libraries=libraries,
        extra_compile_args=CFLAGS,
    )
    return ffi


namespaces = builder(
    "pyrt.core._namespaces",
    ["plan.h", "launch.h", "namespaces.h", "netlink.h", "cgroup.h"],
    sources=["launch.c", "namespaces.c", "netlink.c", "cgroup.c"],
    libraries=[],
)
