# SPDX-License-Identifier: Apache-2.0
"""Recognising and undoing the compression of an archive, in bounded memory: gzip, bzip2, xz, zstd, or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from pyrt.errors import ImageError

STEP_BYTES = 1 << 20
"""What one step of decompression gives at most, however well the input is compressed."""

WINDOW_BYTES = 128 << 20
"""What a decompressor may hold: xz -9 needs 65 MiB, zstd --ultra --long=27 needs 128 MiB."""

_MAGIC_BYTES = 6


class _Decompressor(Protocol):
    """What bz2, lzma and zstd have in common; zlib is brought into this shape."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


def decompress(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the plain bytes of a stream that is compressed in any of the known ways, or not at all.

    Several members in a row count as one stream, and zeros behind a member as padding. Raises ImageError for data
    that is damaged, ends too early, or needs more than WINDOW_BYTES.
    """
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= _MAGIC_BYTES:
            break
    name = _compression(head)
    if name is None:
        if head:
            yield head
        yield from source
        return
    yield from _expand(_prepend(head, source), name)


def _compression(head: bytes) -> str | None:
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"BZh"):
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\x00"):
        return "xz"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F):
        return "zstd"
    return None


def _prepend(head: bytes, source: Iterator[bytes]) -> Iterator[bytes]:
    yield head
    yield from source


def _expand(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    make, faults = _FORMATS[name]()
    member: _Decompressor | None = None
    first = True
    for data in chunks:
        while True:
            if member is None:
                data = data if first else data.lstrip(b"\0")
                if not data:
                    break
                member, first = make(), False
            try:
                plain = member.decompress(data, STEP_BYTES)
            except faults as error:
                raise ImageError(f"the archive's {name} data is damaged: {error}") from error
            if plain:
                yield plain
            if member.eof:
                data, member = member.unused_data, None
            elif member.needs_input:
                break
            else:
                data = b""
    if member is not None:
        raise ImageError(f"the archive is truncated: its {name} data ends too early")


class _Gzip:
    """zlib's decompressor in the shape of the others."""

    def __init__(self) -> None:
        import zlib

        self._zlib = zlib.decompressobj(wbits=31)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = STEP_BYTES) -> bytes:
        plain = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # A full step may leave more inside zlib even when it has taken all its input.
        self.needs_input = not self._zlib.unconsumed_tail and len(plain) < max_length
        return plain


_Format = tuple[Callable[[], Any], tuple[type[Exception], ...]]


def _gzip() -> _Format:
    import zlib

    return _Gzip, (zlib.error,)


def _bzip2() -> _Format:
    import bz2

    return bz2.BZ2Decompressor, (OSError, EOFError)


def _xz() -> _Format:
    import lzma

    return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=WINDOW_BYTES), (lzma.LZMAError, EOFError)


def _zstd() -> _Format:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
    except ImportError:
        from backports import zstd

    options = {zstd.DecompressionParameter.window_log_max: WINDOW_BYTES.bit_length() - 1}
    return lambda: zstd.ZstdDecompressor(options=options), (zstd.ZstdError, EOFError)


_FORMATS: dict[str, Callable[[], _Format]] = {"gzip": _gzip, "bzip2": _bzip2, "xz": _xz, "zstd": _zstd}
