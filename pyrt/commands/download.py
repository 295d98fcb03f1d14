# SPDX-License-Identifier: Apache-2.0
"""Fetching an archive over http or https, piece by piece, with progress."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator

import pyrt
from pyrt.errors import ImageError, UsageError

TIMEOUT_S = 30
_CHUNK_BYTES = 256 << 10
_NOTICE_EVERY_S = 1.0


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5
    max_repeats = 2


def download(url: str, notice: Callable[[str], None]) -> Iterator[bytes]:
    """Yield what is at an http or https URL; blocks, at most TIMEOUT_S without a byte. `notice` is told how it goes.

    Raises UsageError for any other kind of URL and ImageError for what went wrong, a body cut short included.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"only http:// and https:// URLs can be imported, not {_shown(url)}")
    return _fetch(url, notice)


def _opener() -> urllib.request.OpenerDirector:
    """Return an opener that knows http and https only, whatever a redirect says; urllib's own also reads file:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", f"pyrt/{pyrt.__version__}")]
    return opener


def _fetch(url: str, notice: Callable[[str], None]) -> Iterator[bytes]:
    try:
        with _opener().open(url, timeout=TIMEOUT_S) as response:
            if response.status != 200:
                raise ImageError(f"{_shown(url)} answered {response.status} {response.reason}")
            yield from _body(response, url, notice)
    except urllib.error.HTTPError as error:
        with error:
            reason = str(error.reason).partition("\n")[0]  # urllib's text on redirects has several lines
            raise ImageError(f"{_shown(url)} answered {error.code} {reason}") from error
    except urllib.error.URLError as error:
        cause = error.reason.strerror if isinstance(error.reason, OSError) else None
        raise ImageError(f"{_shown(url)} cannot be fetched: {cause or error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ImageError(f"{_shown(url)} cannot be fetched: {error or type(error).__name__}") from error


def _body(response: http.client.HTTPResponse, url: str, notice: Callable[[str], None]) -> Iterator[bytes]:
    length = response.headers.get("Content-Length")
    total = int(length) if length and length.isdecimal() else None
    received = 0
    told = time.monotonic()
    while piece := response.read(_CHUNK_BYTES):
        received += len(piece)
        yield piece
        if time.monotonic() - told >= _NOTICE_EVERY_S:
            told = time.monotonic()
            notice(f"Downloading {_megabytes(received)}{f' of {_megabytes(total)}' if total else ''}")
    if total is not None and received != total:
        raise ImageError(f"{_shown(url)} ended after {received} of {total} bytes")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _shown(url: str) -> str:
    """Return the URL without a password in it, short and printable."""
    parts = urllib.parse.urlsplit(url)
    if parts.username or parts.password:
        url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    short = url if len(url) <= 200 else url[:200] + "..."
    return short if short.isprintable() else ascii(short)[1:-1]
