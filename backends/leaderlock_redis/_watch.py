"""Wake-ups: one subscription of the namespace's channel for all watches of a client.

Each swap publishes there which registers it changed. The thread that listens lives from the first watch to the end of
the last; a later watch starts another.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import threading
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from leaderlock._thread import OwnThread
from leaderlock.errors import LeaderLockError
from leaderlock_redis._links import Link, Links
from leaderlock_redis._wire import Garbled, Reply, ServerError, pack

__all__ = ["Watcher"]

# A connection that has died without a word is noticed by a question that is not answered before the next is due.
_ASK_EVERY: Final = 5.0
_CONNECT_TIMEOUT: Final = 2.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 2.0
_END_PATIENCE: Final = 3.0


class _Watch:
    """One caller's wish to be woken; compared by identity."""

    __slots__ = ("is_stopped", "keys", "wake")

    def __init__(self, keys: frozenset[bytes], wake: Callable[[], None]) -> None:
        self.keys = keys
        self.wake = wake
        self.is_stopped = False


class Watcher:
    """The one thread that listens, and wakes those whose keys were named."""

    def __init__(self, links: Links, channel: bytes) -> None:
        self._links = links
        self._channel = channel
        self._lock = threading.Lock()
        self._by_key: dict[bytes, set[_Watch]] = {}
        self._count = 0
        self._has_ended = False
        self._is_listening = False
        self._pid = os.getpid()
        self._stirred, self._stir = os.pipe()
        self._thread = OwnThread("redis-watch", self._run)
        try:
            self._thread.start()
        except BaseException:
            # Ctrl-C meanwhile: it may run already, and nobody is going to hold this watcher and end it.
            with self._lock:
                self._stop_thread()
            raise

    @property
    def has_ended(self) -> bool:
        """Whether it takes no more watches."""
        return self._has_ended

    def add(self, keys: frozenset[bytes], wake: Callable[[], None]) -> Callable[[], None] | None:
        """Wake ``wake`` on a change of ``keys``; returns what stops that, or ``None`` where the watcher has ended."""
        watch = _Watch(keys, wake)
        with self._lock:
            if self._has_ended:
                return None
            self._count += 1
            for key in keys:
                self._by_key.setdefault(key, set()).add(watch)
        return functools.partial(self._remove, watch)

    def end(self) -> None:
        """End the thread, and wait a moment for it unless it is the caller's own."""
        with self._lock:
            self._stop_thread()
        self._thread.join(_END_PATIENCE)

    def _remove(self, watch: _Watch) -> None:
        # In a forked child there is no thread to end, only the parent's pipe to disturb and a lock nobody may free.
        if os.getpid() != self._pid:
            return
        with self._lock:
            if watch.is_stopped:
                return
            watch.is_stopped = True
            for key in watch.keys:
                waiting = self._by_key[key]
                waiting.discard(watch)
                if not waiting:
                    del self._by_key[key]
            self._count -= 1
            if not self._count:
                self._stop_thread()

    def _stop_thread(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            os.write(self._stir, b"\0")

    def _run(self) -> None:
        pause = _FIRST_PAUSE
        try:
            while not self._has_ended:
                # Protects the watches from one refusal, which is told to whoever reads or writes: here we come again.
                with contextlib.suppress(LeaderLockError, OSError, Garbled):
                    self._listen()
                if self._is_listening:
                    self._is_listening, pause = False, _FIRST_PAUSE
                self._is_stirred(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            with self._lock:
                self._has_ended = True
                os.close(self._stirred)
                os.close(self._stir)

    def _listen(self) -> None:
        link = self._links.connect(time.monotonic() + _CONNECT_TIMEOUT)
        try:
            (reply,) = link.wire.ask([pack(b"SUBSCRIBE", self._channel)], time.monotonic() + _CONNECT_TIMEOUT)
            if isinstance(reply, ServerError):
                return
            self._is_listening = True
            # For what went by before the subscription stood.
            self._wake(None)
            self._hear(link)
        finally:
            link.close()

    def _hear(self, link: Link) -> None:
        asked = False
        while not self._has_ended:
            if link.wire.has_more() or self._is_stirred(_ASK_EVERY, link):
                if not self._has_ended:
                    self._wake(_changed(link.wire.receive(time.monotonic() + _CONNECT_TIMEOUT)))
                asked = False
            elif asked:
                return
            else:
                link.wire.send(pack(b"PING"), time.monotonic() + _CONNECT_TIMEOUT)
                asked = True

    def _is_stirred(self, patience: float, link: Link | None = None) -> bool:
        """Wait; whether the wait was cut short, by the end or by something to hear."""
        poll = select.poll()
        poll.register(self._stirred, select.POLLIN)
        if link is not None:
            poll.register(link.wire.fileno(), select.POLLIN)
        return bool(poll.poll(patience * 1000))

    def _wake(self, keys: Collection[bytes] | None) -> None:
        """Wake those who watch one of ``keys``; ``None``: everybody."""
        with self._lock:
            groups: Iterable[Iterable[_Watch]] = (
                self._by_key.values() if keys is None else [self._by_key.get(key, ()) for key in keys]
            )
            waiting = {watch for group in groups for watch in group}
        # Outside of the lock: a wake may stop its own watch, or add one.
        for watch in waiting:
            if watch.is_stopped:
                continue
            # Protects the other watchers from a wake that raises, which it has promised not to.
            with contextlib.suppress(Exception):
                watch.wake()


def _changed(reply: Reply) -> Collection[bytes]:
    """The registers that a message names; none if it is no message."""
    match reply:
        case [b"message", _, bytes(names)]:
            return names.split(b"\n")
        case _:
            return ()
