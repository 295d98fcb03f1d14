# SPDX-License-Identifier: Apache-2.0
"""What the C client leaves to Python: `python -I -m pyrt.cli daemon|relay OPTIONS`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def relay(words: Sequence[str]) -> int:
    """Connect to a daemon by name or with TLS; the client speaks plain frames with us on our stdin, a socket."""
    import socket

    from pyrt.commands.flags import Flag, parse
    from pyrt.core import frames
    from pyrt.daemon.address import TcpAddress, parse_address, tls_of
    from pyrt.daemon.relay import connect
    from pyrt.errors import PyrtError, UsageError

    flags = (
        Flag("host", "H", kind=str, default=""),
        Flag("tls"),
        *(Flag(name, kind=str, default="") for name in ("tlscacert", "tlscert", "tlskey")),
    )
    with socket.socket(fileno=0) as plain:
        try:
            options, _ = parse("relay", flags, words)
            address = parse_address(options.host)
            if not isinstance(address, TcpAddress):
                raise UsageError(f"-H {address}: the relay is for tcp://")
            tls = tls_of(options.tls, options.tlscacert, options.tlscert, options.tlskey)
            failure = connect(address, tls, plain)
        except PyrtError as error:
            failure = str(error)
        if failure is None:
            return 0
        plain.setblocking(True)
        try:
            plain.sendall(
                frames.encode(frames.ERROR, failure.encode("utf-8", "backslashreplace"))
                + frames.encode(frames.EXIT, (125).to_bytes(4, "big"))
            )
        except OSError:
            pass  # the client has left meanwhile
        return 125


def main(words: Sequence[str] | None = None) -> int:
    """Run one of the two; return the exit status."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["daemon"]:
        from pyrt.daemon.main import main as daemon

        return daemon(words[1:])
    if words[:1] == ["relay"]:
        return relay(words[1:])
    print("Error: pyrt.cli is started by the pyrt program, with daemon or relay", file=sys.stderr)
    return 125


if __name__ == "__main__":
    sys.exit(main())
