"""A TCP proxy for tests: what can go wrong between a client and its server, on demand and at an exact byte."""

from __future__ import annotations

import contextlib
import enum
import socket
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Final, Self

from leaderlock._locks import signal_safe

__all__ = ["TcpProxy", "Towards"]

_PIECE: Final = 1 << 16
_CONNECT_TIMEOUT: Final = 5.0
_END_PATIENCE: Final = 5.0


class Towards(enum.Enum):
    """A direction of what is carried."""

    SERVER = "server"
    CLIENT = "client"


class _Link:
    """One connection of a client, and the one to the server behind it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.ends = {Towards.CLIENT: client, Towards.SERVER: server}
        self.has_lost_bytes = False
        self.carriers = len(self.ends)

    def cut(self) -> None:
        """End both connections, and the waits on them. Whoever carries last closes the sockets."""
        for end in self.ends.values():
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class TcpProxy:
    """Listens on a free port of loopback, and carries everything to a server and back, until told to fail.

    Faults concern all connections, those that stand and those to come. Each connection has two threads.

    Args:
        host, port: the server's.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._lock = signal_safe(threading.Lock())
        self._links: set[_Link] = set()
        self._threads: list[threading.Thread] = []
        self._carried = dict.fromkeys(Towards, 0)
        self._left: dict[Towards, int] = {}
        self._swallowed: frozenset[Towards] = frozenset()
        self._delay = 0.0
        self._piece = _PIECE
        self._is_closed = threading.Event()
        self._listener = _bound(0)
        self.host: Final = "127.0.0.1"
        self.port: Final[int] = self._listener.getsockname()[1]
        self._listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def carried(self, towards: Towards) -> int:
        """How many bytes have gone through so far in that direction, over all connections."""
        with self._lock:
            return self._carried[towards]

    def cut(self) -> None:
        """End all connections now. New ones are made as before."""
        with self._lock:
            links = tuple(self._links)
        for link in links:
            link.cut()

    def cut_after(self, count: int, towards: Towards) -> None:
        """End a connection when ``count`` further bytes have gone in that direction, over all connections.

        The bytes up to there are delivered, the others never; once. It ends behind the last of them, not waiting for
        more, unless ``count`` is 0: then it ends instead of carrying the next.
        """
        if count < 0:
            raise ValueError(f"count is a number of bytes from 0, not {count}")
        with self._lock:
            self._left[towards] = count

    def drop_reply(self) -> None:
        """End the connection on which the next reply comes, before its first byte: the server has done its part.

        Where exactly that is depends on the protocol: anything that the server says first counts.
        """
        self.cut_after(0, Towards.CLIENT)

    def mend(self) -> None:
        """Take back what :meth:`cut_after` and :meth:`drop_reply` ordered, if it has not come about."""
        with self._lock:
            self._left.clear()

    @contextmanager
    def black_hole(self, *directions: Towards) -> Generator[None]:
        """Meanwhile lose all bytes in these directions (none named: both) without a word, and ends of connections.

        Connections that have lost any are ended afterwards: their two sides would not understand each other.
        """
        with self._lock:
            self._swallowed = frozenset(directions or Towards)
        try:
            yield
        finally:
            with self._lock:
                self._swallowed = frozenset()
                lost = [link for link in self._links if link.has_lost_bytes]
            for link in lost:
                link.cut()

    @contextmanager
    def slow(self, delay: float, *, piece: int = _PIECE) -> Generator[None]:
        """Meanwhile wait ``delay`` seconds before each ``piece`` bytes, in both directions."""
        with self._lock:
            self._delay, self._piece = delay, piece
        try:
            yield
        finally:
            with self._lock:
                self._delay, self._piece = 0.0, _PIECE

    @contextmanager
    def refusing(self) -> Generator[None]:
        """Meanwhile refuse connections, as a host does where nothing listens; those that stand are ended."""
        # Bound before the other goes, and not listening, so that nobody else can be given the port.
        reserved = _bound(self.port)
        _close(self._listener)
        self._listener = reserved
        self.cut()
        try:
            yield
        finally:
            self._listen()

    def close(self) -> None:
        """End all connections and threads. May be called twice."""
        if self._is_closed.is_set():
            return
        self._is_closed.set()
        _close(self._listener)
        self.cut()
        for thread in self._threads:
            thread.join(_END_PATIENCE)

    def _listen(self) -> None:
        self._listener.listen(128)
        self._start(partial(self._accept, self._listener))

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name="leaderlock-proxy", daemon=True)
        with self._lock:
            self._threads = [other for other in self._threads if other.is_alive()]
            thread.start()
            self._threads.append(thread)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, _CONNECT_TIMEOUT)
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.settimeout(None)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._begin(_Link(client, server), listener)

    def _begin(self, link: _Link, listener: socket.socket) -> None:
        with self._lock:
            self._links.add(link)
        for towards in Towards:
            self._start(partial(self._carry, link, towards))
        # Looked at after it can be found: it was accepted just before all others were ended.
        if self._is_closed.is_set() or listener is not self._listener:
            link.cut()

    def _carry(self, link: _Link, towards: Towards) -> None:
        sink = link.ends[towards]
        source = link.ends[Towards.CLIENT if towards is Towards.SERVER else Towards.SERVER]
        is_last = False
        try:
            while not is_last and (data := source.recv(_PIECE)):
                while data and not is_last:
                    piece, data = data[: self._piece], data[self._piece :]
                    if self._delay:
                        self._is_closed.wait(self._delay)
                    piece, is_last = self._admitted(link, towards, piece)
                    sink.sendall(piece)
        except OSError:
            is_last = True
        if not self._is_swallowed(link, towards):
            self._pass_end(link, towards, is_last)
        self._leave(link)

    def _pass_end(self, link: _Link, towards: Towards, is_last: bool) -> None:
        if not is_last:
            # The end of one direction is carried, too; the other may go on.
            with contextlib.suppress(OSError):
                link.ends[towards].shutdown(socket.SHUT_WR)
                return
        link.cut()

    def _is_swallowed(self, link: _Link, towards: Towards) -> bool:
        """Whether a black hole takes what goes in that direction now; for the link that is a loss."""
        with self._lock:
            link.has_lost_bytes |= towards in self._swallowed
            return towards in self._swallowed

    def _admitted(self, link: _Link, towards: Towards, data: bytes) -> tuple[bytes, bool]:
        """What is to be carried of ``data``, and whether that is the connection's end."""
        if self._is_swallowed(link, towards):
            return b"", False
        with self._lock:
            left = self._left.get(towards)
            is_last = left is not None and len(data) >= left
            if left is not None and is_last:
                data = data[:left]
                del self._left[towards]
            elif left is not None:
                self._left[towards] = left - len(data)
            self._carried[towards] += len(data)
        return data, is_last

    def _leave(self, link: _Link) -> None:
        with self._lock:
            link.carriers -= 1
            if link.carriers:
                return
            self._links.discard(link)
        for end in link.ends.values():
            end.close()


def _bound(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        # So that one socket can hold the port while another one listens on it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


def _close(listener: socket.socket) -> None:
    # Closing alone would not wake the thread that waits for connections.
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
