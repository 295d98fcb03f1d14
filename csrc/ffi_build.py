# SPDX-License-Identifier: Apache-2.0
"""The cffi modules: each takes its declarations from between the `cdef` marks of the C headers themselves."""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

CSRC = Path(__file__).resolve().parent
CFLAGS = ["-std=gnu11", "-O2", "-g", "-UNDEBUG", "-Wall", "-Wextra"]


def declarations(header: str) -> str:
    """Return what a header of csrc/ declares for Python."""
    text = (CSRC / header).read_text()
    return text.split("/* cdef: begin */")[1].split("/* cdef: end */")[0]


namespaces = FFI()
namespaces.cdef(declarations("netlink.h") + declarations("bridge.h"))
namespaces.set_source(
    "pyrt.core._namespaces",
    '#include "netlink.h"\n#include "bridge.h"\n',
    sources=["csrc/rtnl.c", "csrc/netlink.c", "csrc/bridge.c"],
    include_dirs=["csrc"],
    extra_compile_args=CFLAGS,
)

nftables = FFI()
nftables.cdef(
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
    """
)
nftables.set_source(
    "pyrt.network._nftables",
    "#include <nftables/libnftables.h>\n",
    libraries=["nftables"],
    extra_compile_args=CFLAGS,
)
