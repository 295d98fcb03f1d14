# SPDX-License-Identifier: Apache-2.0
"""Lines of a log: where in it the last N begin, or those of a time. The work is done by csrc/log_lines.c, from behind.

It reads the files alone, also of a log that is being written, and changes nothing.
"""

from libc.errno cimport EBADMSG
from libc.stdint cimport INT64_MAX, UINT64_MAX, uint64_t

import os
from dataclasses import dataclass


cdef extern from "log.h" nogil:
    struct pyrt_log:
        pass
    int pyrt_log_open_view(pyrt_log *log, int dirfd)
    void pyrt_log_close(pyrt_log *log)

cdef extern from "log_lines.h" nogil:
    enum:
        PYRT_LINE_REACH
    uint64_t PYRT_ALL_LINES
    struct pyrt_lines:
        uint64_t tail
        uint64_t since_ns
        uint64_t until_ns
    struct pyrt_cut:
        uint64_t start "from"
        uint64_t starts[4]
        uint64_t end
    int pyrt_log_cut(pyrt_log *view, const pyrt_lines *lines, pyrt_cut *cut, uint64_t *damaged)


REACH_BYTES = PYRT_LINE_REACH


class DamageError(ValueError):
    """The log is no log where it had to be read."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a log, in the words of Log.add_reader: offset, starts, until."""

    offset: int
    starts: tuple[int, ...]
    end: int


def find(int dirfd, *, object tail=None, object since_ns=None, object until_ns=None) -> Cut:
    """Find lines of the log in the directory `dirfd` (borrowed): the last `tail` of those that ended in this time.

    What a line is, and when, is defined in csrc/log_lines.h; times are nanoseconds since 1970, both ends included. May
    read much of a log that has no index. Raises OSError, and DamageError with the offset. Releases the GIL.
    """
    cdef pyrt_lines lines
    cdef pyrt_cut cut
    cdef pyrt_log log
    cdef uint64_t damaged = 0
    cdef int ret
    lines.tail = PYRT_ALL_LINES if tail is None else min(tail, INT64_MAX)
    lines.since_ns = 0 if since_ns is None else max(0, min(since_ns, INT64_MAX))
    lines.until_ns = UINT64_MAX if until_ns is None else max(0, min(until_ns, INT64_MAX))
    with nogil:
        ret = pyrt_log_open_view(&log, dirfd)
        if ret == 0:
            ret = pyrt_log_cut(&log, &lines, &cut, &damaged)
            pyrt_log_close(&log)
    if ret == -EBADMSG:
        raise DamageError(f"no frame at offset {damaged}")
    if ret < 0:
        raise OSError(-ret, os.strerror(-ret))
    return Cut(cut.start, tuple(cut.starts[kind] for kind in range(4)), cut.end)
