# SPDX-License-Identifier: Apache-2.0
"""The Broadcaster: moves containers' output into their logs and from there to any number of readers.

The work is done by csrc/broadcast*.c on a thread of its own that never holds the GIL; this module owns the objects and
turns errors into exceptions.
"""

from libc.errno cimport EALREADY, EBADF, EBADMSG, EINVAL, EMSGSIZE, ENOENT, ENOTSOCK, EPROTOTYPE, ESHUTDOWN
from libc.stdint cimport int64_t, uint64_t

import enum
import os
import weakref

cimport cython


cdef extern from "frames.h":
    enum:
        PYRT_STDOUT, PYRT_STDERR, PYRT_NOTICE

cdef extern from "log.h":
    enum:
        PYRT_LOG_MIN_SEGMENT

cdef extern from "log_format.h":
    enum:
        PYRT_STYLE_PLAIN, PYRT_STYLE_TIMES, PYRT_STYLE_JSON

cdef extern from "broadcast.h" nogil:
    struct pyrt_broadcaster:
        pass
    struct pyrt_channel:
        pass
    enum:
        PYRT_TELL_BYTES
        PYRT_DRAINED, PYRT_READER_DONE, PYRT_READER_GONE, PYRT_WRITE_FAILED
    uint64_t PYRT_FROM_START
    uint64_t PYRT_FROM_END
    struct pyrt_event:
        int kind
        uint64_t channel
        int64_t detail
    struct pyrt_reader_options:
        uint64_t offset
        unsigned int streams
        bint guaranteed
        bint raw
        bint follow
        bint bounded
        uint64_t until
        uint64_t starts[4]
        int style
        const void *last
        size_t last_size
    struct pyrt_channel_status_t "pyrt_channel_status":
        uint64_t start
        uint64_t end
        uint64_t lost_bytes
        unsigned int streams
        unsigned int readers
        bint paused

    int pyrt_broadcaster_start(pyrt_broadcaster **broadcaster)
    void pyrt_broadcaster_stop(pyrt_broadcaster *broadcaster)
    void pyrt_broadcaster_free(pyrt_broadcaster *broadcaster)
    int pyrt_broadcaster_event_fd(const pyrt_broadcaster *broadcaster)
    size_t pyrt_broadcaster_events(pyrt_broadcaster *broadcaster, pyrt_event *events, size_t room)
    int pyrt_channel_open(pyrt_broadcaster *broadcaster, int dirfd, uint64_t max_size_bytes, unsigned int max_files,
                          pyrt_channel **channel)
    int pyrt_channel_open_memory(pyrt_broadcaster *broadcaster, uint64_t max_size_bytes, unsigned int max_files,
                                 pyrt_channel **channel)
    int pyrt_channel_open_view(pyrt_broadcaster *broadcaster, int dirfd, const char *path, pyrt_channel **channel)
    uint64_t pyrt_channel_id(const pyrt_channel *channel)
    void pyrt_channel_close(pyrt_channel *channel)
    void pyrt_channel_free(pyrt_channel *channel)
    int pyrt_channel_add_stream(pyrt_channel *channel, int fd, unsigned int type)
    int pyrt_channel_close_streams(pyrt_channel *channel)
    int64_t pyrt_channel_add_reader(pyrt_channel *channel, int fd, const pyrt_reader_options *options)
    int pyrt_channel_remove_reader(pyrt_channel *channel, int64_t id)
    int pyrt_channel_end_reader(pyrt_channel *channel, int64_t id, const void *last, size_t size)
    int pyrt_channel_settle_reader(pyrt_channel *channel, int64_t id)
    int pyrt_channel_tell_reader(pyrt_channel *channel, int64_t id, const void *data, size_t size)
    int pyrt_channel_notice(pyrt_channel *channel, const char *text, size_t size)
    int pyrt_channel_finish(pyrt_channel *channel, const void *trailer, size_t size)
    int pyrt_channel_get_status "pyrt_channel_status"(pyrt_channel *channel, pyrt_channel_status_t *status)


START = -1
END = -2
MIN_SIZE_BYTES = PYRT_LOG_MIN_SEGMENT
PLAIN = PYRT_STYLE_PLAIN
TIMES = PYRT_STYLE_TIMES
JSON = PYRT_STYLE_JSON


class Event(enum.IntEnum):
    """What Broadcaster.events tells of a log."""

    DRAINED = PYRT_DRAINED
    READER_DONE = PYRT_READER_DONE
    READER_GONE = PYRT_READER_GONE
    WRITE_FAILED = PYRT_WRITE_FAILED


DRAINED = Event.DRAINED
READER_DONE = Event.READER_DONE
READER_GONE = Event.READER_GONE
WRITE_FAILED = Event.WRITE_FAILED

cdef dict MEANINGS = {
    EINVAL: "not a frame boundary of this log, or not an output stream",
    EBADMSG: "the log is damaged at this offset",
    EMSGSIZE: "the notice is too long for this log",
    ENOTSOCK: "a reader must be a socket or a pipe",
    EPROTOTYPE: "a reader's socket must be a stream socket",
    ESHUTDOWN: "the log is finished, no stream can be added",
    EALREADY: "the log is finished already",
}


cdef int64_t check(int64_t ret, str what) except -1:
    if ret >= 0:
        return ret
    if ret == -EBADF:
        raise ValueError(f"{what}: the log or the descriptor is closed")
    if -ret in MEANINGS:
        raise ValueError(f"{what}: {MEANINGS[-ret]}")
    raise OSError(-ret, os.strerror(-ret))


cdef class Broadcaster:
    """One thread that serves any number of logs. Every method of it and of its logs may be called from any thread."""

    cdef pyrt_broadcaster *broadcaster
    cdef object logs  # channel id -> Log; weak: a Log nobody holds closes itself
    cdef bint closed
    cdef object __weakref__

    def __cinit__(self):
        self.logs = weakref.WeakValueDictionary()
        check(pyrt_broadcaster_start(&self.broadcaster), "Broadcaster")

    def __dealloc__(self):
        if self.broadcaster != NULL:
            pyrt_broadcaster_stop(self.broadcaster)
            pyrt_broadcaster_free(self.broadcaster)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self) -> None:
        """Stop the thread and close every log: their streams and readers end here, their files stay. Idempotent."""
        if self.closed:
            return
        self.closed = True
        with nogil:
            pyrt_broadcaster_stop(self.broadcaster)

    def open_log(self, int dirfd, *, uint64_t max_size_bytes, unsigned int max_files) -> Log:
        """Open, or continue, the log in the directory `dirfd` (duplicated).

        It keeps at most `max_files` segments of `max_size_bytes` each. Raises ValueError for a cap below
        MIN_SIZE_BYTES or no files, OSError when the directory cannot be read.
        """
        self._check_cap(max_size_bytes, max_files)
        cdef pyrt_channel *channel = NULL
        cdef int ret
        with nogil:
            ret = pyrt_channel_open(self.broadcaster, dirfd, max_size_bytes, max_files, &channel)
        return self._opened(ret, channel)

    def open_memory_log(self, *, uint64_t max_size_bytes, unsigned int max_files) -> Log:
        """Open a log in memory, that keeps as much as open_log would on disk, until it is closed."""
        self._check_cap(max_size_bytes, max_files)
        cdef pyrt_channel *channel = NULL
        cdef int ret
        with nogil:
            ret = pyrt_channel_open_memory(self.broadcaster, max_size_bytes, max_files, &channel)
        return self._opened(ret, channel)

    def open_view(self, int dirfd, str path) -> Log:
        """Open the log in the directory `dirfd` (duplicated) as it is, for readers alone: nothing is repaired.

        Every reader's end is what is the log's end now. One that comes to damage is sent an ERROR that says so, and
        where (`path` names the directory), and an EXIT of 125, in place of its last bytes. Raises OSError.
        """
        if self.closed:
            raise ValueError("open_view: the broadcaster is closed")
        cdef bytes name = os.fsencode(path)
        cdef const char *text = name
        cdef pyrt_channel *channel = NULL
        cdef int ret
        with nogil:
            ret = pyrt_channel_open_view(self.broadcaster, dirfd, text, &channel)
        return self._opened(ret, channel)

    cdef int _check_cap(self, uint64_t max_size_bytes, unsigned int max_files) except -1:
        if max_size_bytes < PYRT_LOG_MIN_SEGMENT or max_size_bytes > 2**63 - 1 or max_files < 1:
            raise ValueError(f"a log needs at least one file of {MIN_SIZE_BYTES} bytes, not {max_files} of {max_size_bytes}")
        if self.closed:
            raise ValueError("open_log: the broadcaster is closed")
        return 0

    cdef Log _opened(self, int ret, pyrt_channel *channel):
        if ret == -EBADF:
            raise OSError(EBADF, os.strerror(EBADF))
        if ret < 0:
            raise OSError(-ret, os.strerror(-ret))
        cdef Log log = Log.__new__(Log)
        log.channel = channel
        log.broadcaster = self
        self.logs[pyrt_channel_id(channel)] = log
        return log

    def fileno(self) -> int:
        """Return a descriptor that is readable while events wait. It is the broadcaster's, until close."""
        if self.closed:
            raise ValueError("fileno: the broadcaster is closed")
        return pyrt_broadcaster_event_fd(self.broadcaster)

    def events(self) -> list[tuple[Event, Log, int]]:
        """Return and forget what has happened: (kind, log, reader id; for WRITE_FAILED the errno; else 0)."""
        cdef pyrt_event events[64]
        cdef size_t count = 64, i
        found = []
        while count == 64:
            with nogil:
                count = pyrt_broadcaster_events(self.broadcaster, events, 64)
            for i in range(count):
                log = self.logs.get(events[i].channel)
                if log is not None:
                    found.append((Event(events[i].kind), log, events[i].detail))
        return found


@cython.no_gc_clear
cdef class Log:
    """One container's output: the streams it comes from, the log it is kept in, the readers it goes to.

    Made by Broadcaster.open_log. Closed by close, by the end of a `with`, or when nobody holds it any more.
    """

    cdef pyrt_channel *channel
    cdef Broadcaster broadcaster
    cdef object __weakref__

    def __init__(self, *args, **kwargs):
        raise TypeError("a Log is made by Broadcaster.open_log")

    cdef pyrt_channel *made(self) except NULL:
        if self.channel == NULL:
            raise TypeError("a Log is made by Broadcaster.open_log")
        return self.channel

    def __dealloc__(self):
        if self.channel != NULL:
            pyrt_channel_free(self.channel)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def close(self) -> None:
        """Drop streams and readers without events; the files stay. Idempotent."""
        cdef pyrt_channel *channel = self.made()
        with nogil:
            pyrt_channel_close(channel)

    def add_stream(self, int fd, unsigned int stream_type) -> None:
        """Read `fd`, a pipe or a pty master, until its end; STDOUT or STDERR says which frames it becomes.

        Takes the descriptor over, and makes it non-blocking; on an exception it is still the caller's.
        """
        cdef int ret
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_add_stream(channel, fd, stream_type)
        check(ret, "add_stream")

    def close_streams(self) -> None:
        """Give up on streams still open, after taking in what lies in them now. DRAINED follows if there were any."""
        cdef int ret
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_close_streams(channel)
        check(ret, "close_streams")

    def add_reader(self, int fd, *, object offset=0, object streams=(), bint guaranteed=False, bint raw=False,
                   bint follow=True, object until=None, object starts=(), int style=PYRT_STYLE_PLAIN,
                   bytes last=None) -> int:
        """Send the log to `fd`, a stream socket or a pipe, and return the reader's id.

        The descriptor is duplicated; the caller's is never closed, but a socket is non-blocking from now on. `offset`
        is a frame boundary, START (of what is still there) or END; what has been dropped behind it is told by a notice.
        `streams` picks output streams, () is all; notices come with any of them, and alone with (NOTICE,). `raw` sends payloads only. With `follow` the reader gets what comes,
        and the trailer; without it, it is done at what is the end now, and in both cases at `until`, a frame boundary.
        `starts`, by type of frame, are offsets: what of it stands before is left out. `style` TIMES or JSON: lines,
        see csrc/log_format.h. `last` takes the place of the trailer,
        and comes in both cases. A `guaranteed` reader is never overtaken:
        the container waits for it once the log cannot hold more of what it has not read.
        """
        cdef pyrt_reader_options options
        cdef int64_t ret
        if offset == START:
            options.offset = PYRT_FROM_START
        elif offset == END:
            options.offset = PYRT_FROM_END
        elif 0 <= offset < 2**63:
            options.offset = offset
        else:
            raise ValueError(f"add_reader: offset {offset} is {MEANINGS[EINVAL]}")
        options.streams = 0
        for stream in streams:
            if stream != PYRT_STDOUT and stream != PYRT_STDERR and stream != PYRT_NOTICE:
                raise ValueError(f"add_reader: {stream} is not an output stream")
            options.streams |= 1 << <int>stream
        if not PYRT_STYLE_PLAIN <= style <= PYRT_STYLE_JSON:
            raise ValueError(f"add_reader: {style} is no style")
        places = [*starts, 0, 0, 0, 0]
        for kind in range(4):
            options.starts[kind] = places[kind]
        options.bounded = until is not None
        options.until = 0 if until is None else until
        options.guaranteed, options.raw, options.follow, options.style = guaranteed, raw, follow, style
        options.last, options.last_size = NULL, 0
        if last is not None:
            options.last, options.last_size = <const char *>last, <size_t>len(last)
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_add_reader(channel, fd, &options)
        return check(ret, "add_reader")

    def remove_reader(self, int64_t reader_id) -> bool:
        """Stop sending to a reader, at once and wherever it is in a frame; False if it had left by itself."""
        cdef int ret
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_remove_reader(channel, reader_id)
        if ret == -ENOENT:
            return False
        check(ret, "remove_reader")
        return True

    def end_reader(self, int64_t reader_id, const unsigned char[::1] last not None = b"") -> bool:
        """Send a reader the rest of the frame it is in, then `last` (for instance an EXIT frame); READER_DONE follows.

        It holds up no stream any more, guaranteed or not. False if it had left, or was at its end, by itself.
        """
        cdef size_t size = <size_t>last.shape[0]
        cdef const unsigned char *data = &last[0] if size > 0 else NULL
        cdef int ret
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_end_reader(channel, reader_id, data, size)
        if ret == -ENOENT or ret == -EALREADY:
            return False
        check(ret, "end_reader")
        return True

    def settle_reader(self, int64_t reader_id) -> bool:
        """Let a reader that follows do so no more: it is done at what is the end now. False if it had left."""
        cdef int ret
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_settle_reader(channel, reader_id)
        if ret == -ENOENT:
            return False
        check(ret, "settle_reader")
        return True

    def tell_reader(self, int64_t reader_id, const unsigned char[::1] data not None) -> bool:
        """Send a reader alone whole frames (64 bytes at most), as soon as the frame it is in has been sent.

        They take the place of what it was to be told and has not been yet. False if it had left, is at its end, or is
        raw.
        """
        cdef size_t size = <size_t>data.shape[0]
        cdef int ret
        if not 0 < size <= PYRT_TELL_BYTES:
            raise ValueError(f"tell_reader: {size} bytes are none or more than {PYRT_TELL_BYTES}")
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_tell_reader(channel, reader_id, &data[0], size)
        if ret == -ENOENT or ret == -EALREADY:
            return False
        check(ret, "tell_reader")
        return True

    def notice(self, const unsigned char[::1] text not None) -> None:
        """Append a notice, UTF-8 text that the client shows on its stderr. Raises OSError if it cannot be written."""
        cdef size_t size = <size_t>text.shape[0]
        cdef const char *data = <const char *>&text[0] if size > 0 else NULL
        cdef int ret
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_notice(channel, data, size)
        check(ret, "notice")

    def finish(self, const unsigned char[::1] trailer not None = b"") -> None:
        """Say that no stream follows.

        Once all streams are at their end, each reader, a later one too, gets the rest of the log, then `trailer` (for
        instance an EXIT frame; not in raw mode), then leaves with READER_DONE.
        """
        cdef size_t size = <size_t>trailer.shape[0]
        cdef const unsigned char *data = &trailer[0] if size > 0 else NULL
        cdef int ret
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_finish(channel, data, size)
        check(ret, "finish")

    cdef pyrt_channel_status_t status(self) except *:
        cdef pyrt_channel_status_t status
        cdef int ret
        cdef pyrt_channel *channel = self.made()
        with nogil:
            ret = pyrt_channel_get_status(channel, &status)
        check(ret, "log")
        return status

    @property
    def start_offset(self) -> int:
        """Global offset of the oldest byte that is still there."""
        return self.status().start

    @property
    def end_offset(self) -> int:
        """Global offset of the next byte."""
        return self.status().end

    @property
    def lost_bytes(self) -> int:
        """Output bytes that could not be written to the log since it was opened."""
        return self.status().lost_bytes

    @property
    def streams(self) -> int:
        """Streams still open."""
        return self.status().streams

    @property
    def readers(self) -> int:
        """Readers that have not left."""
        return self.status().readers

    @property
    def paused(self) -> bool:
        """Whether the streams wait for a guaranteed reader."""
        return self.status().paused
