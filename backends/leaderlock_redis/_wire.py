"""Redis's protocol (RESP2) on a connected socket, with one deadline for a whole exchange.

The client library connects: it knows TLS. From then on, the greeting included, its readers are in the way: they count
their time-out anew for each piece of a reply, drop the code of an error, and decode values.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

__all__ = ["Closed", "Garbled", "Reply", "ServerError", "Wire", "pack"]

Reply: TypeAlias = Any
"""``bytes``, ``int``, ``None``, :class:`ServerError`, or a list of these, as the script at the other end makes it."""

_PIECE: Final = 1 << 16
# A time-out of zero would mean "do not block" to a socket.
_LEAST_WAIT: Final = 1e-6


class Closed(OSError):
    """The other side closed the connection."""


class Garbled(Exception):
    """What came is not Redis's protocol."""


class ServerError(Exception):
    """An error that the server answered with; ``str()`` of it begins with its code."""


def pack(*words: bytes) -> bytes:
    """A command as it travels."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


class Wire:
    """One connection's two directions. After any exception it is out of step, and must be closed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = b""
        self._at = 0
        self._deadline = 0.0
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def fileno(self) -> int:
        """The descriptor, to wait on."""
        return self._sock.fileno()

    def is_quiet(self) -> bool:
        """Whether nothing has come unasked, which on an idle connection is its end."""
        return not self.has_more() and not self._poll.poll(0)

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of ``data`` by ``deadline``."""
        self._deadline = deadline
        self._sock.settimeout(max(_LEAST_WAIT, deadline - time.monotonic()))
        self._sock.sendall(data)

    def receive(self, deadline: float) -> Reply:
        """The next reply; an error is returned, not raised, as more replies may follow it."""
        self._deadline = deadline
        return self._next()

    def has_more(self) -> bool:
        """Whether bytes have been received that no reply has used yet."""
        return self._at < len(self._buffer) or (isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0)

    def ask(self, requests: Sequence[bytes], deadline: float) -> list[Reply]:
        """Send all ``requests`` at once; a reply to each."""
        self.send(b"".join(requests), deadline)
        return [self._next() for _ in requests]

    def _next(self) -> Reply:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return ServerError(rest.decode("utf-8", "replace"))
        try:
            number = int(rest)
        except ValueError:
            raise Garbled(f"it said {line[:60]!r}") from None
        if kind == b":":
            return number
        if kind == b"$":
            return self._bytes(number) if number >= 0 else None
        if kind == b"*":
            return [self._next() for _ in range(number)] if number >= 0 else None
        raise Garbled(f"it said {line[:60]!r}")

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n", self._at)) < 0:
            if len(self._buffer) - self._at > _PIECE:
                raise Garbled("a line without an end")
            self._more(1)
        line = self._buffer[self._at : end]
        self._at = end + 2
        return line

    def _bytes(self, count: int) -> bytes:
        missing = self._at + count + 2 - len(self._buffer)
        if missing > 0:
            self._more(missing)
        value = self._buffer[self._at : self._at + count]
        self._at += count + 2
        return value

    def _more(self, least: int) -> None:
        pieces = [self._buffer[self._at :]]
        while least > 0:
            remaining = self._deadline - time.monotonic()
            self._sock.settimeout(max(_LEAST_WAIT, remaining))
            piece = self._sock.recv(max(_PIECE, least))
            if not piece:
                raise Closed("the server closed the connection")
            pieces.append(piece)
            least -= len(piece)
        self._buffer = b"".join(pieces)
        self._at = 0
