"""Wake-ups: one subscription of the namespace's channel for all watches of a client.

Each swap publishes there which registers it changed, a line each; or, after an empty line, the one that it changed, the
memory, the stamp, and the value.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection
from typing import Final

from leaderlock.backend import Seen, View
from leaderlock.errors import LeaderLockError
from leaderlock.watching import Ending, Listener, Waker
from leaderlock_redis._links import Link, Links
from leaderlock_redis._wire import Garbled, Reply, ServerError, pack

__all__ = ["Watcher", "key_of"]

# A connection that has died without a word is noticed by a question that is not answered before the next is due.
_ASK_EVERY: Final = 5.0
_CONNECT_TIMEOUT: Final = 2.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0


def key_of(place: bytes, space: bytes) -> str:
    """The register's key, by where it is in Redis."""
    return place[len(space) :].decode("utf-8", "surrogateescape")


class Watcher(Listener[bytes]):
    """Subscribes, and subscribes again when the connection has gone."""

    def __init__(self, links: Links, channel: bytes) -> None:
        self._links = links
        self._channel = channel
        self._is_listening = False
        self._ending = Ending()

    def listen(self, wake: Waker[bytes]) -> None:
        pause = _FIRST_PAUSE
        try:
            while not self._ending.is_set:
                # Protects the watches from one refusal, which is told to whoever reads or writes: here we come again.
                with contextlib.suppress(LeaderLockError, OSError, Garbled):
                    self._subscribe(wake)
                if self._is_listening:
                    self._is_listening, pause = False, _FIRST_PAUSE
                self._ending.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self._ending.close()

    def end(self) -> None:
        self._ending.set()

    def _subscribe(self, wake: Waker[bytes]) -> None:
        link = self._links.connect(time.monotonic() + _CONNECT_TIMEOUT)
        try:
            (reply,) = link.wire.ask([pack(b"SUBSCRIBE", self._channel)], time.monotonic() + _CONNECT_TIMEOUT)
            if isinstance(reply, ServerError):
                return
            self._is_listening = True
            # For what went by before the subscription stood.
            wake(None)
            self._hear(link, wake)
        finally:
            link.close()

    def _hear(self, link: Link, wake: Waker[bytes]) -> None:
        asked = False
        while not self._ending.is_set:
            if link.wire.has_more() or self._ending.wait(_ASK_EVERY, link.wire.fileno()):
                wake(*self._told(link.wire.receive(time.monotonic() + _CONNECT_TIMEOUT)))
                asked = False
            elif asked or self._links.has_moved(link, time.monotonic() + _CONNECT_TIMEOUT):
                return
            elif not self._ending.is_set:
                link.wire.send(pack(b"PING"), time.monotonic() + _CONNECT_TIMEOUT)
                asked = True

    def _told(self, reply: Reply) -> tuple[Collection[bytes], View | None]:
        """The registers that a message names, none if it is no message; and what it shows of them."""
        match reply:
            case [b"message", _, bytes(text)]:
                pass
            case _:
                return (), None
        match text.split(b"\n", 4):
            case [b"", place, memory, stamp, value] if stamp.isdigit():
                floor = int(stamp)
                seen = {key_of(place, self._channel): Seen(value, floor)}
                return (place,), View(seen, floor, memory.decode(errors="replace"))
            case _:
                # Also what somebody else said there: it wakes nobody.
                return text.split(b"\n"), None
