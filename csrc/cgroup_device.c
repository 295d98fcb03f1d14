/* SPDX-License-Identifier: Apache-2.0 */
/* The device allow-list where there is no v1 `devices` hierarchy: a BPF program on the v2 cgroup, written here instruction
 * by instruction, since it is thirty of them and a compiler for it is not worth having. */
#include "cgroup.h"

#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    MOST_DEVICES = 64,
    PROLOGUE = 4,
    PER_DEVICE = 5,
    EPILOGUE = 2,
    MOST_INSTRUCTIONS = PROLOGUE + MOST_DEVICES * PER_DEVICE + EPILOGUE,
};

static struct bpf_insn load(int to, size_t offset)
{
    return (struct bpf_insn){.code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = to & 15, .src_reg = BPF_REG_1,
                             .off = (int16_t)offset};
}

static struct bpf_insn operate(int code, int to, int64_t value)
{
    return (struct bpf_insn){.code = code, .dst_reg = to & 15, .imm = (int32_t)value};
}

static struct bpf_insn skip_unless_equal(int reg, int64_t value, int distance)
{
    return (struct bpf_insn){.code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = reg & 15,
                             .off = (int16_t)distance, .imm = (int32_t)value};
}

/* r2 = type, r3 = major, r4 = minor; access_type is (what << 16 | type). */
static int write_program(struct bpf_insn *out, const struct cgroup_device *devices, int count)
{
    int n = 0;

    out[n++] = load(BPF_REG_2, offsetof(struct bpf_cgroup_dev_ctx, access_type));
    out[n++] = operate(BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0xffff);
    out[n++] = load(BPF_REG_3, offsetof(struct bpf_cgroup_dev_ctx, major));
    out[n++] = load(BPF_REG_4, offsetof(struct bpf_cgroup_dev_ctx, minor));
    for (int i = 0; i < count; i++) {
        int any_minor = devices[i].minor < 0;
        int rest = any_minor ? 3 : 4; /* instructions of this device after the first */

        out[n++] = skip_unless_equal(BPF_REG_2, devices[i].type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR, rest);
        out[n++] = skip_unless_equal(BPF_REG_3, devices[i].major, rest - 1);
        if (!any_minor)
            out[n++] = skip_unless_equal(BPF_REG_4, devices[i].minor, 2);
        out[n++] = operate(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 1);
        out[n++] = operate(BPF_JMP | BPF_EXIT, 0, 0);
    }
    out[n++] = operate(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0);
    out[n++] = operate(BPF_JMP | BPF_EXIT, 0, 0);
    return n;
}

int cgroup_device_load(const struct cgroup_device *devices, int count)
{
    struct bpf_insn program[MOST_INSTRUCTIONS];
    union bpf_attr attr;
    long result;

    if (count < 0 || count > MOST_DEVICES)
        return -E2BIG;
    memset(&attr, 0, sizeof attr);
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.insn_cnt = (uint32_t)write_program(program, devices, count);
    attr.insns = (uint64_t)(uintptr_t)program;
    attr.license = (uint64_t)(uintptr_t) "Apache-2.0"; /* uses no helper that asks for the GPL */
    memcpy(attr.prog_name, "pyrt_devices", sizeof "pyrt_devices");
    result = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof attr); /* the kernel makes the descriptor close-on-exec */
    return result < 0 ? -errno : (int)result;
}

int cgroup_device_attach(int program_fd, int cgroup_fd)
{
    union bpf_attr attr;

    memset(&attr, 0, sizeof attr);
    attr.target_fd = (uint32_t)cgroup_fd;
    attr.attach_bpf_fd = (uint32_t)program_fd;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI; /* a parent's program is asked too: both must allow */
    return syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof attr) < 0 ? -errno : 0;
}
