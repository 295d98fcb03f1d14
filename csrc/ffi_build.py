# SPDX-License-Identifier: Apache-2.0
"""Builds the cffi modules. What Python may call of a header is the text between its two cdef marks."""

import os
from pathlib import Path

from cffi import FFI

CSRC = Path("csrc")
CFLAGS = ["-std=gnu11", "-O2", "-g", "-UNDEBUG", "-Wall", "-Wextra"]
LDFLAGS: list[str] = []
if os.environ.get("PYRT_SANITIZE"):  # as in setup.py
    LDFLAGS = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined"]
    CFLAGS += LDFLAGS


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
        extra_link_args=LDFLAGS,
    )
    return ffi


def library(module: str, name: str, source: str, cdef: str) -> FFI:
    """A module over a shared library of the system's, whose headers cffi cannot read: the compiler checks the cdef."""
    ffi = FFI()
    ffi.cdef(cdef)
    ffi.set_source(module, source, libraries=[name], extra_compile_args=CFLAGS, extra_link_args=LDFLAGS)
    return ffi


namespaces = builder(
    "pyrt.core._namespaces",
    ["plan.h", "launch.h", "namespaces.h", "netlink.h", "bridge.h", "cgroup.h", "remove.h"],
    sources=["launch.c", "namespaces.c", "netlink.c", "rtnl.c", "bridge.c", "cgroup.c", "cgroup_device.c", "remove.c"],
)

nftables = library(
    "pyrt.network._nftables",
    "nftables",
    "#include <nftables/libnftables.h>",
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

seccomp = library(
    "pyrt.engine._seccomp",
    "seccomp",
    """
    #include <seccomp.h>
    #include <stdlib.h>
    static uint32_t act_errno(uint16_t value) { return SCMP_ACT_ERRNO(value); }
    static uint32_t act_trace(uint16_t value) { return SCMP_ACT_TRACE(value); }
    """,
    """
    struct scmp_version { unsigned int major; unsigned int minor; unsigned int micro; ...; };
    struct scmp_arg_cmp { unsigned int arg; int op; uint64_t datum_a; uint64_t datum_b; ...; };
    typedef void *scmp_filter_ctx;

    const struct scmp_version *seccomp_version(void);
    scmp_filter_ctx seccomp_init(uint32_t default_action);
    void seccomp_release(scmp_filter_ctx ctx);
    int seccomp_merge(scmp_filter_ctx into, scmp_filter_ctx from);
    int seccomp_arch_add(scmp_filter_ctx ctx, uint32_t arch);
    int seccomp_arch_remove(scmp_filter_ctx ctx, uint32_t arch);
    uint32_t seccomp_arch_native(void);
    int seccomp_attr_set(scmp_filter_ctx ctx, int attribute, uint32_t value);
    int seccomp_syscall_resolve_name(const char *name);
    int seccomp_syscall_resolve_name_arch(uint32_t arch, const char *name);
    char *seccomp_syscall_resolve_num_arch(uint32_t arch, int number);
    int seccomp_rule_add_array(scmp_filter_ctx ctx, uint32_t action, int number, unsigned int count,
                               const struct scmp_arg_cmp *comparisons);
    int seccomp_export_bpf(scmp_filter_ctx ctx, int fd);
    void free(void *memory);

    #define SCMP_FLTATR_ACT_BADARCH ...
    #define SCMP_FLTATR_CTL_NNP ...
    #define SCMP_FLTATR_CTL_OPTIMIZE ...

    #define SCMP_CMP_NE ...
    #define SCMP_CMP_LT ...
    #define SCMP_CMP_LE ...
    #define SCMP_CMP_EQ ...
    #define SCMP_CMP_GE ...
    #define SCMP_CMP_GT ...
    #define SCMP_CMP_MASKED_EQ ...

    #define SCMP_ACT_KILL_PROCESS ...
    #define SCMP_ACT_KILL_THREAD ...
    #define SCMP_ACT_TRAP ...
    #define SCMP_ACT_LOG ...
    #define SCMP_ACT_ALLOW ...
    uint32_t act_errno(uint16_t value);
    uint32_t act_trace(uint16_t value);

    #define SCMP_ARCH_X86 ...
    #define SCMP_ARCH_X86_64 ...
    #define SCMP_ARCH_X32 ...
    #define SCMP_ARCH_ARM ...
    #define SCMP_ARCH_AARCH64 ...
    #define __NR_SCMP_ERROR ...
""",
)
