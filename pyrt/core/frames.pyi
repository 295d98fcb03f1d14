# SPDX-License-Identifier: Apache-2.0
from collections.abc import Iterator
from typing import Final, Self

from _typeshed import ReadableBuffer
from typing_extensions import disjoint_base

HEADER_BYTES: Final[int]
MAX_PAYLOAD: Final[int]
STDIN: Final[int]
STDOUT: Final[int]
STDERR: Final[int]
NOTICE: Final[int]
CALL: Final[int]
EXIT: Final[int]
RESIZE: Final[int]
SIGNAL: Final[int]
DETACH: Final[int]
ERROR: Final[int]
START: Final[int]
ASK: Final[int]
OPEN: Final[int]
ANSWER: Final[int]
PACK: Final[int]
UNPACK: Final[int]
FEED: Final[int]
KEYS: Final[int]
CREDIT: Final[int]
KEYS_MAX: Final[int]
START_STDIN: Final[int]
START_TTY: Final[int]
START_SIGNALS: Final[int]
START_CREDIT: Final[int]
COPY_OWNERS: Final[int]
COPY_FOLLOW: Final[int]

class FrameError(ValueError): ...

def header(type: int, length: int) -> bytes: ...
def encode(type: int, payload: ReadableBuffer = ...) -> bytes: ...
def write_frame(fd: int, type: int, payload: ReadableBuffer = ...) -> None: ...
def write_frames(fd: int, type: int, payloads: list[bytes]) -> None: ...

@disjoint_base
class FrameReader(Iterator[tuple[int, bytes]]):
    def __new__(cls, *, max_payload: int = ...) -> Self: ...
    @property
    def pending(self) -> int: ...
    def feed(self, data: ReadableBuffer) -> None: ...
    def recv(self, fd: int) -> int: ...
    def finish(self) -> None: ...
    def next_frame(self) -> tuple[int, bytes] | None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[int, bytes]: ...
