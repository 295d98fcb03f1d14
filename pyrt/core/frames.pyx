# SPDX-License-Identifier: Apache-2.0
"""Frames, the one format of pyrt's wire and of its container logs: encode, decode, read and write them.

The bytes are judged in csrc/frames.c; this module owns the buffers and the messages. Every number comes from
csrc/frames.h.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EBADMSG, EINTR, EMSGSIZE, ENOTSOCK, EPROTO, errno
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

import os


cdef extern from "frames.h":
    enum:
        PYRT_FRAME_HEADER
        PYRT_FRAME_MAX
        PYRT_STDIN, PYRT_STDOUT, PYRT_STDERR, PYRT_NOTICE
        PYRT_CALL, PYRT_EXIT, PYRT_RESIZE, PYRT_SIGNAL, PYRT_DETACH, PYRT_ERROR, PYRT_START, PYRT_ASK, PYRT_OPEN
        PYRT_ANSWER, PYRT_PACK, PYRT_UNPACK, PYRT_FEED, PYRT_KEYS, PYRT_CREDIT
        PYRT_KEYS_MAX
        PYRT_START_STDIN, PYRT_START_TTY, PYRT_START_SIGNALS, PYRT_START_CREDIT
        PYRT_COPY_OWNERS, PYRT_COPY_FOLLOW

    struct pyrt_frame:
        unsigned char type
        unsigned int length
        const unsigned char *payload

    struct pyrt_parser:
        unsigned char *buffer
        size_t capacity
        size_t begin
        size_t end
        size_t max_payload

    const char *pyrt_frame_name(unsigned int type) nogil
    int pyrt_frame_encode(unsigned char *header, unsigned int type, size_t length) nogil
    int pyrt_frame_decode(const unsigned char *data, size_t size, size_t max_payload, pyrt_frame *frame) nogil
    void pyrt_parser_init(pyrt_parser *parser, unsigned char *buffer, size_t capacity, size_t max_payload) nogil
    size_t pyrt_parser_space(pyrt_parser *parser, unsigned char **space) nogil
    void pyrt_parser_filled(pyrt_parser *parser, size_t size) nogil
    size_t pyrt_parser_needs(const pyrt_parser *parser) nogil
    int pyrt_parser_next(pyrt_parser *parser, pyrt_frame *frame) nogil

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int fd, void *buffer, size_t size)

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len
    ssize_t writev(int fd, const iovec *vector, int count)

cdef extern from "<sys/socket.h>" nogil:
    enum:
        MSG_NOSIGNAL
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t sendmsg(int fd, const msghdr *message, int flags)

cdef extern from "<poll.h>" nogil:
    enum:
        POLLOUT
    struct pollfd:
        int fd
        short events
    int poll(pollfd *fds, unsigned long count, int timeout)


HEADER_BYTES = PYRT_FRAME_HEADER
MAX_PAYLOAD = PYRT_FRAME_MAX
STDIN = PYRT_STDIN
STDOUT = PYRT_STDOUT
STDERR = PYRT_STDERR
NOTICE = PYRT_NOTICE
CALL = PYRT_CALL
EXIT = PYRT_EXIT
RESIZE = PYRT_RESIZE
SIGNAL = PYRT_SIGNAL
DETACH = PYRT_DETACH
ERROR = PYRT_ERROR
START = PYRT_START
ASK = PYRT_ASK
OPEN = PYRT_OPEN
ANSWER = PYRT_ANSWER
PACK = PYRT_PACK
UNPACK = PYRT_UNPACK
FEED = PYRT_FEED
KEYS = PYRT_KEYS
CREDIT = PYRT_CREDIT
KEYS_MAX = PYRT_KEYS_MAX
START_STDIN = PYRT_START_STDIN
START_TTY = PYRT_START_TTY
START_SIGNALS = PYRT_START_SIGNALS
START_CREDIT = PYRT_START_CREDIT
COPY_OWNERS = PYRT_COPY_OWNERS
COPY_FOLLOW = PYRT_COPY_FOLLOW

cdef enum:
    BATCH = 256  # frames a sendmsg: its limit is 1024 pieces

# Large enough that a busy stream costs few calls, small enough to hold one a connection.
cdef size_t FIRST_BUFFER = 64 * 1024


class FrameError(ValueError):
    """Bytes that are no frame; the text says what was wrong with them."""


cdef str frame_name(unsigned int type):
    cdef const char *name = pyrt_frame_name(type)
    return name.decode() if name != NULL else f"type {type}"


cdef object refusal(int ret, const unsigned char *data, size_t size, size_t max_payload):
    """The exception for a header that pyrt_frame_decode refused with `ret`."""
    if ret == -EPROTO:
        return FrameError(f"not a frame: unknown type {data[0]} (first bytes {bytes(data[:8 if size > 8 else size]).hex(' ')})")
    if ret == -EBADMSG:
        return FrameError(f"not a frame: bytes 1-3 of the {frame_name(data[0])} header are {bytes(data[1:4]).hex(' ')}, "
                          "they must be zero")
    length = int.from_bytes(data[4:8], "big")
    return FrameError(f"{frame_name(data[0])} frame of {length} bytes is longer than the {max_payload} allowed")


cdef int fill_header(unsigned char *out, unsigned int type, size_t length) except -1:
    cdef int ret = pyrt_frame_encode(out, type, length)
    if ret == -EPROTO:
        raise FrameError(f"unknown frame type {type}")
    if ret == -EMSGSIZE:
        raise FrameError(f"a payload of {length} bytes is longer than the {MAX_PAYLOAD} allowed")
    return 0


def header(unsigned int type, size_t length) -> bytes:
    """Return the 8-byte header of a frame; raise FrameError for an unknown type or a length over MAX_PAYLOAD."""
    cdef unsigned char out[8]
    fill_header(out, type, length)
    return PyBytes_FromStringAndSize(<char *>out, PYRT_FRAME_HEADER)


def encode(unsigned int type, payload not None=b"") -> bytes:
    """Return one frame, header and payload; raise FrameError for an unknown type or a payload over MAX_PAYLOAD."""
    cdef unsigned char head[8]
    cdef Py_buffer view
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)  # a typed memoryview would cost more than all the rest
    try:
        fill_header(head, type, <size_t>view.len)
        frame = PyBytes_FromStringAndSize(NULL, PYRT_FRAME_HEADER + view.len)
        memcpy(PyBytes_AS_STRING(frame), head, PYRT_FRAME_HEADER)
        memcpy(PyBytes_AS_STRING(frame) + PYRT_FRAME_HEADER, view.buf, <size_t>view.len)
    finally:
        PyBuffer_Release(&view)
    return frame


cdef int send_all(int fd, iovec *parts, int count) except -1:
    """Send every byte of `parts`, which is used up; blocks, on a non-blocking descriptor too."""
    cdef msghdr message
    cdef pollfd waiting
    cdef ssize_t sent
    cdef size_t taken
    cdef bint is_socket = True
    cdef int first = 0
    waiting.fd, waiting.events = fd, POLLOUT
    memset(&message, 0, sizeof(message))
    while first < count:
        message.msg_iov, message.msg_iovlen = parts + first, count - first
        with nogil:
            sent = sendmsg(fd, &message, MSG_NOSIGNAL) if is_socket else writev(fd, parts + first, count - first)
        if sent < 0:
            if errno == ENOTSOCK and is_socket:
                is_socket = False
            elif errno == EINTR:
                PyErr_CheckSignals()
            elif errno == EAGAIN:
                with nogil:
                    poll(&waiting, 1, -1)
                PyErr_CheckSignals()
            else:
                raise OSError(errno, os.strerror(errno))
            continue
        while first < count:
            taken = min(<size_t>sent, parts[first].iov_len)
            parts[first].iov_base = <char *>parts[first].iov_base + taken
            parts[first].iov_len -= taken
            sent -= <ssize_t>taken
            if parts[first].iov_len > 0:
                break
            first += 1
    return 0


def write_frame(int fd, unsigned int type, payload not None=b"") -> None:
    """Send one frame on a socket or pipe, header and payload in one call where the kernel takes them whole.

    Blocks until all is sent, on a non-blocking descriptor too. Raises FrameError before anything is sent, OSError
    (BrokenPipeError when the peer is gone; never a SIGPIPE on a socket) afterwards. Not for two threads on one fd.
    """
    cdef unsigned char head[8]
    cdef iovec parts[2]
    cdef Py_buffer view
    PyObject_GetBuffer(payload, &view, PyBUF_SIMPLE)
    try:
        fill_header(head, type, <size_t>view.len)
        parts[0].iov_base, parts[0].iov_len = head, PYRT_FRAME_HEADER
        parts[1].iov_base, parts[1].iov_len = view.buf, <size_t>view.len
        send_all(fd, parts, 2)
    finally:
        PyBuffer_Release(&view)


def write_frames(int fd, unsigned int type, list payloads not None) -> None:
    """Send a frame for each of `payloads`, bytes objects, as many in one call as the kernel takes; nothing is copied.

    Otherwise as write_frame; a FrameError may come after some of the frames have been sent.
    """
    cdef unsigned char heads[BATCH][8]
    cdef iovec parts[2 * BATCH]
    cdef int count = 0
    cdef bytes payload
    held = tuple(payloads)  # another thread may change the list while this one sends
    for payload in held:
        if payload is None:
            raise TypeError("write_frames: a payload is None, not bytes")
        fill_header(heads[count], type, <size_t>PyBytes_GET_SIZE(payload))
        parts[2 * count].iov_base, parts[2 * count].iov_len = heads[count], PYRT_FRAME_HEADER
        parts[2 * count + 1].iov_base = PyBytes_AS_STRING(payload)
        parts[2 * count + 1].iov_len = <size_t>PyBytes_GET_SIZE(payload)
        count += 1
        if count == BATCH:
            send_all(fd, parts, 2 * count)
            count = 0
    send_all(fd, parts, 2 * count)


cdef class FrameReader:
    """Split a byte stream into frames as it arrives, from `feed` or from a descriptor by `recv`.

    Memory is bounded: at most `max_payload` + 64 KiB by `recv`, and what the caller passes at once by `feed`. A
    FrameError is final: the stream has no next boundary, and every later call raises it again. Not thread-safe.
    """

    cdef pyrt_parser parser
    cdef size_t arrived  # by the last call

    def __cinit__(self, *, size_t max_payload=PYRT_FRAME_MAX):
        if max_payload > PYRT_FRAME_MAX:
            raise ValueError(f"max_payload is {max_payload}, a frame holds at most {MAX_PAYLOAD}")
        pyrt_parser_init(&self.parser, NULL, 0, max_payload)

    def __dealloc__(self):
        free(self.parser.buffer)

    cdef int reserve(self, size_t capacity) except -1:
        if capacity <= self.parser.capacity:
            return 0
        grown = realloc(self.parser.buffer, capacity)
        if grown == NULL:
            raise MemoryError
        self.parser.buffer = <unsigned char *>grown
        self.parser.capacity = capacity
        return 0

    cdef int shrink(self) except -1:
        """Give a large frame's buffer back once little comes, so that idle connections stay small."""
        if (self.parser.capacity > FIRST_BUFFER and self.parser.begin == self.parser.end
                and self.arrived < FIRST_BUFFER / 4):
            free(self.parser.buffer)
            pyrt_parser_init(&self.parser, NULL, 0, self.parser.max_payload)
        return 0

    @property
    def pending(self) -> int:
        """Bytes that have arrived and are not yet returned as frames; at the end of a stream 0, or it was cut off."""
        return self.parser.end - self.parser.begin

    def feed(self, const unsigned char[::1] data not None) -> None:
        """Take in bytes that have arrived."""
        cdef unsigned char *space = NULL
        cdef size_t size = <size_t>data.shape[0]
        if size == 0:
            return
        self.shrink()
        self.reserve(max(FIRST_BUFFER, self.parser.end - self.parser.begin + size))
        if pyrt_parser_space(&self.parser, &space) < size:  # enough in all, but not behind what is pending
            self.reserve(self.parser.end + size)
            space = self.parser.buffer + self.parser.end
        memcpy(space, &data[0], size)
        pyrt_parser_filled(&self.parser, size)
        self.arrived = size

    def recv(self, int fd) -> int:
        """Read once from `fd` into the buffer and return the number of bytes, 0 at the end of the stream.

        Raises FrameError when the stream so far is not frames or ends inside one, BufferError when complete frames
        fill the buffer (take them with next_frame first), BlockingIOError and other OSErrors from read(2).
        """
        cdef unsigned char *space = NULL
        cdef size_t room, needs
        cdef ssize_t got
        self.check()
        self.shrink()
        needs = pyrt_parser_needs(&self.parser)
        if needs > FIRST_BUFFER / 2:  # more of them in a call
            needs = max(needs, min(4 * needs, self.parser.max_payload + FIRST_BUFFER))
        self.reserve(max(FIRST_BUFFER, needs))
        room = pyrt_parser_space(&self.parser, &space)
        if room == 0:
            raise BufferError("the buffer is full of frames; take them out before receiving more")
        while True:
            with nogil:
                got = read(fd, space, room)
            if got >= 0:
                break
            if errno != EINTR:
                raise OSError(errno, os.strerror(errno))
            PyErr_CheckSignals()
        pyrt_parser_filled(&self.parser, <size_t>got)
        self.arrived = <size_t>got
        if got == 0:
            self.finish()
        return got

    cdef int check(self) except -1:
        """Raise for a header that is wrong already, before more is read behind it."""
        cdef pyrt_frame frame
        cdef size_t pending = self.parser.end - self.parser.begin
        if pending == 0:
            return 0
        cdef const unsigned char *data = self.parser.buffer + self.parser.begin
        cdef int ret = pyrt_frame_decode(data, pending, self.parser.max_payload, &frame)
        if ret < 0:
            raise refusal(ret, data, pending, self.parser.max_payload)
        return 0

    def finish(self) -> None:
        """Say that the stream has ended; raise FrameError if that is inside a frame."""
        cdef size_t pending = self.parser.end - self.parser.begin
        cdef size_t needs
        if pending == 0:
            return
        self.check()
        needs = pyrt_parser_needs(&self.parser)
        if pending < PYRT_FRAME_HEADER:
            raise FrameError(f"the stream ended inside a frame's header, after {pending} of {HEADER_BYTES} bytes")
        if pending < needs:
            raise FrameError(f"the stream ended inside a {frame_name(self.parser.buffer[self.parser.begin])} frame, after "
                             f"{pending - HEADER_BYTES} of {needs - HEADER_BYTES} bytes")

    cdef inline tuple take(self):
        """The next complete frame, None when more bytes are needed."""
        cdef pyrt_frame frame
        if self.parser.begin == self.parser.end:
            return None
        cdef int ret = pyrt_parser_next(&self.parser, &frame)
        if ret == 0:
            return None
        if ret < 0:
            self.check()
        return frame.type, PyBytes_FromStringAndSize(<const char *>frame.payload, frame.length)

    def next_frame(self) -> tuple[int, bytes] | None:
        """Return (type, payload) of the next complete frame, None when more bytes are needed."""
        return self.take()

    def __iter__(self):
        return self

    def __next__(self) -> tuple[int, bytes]:
        frame = self.take()
        if frame is None:
            raise StopIteration
        return frame
