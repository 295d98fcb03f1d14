# SPDX-License-Identifier: Apache-2.0
"""Builds the cffi modules. What Python may call of a header is the text between its two cdef marks."""

from pathlib import Path

from cffi import FFI

CSRC = Path("csrc")
CFLAGS = ["-std=gnu11", "-O2", "-g", "-UNDEBUG", "-Wall", "-Wextra"]


def declarations(header: str) -> str:
    text = (CSRC / header).read_text()
    return text.split("/* cdef: begin */")[1].split("/* cdef: end */")[0]


def builder(module: str, headers: list[str], *, sources: list[str]) -> FFI:
    """A module over C of ours: its declarations are read from the headers."""
    ffi = FFI()
    for header in headers:
        ffi.cdef(declarations(header))
    ffi.set_source(
        module,
        "".join(f'#include "{header}"\n' for header in headers),
        sources=[str(CSRC / source) for source in sources],
        include_dirs=[str(CSRC)],
        depends=[str(path) for path in sorted(CSRC.rglob("*.h"))],
        extra_compile_args=CFLAGS,
    )
    return ffi


def library(module: str, name: str, header: str, cdef: str) -> FFI:
    """A module over a shared library of the system's."""
    ffi = FFI()
    ffi.cdef(cdef)
    ffi.set_source(module, f"#include <{header}>\n", libraries=[name], extra_compile_args=CFLAGS)
    return ffi


namespaces = builder(
    "pyrt.core._namespaces",
    ["plan.h", "launch.h", "namespaces.h", "netlink.h", "bridge.h", "cgroup.h"],
    sources=["launch.c", "namespaces.c", "netlink.c", "rtnl.c", "bridge.c", "cgroup.c", "cgroup_device.c"],
)

nftables = library(
    "pyrt.network._nftables",
    "nftables",
    "nftables/libnftables.h",
    """
    struct nft_ctx;
    #define NFT_CTX_DEFAULT ...
    #define NFT_CTX_OUTPUT_STATELESS ...
    #define NFT_CTX_OUTPUT_TERSE ...
    struct nft_ctx *nft_ctx_new(uint32_t flags);
    void nft_ctx_free(struct nft_ctx *ctx);
    void nft_ctx_output_set_flags(struct nft_ctx *ctx, unsigned int flags);
    int nft_ctx_buffer_output(struct nft_ctx *ctx);
    const char *nft_ctx_get_output_buffer(struct nft_ctx *ctx);
    int nft_ctx_buffer_error(struct nft_ctx *ctx);
    const char *nft_ctx_get_error_buffer(struct nft_ctx *ctx);
    int nft_run_cmd_from_buffer(struct nft_ctx *nft, const char *buf);
    """,
)
