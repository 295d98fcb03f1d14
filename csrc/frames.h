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
#define PYRT_KEYS_MAX 16

enum pyrt_frame_type {
    PYRT_STDIN = 0,   /* c->s  bytes; an empty payload is the end of the file */
    PYRT_STDOUT = 1,  /* s->c  bytes */
    PYRT_STDERR = 2,  /* s->c  bytes */
    PYRT_NOTICE = 3,  /* s->c  UTF-8 text from pyrt itself, shown on the client's stderr */
    PYRT_CALL = 16,   /* c->s  JSON: version, argv, cwd, tty, size[, root]; the first frame of a connection */
    PYRT_EXIT = 17,   /* s->c  u32 big endian: the command's exit status; the last frame of a connection */
    PYRT_RESIZE = 18, /* c->s  u16 rows, u16 columns, big endian */
    PYRT_SIGNAL = 19, /* c->s  u32 big endian: a signal for the container */
    PYRT_DETACH = 20, /* c->s  empty: leave the container running */
    PYRT_ERROR = 21,  /* s->c  UTF-8 text: why the command failed; an EXIT follows */
    PYRT_START = 22,  /* s->c  u8, PYRT_START_*: streaming begins; from now on the client may send 0, 18, 19, 20 */
    PYRT_ASK = 23,    /* s->c  names of environment variables, NUL after each */
    PYRT_OPEN = 24,   /* s->c  path of a file on the client's side, "-" is its stdin */
    PYRT_ANSWER = 25, /* c->s  to ASK: NAME=value of those that are set, NUL after each;
                               to OPEN: empty, then STDIN frames; or the reason why not;
                               to PACK: as to OPEN, and the frames are a tar;
                               to UNPACK: empty, and FEED may begin, or why not; and again, empty, when all is done */
    PYRT_PACK = 26,   /* s->c  u8, PYRT_COPY_*, and a path on the client's side: send it as a tar */
    PYRT_UNPACK = 27, /* s->c  u8, PYRT_COPY_*, and a path on the client's side: unpack there what is fed */
    PYRT_FEED = 28,   /* s->c  bytes of the tar; an empty payload is its end */
    PYRT_KEYS = 29,   /* s->c  1 to PYRT_KEYS_MAX bytes, before START: the keys that detach, in place of Ctrl-P Ctrl-Q */
    PYRT_CREDIT = 30, /* s->c  u64 big endian: how many bytes of STDIN the client may have sent since START, in all */
};

enum pyrt_start_flag {
    PYRT_START_STDIN = 1,   /* send what arrives on stdin */
    PYRT_START_TTY = 2,     /* the container has a terminal: raw mode, RESIZE, detach keys */
    PYRT_START_SIGNALS = 4, /* send signals on instead of dying of them */
    PYRT_START_CREDIT = 8,  /* of stdin only what CREDIT allows, at first nothing: so no signal ever waits behind it */
};

enum pyrt_copy_flag {
    PYRT_COPY_OWNERS = 1, /* owners, extended attributes, device nodes too, and holes for zeros */
    PYRT_COPY_FOLLOW = 2, /* PACK: of a symbolic link what it leads to */
};

/* One header, decoded. From the parser `payload` points into its buffer, otherwise it is unset. */
struct pyrt_frame {
    uint8_t type;
    uint32_t length; /* of the payload */
    const unsigned char *payload;
};

/* "STDOUT" for PYRT_STDOUT and so on; NULL for a number that is no frame type. */
const char *pyrt_frame_name(unsigned type);

/* Writes a header. Returns PYRT_FRAME_HEADER, -EPROTO for an unknown type, -EMSGSIZE for a length over PYRT_FRAME_MAX. */
int pyrt_frame_encode(unsigned char header[PYRT_FRAME_HEADER], unsigned type, size_t length);

/*
 * Reads a header. Returns PYRT_FRAME_HEADER, 0 while `size` is too small to hold one, or what is wrong with it, as soon
 * as the bytes there show it: -EPROTO unknown type, -EBADMSG bytes 1-3 not zero, -EMSGSIZE payload over `max_payload`.
 */
int pyrt_frame_decode(const unsigned char *data, size_t size, size_t max_payload, struct pyrt_frame *frame);

/*
 * An incremental parser over a buffer that the caller owns. Per turn:
 *
 *     size_t room = pyrt_parser_space(&parser, &space);
 *     ssize_t got = read(fd, space, room);
 *     pyrt_parser_filled(&parser, got);
 *     while ((ret = pyrt_parser_next(&parser, &frame)) > 0) ...
 *
 * A frame is never copied; its payload is valid until the next call of pyrt_parser_space. With a buffer of
 * PYRT_FRAME_HEADER + max_payload bytes every legal frame fits; a smaller one must grow when pyrt_parser_needs says so.
 */
struct pyrt_parser {
    unsigned char *buffer; /* borrowed */
    size_t capacity;
    size_t begin, end; /* what is buffered and not yet handed out */
    size_t max_payload;
};

void pyrt_parser_init(struct pyrt_parser *parser, unsigned char *buffer, size_t capacity, size_t max_payload);

/* Where the next bytes go, and how many may; 0 when the buffer is full. Moves what is pending to the front if it must. */
size_t pyrt_parser_space(struct pyrt_parser *parser, unsigned char **space);
void pyrt_parser_filled(struct pyrt_parser *parser, size_t size);

/* The size of the frame in front, header included; PYRT_FRAME_HEADER while that is not known. */
size_t pyrt_parser_needs(const struct pyrt_parser *parser);

/* 1 and the next frame, 0 when more bytes are needed, or the error of pyrt_frame_decode; an error stays. */
int pyrt_parser_next(struct pyrt_parser *parser, struct pyrt_frame *frame);

#endif
