# SPDX-License-Identifier: Apache-2.0
"""DaemonLink: the one daemon that is connected to the supervisor, if any is. Daemons come and go."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable

from pyrt.container.channel import Channel, Message
from pyrt.container.loop import READ, Loop

SAY_AGAIN_S = 0.02


class DaemonLink:
    """What the daemon asks comes as on_request(request, fds); the descriptors are the callee's. on_left() when it goes.

    What it is told waits here while it is behind with reading. Belongs to the loop.
    """

    def __init__(
        self,
        loop: Loop,
        listener: socket.socket,
        *,
        on_request: Callable[[Message, list[int]], None],
        on_left: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._on_request = on_request
        self._on_left = on_left
        self._channel: Channel | None = None
        self._left_at = time.monotonic()
        self._unsaid: deque[Message] = deque()

    def listen(self) -> None:
        self._listener.setblocking(False)
        self._loop.watch(self._listener.fileno(), READ, self._on_connection)

    @property
    def deserted_s(self) -> float:
        """How long there has been no daemon; 0 while there is one."""
        return 0.0 if self._channel is not None else time.monotonic() - self._left_at

    def say(self, message: Message) -> None:
        """Tell the daemon, if there is one: the next one asks for everything anew."""
        if self._channel is None:
            return
        self._unsaid.append(message)
        if len(self._unsaid) == 1:
            self._say_all()

    def _on_connection(self) -> None:
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        if self._channel is not None:  # the last one to come is the one that holds the root's lock
            self._disconnect()
        self._channel = Channel(connection)
        self._loop.watch(connection.fileno(), READ, self._on_readable)

    def _disconnect(self) -> None:
        assert self._channel is not None
        self._loop.unwatch(self._channel.fileno())
        self._channel.close()
        self._channel = None
        self._left_at = time.monotonic()
        self._unsaid.clear()
        self._on_left()

    def _say_all(self) -> None:
        while self._channel is not None and self._unsaid:
            try:
                self._channel.send(self._unsaid[0])
            except BlockingIOError:  # it is busy, or was stopped
                self._loop.call_later(SAY_AGAIN_S, self._say_all)
                return
            except OSError:
                self._disconnect()
                return
            self._unsaid.popleft()

    def _on_readable(self) -> None:
        assert self._channel is not None
        try:
            received = self._channel.receive()
        except BlockingIOError:
            return
        except OSError:
            received = None
        if received is None:
            self._disconnect()
            return
        self._on_request(*received)
