/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames: the one format of pyrt's wire and of its container logs.
 *
 *   byte 0      type: 0-3 a stream, from 16 on a control frame
 *   bytes 1-3   zero
 *   bytes 4-7   payload length, unsigned, big endian, at most PYRT_FRAME_MAX
 *
 * The four streams are byte for byte the multiplexed stream that clients of Docker's API read.
 */
#ifndef PYRT_FRAMES_H
#define PYRT_FRAMES_H

#include <stddef.h>
#include <stdint.h>

#define PYRT_FRAME_HEADER 8
#define PYRT_FRAME_MAX (1 << 20)

enum pyrt_frame_type {
    PYRT_STDIN = 0,   /* c->s  bytes; an empty payload is the end of the file */
    PYRT_STDOUT = 1,  /* s->c  bytes */
    PYRT_STDERR = 2,  /* s->c  bytes */
    PYRT_NOTICE = 3,  /* s->c  UTF-8 text from pyrt itself, shown on the client's stderr */
    PYRT_CALL = 16,   /* c->s  JSON: version, argv, cwd, tty, size; the first frame of a connection */
    PYRT_EXIT = 17,   /* s->c  u32 big endian: the command's exit status; the last frame of a connection */
    PYRT_RESIZE = 18, /* c->s  u16 rows, u16 columns, big endian */
    PYRT_SIGNAL = 19, /* c->s  u32 big endian: a signal for the container */
    PYRT_DETACH = 20, /* c->s  empty: leave the container running */
    PYRT_ERROR = 21,  /* s->c  UTF-8 text: why the command failed; an EXIT follows */
    PYRT_START = 22,  /* s->c  u8, PYRT_START_*: streaming begins; from now on the client may send 0, 18, 19, 20 */
    PYRT_ASK = 23,    /* s->c  names of environment variables, NUL after each */
    PYRT_OPEN = 24,   /* s->c  path of a file on the client's side, "-" is its stdin */
    PYRT_ANSWER = 25, /* c->s  to ASK: NAME=value of those that are set, NUL after each;
                               to OPEN: empty, then STDIN frames; or the reason why not */
};

enum pyrt_start_flag {
    PYRT_START_STDIN = 1,   /* send what arrives on stdin */
    PYRT_START_TTY = 2,     /* the container has a terminal: raw mode, RESIZE, detach keys */
    PYRT_START_SIGNALS = 4, /* send signals on instead of dying of them */
};

#endif
