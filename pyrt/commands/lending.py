# SPDX-License-Identifier: Apache-2.0
"""A client's connection in the hands of a program that writes an archive straight to it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyrt.image.packing import BrokenOffError, ReaderGoneError

if TYPE_CHECKING:
    from pyrt.daemon.session import Session


@contextmanager
def lent(session: Session) -> Iterator[socket.socket]:
    """Lend the connection for the block; what is left to say comes after it.

    After a BrokenOffError it is not taken back: the program may have died within a frame. Raises ConnectionAbortedError
    for a client that has left.
    """
    connection = session.hand_over()
    try:
        yield connection
    except BrokenOffError:
        raise
    except ReaderGoneError as error:
        session.take_back()
        raise ConnectionAbortedError("the client has left") from error
    except Exception:
        session.take_back()
        raise
    session.take_back()
