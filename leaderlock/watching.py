"""For drivers that watch: who wants to be woken by which key, and the one thread that finds out.

A driver writes a :class:`Listener`, which hears of changes the way its store tells them, and answers
:meth:`leaderlock.backend.Backend.watch` with :meth:`Watches.add`. The rest is the same for all of them, and is here:
the thread lives from the first watch to the end of the last, a wake that raises or stops its own watch harms nobody,
and nothing is left behind by a close, a fork, or Ctrl-C in the middle of a start.

A store whose client library listens by itself needs no thread, and may use :class:`Watch` and :func:`wake_all` alone.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, Final, Generic, Protocol, TypeVar

from leaderlock._locks import signal_safe
from leaderlock._thread import OwnThread
from leaderlock.backend import View, Wake

__all__ = ["Ending", "Listener", "Waker", "Watch", "Watches", "wake_all"]

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


class Waker(Protocol[K_contra]):
    """Wakes those who watch one of the keys; ``None``: everybody, since anything may have changed.

    ``shown``: what they changed to, where that is known (see :meth:`leaderlock.backend.Backend.watch`).
    """

    def __call__(self, keys: Collection[K_contra] | None, shown: View | None = None, /) -> None: ...


_END_PATIENCE: Final = 3.0


class Watch(Generic[K]):
    """One caller's wish to be woken; compared by identity."""

    __slots__ = ("is_stopped", "keys", "wake")

    def __init__(self, keys: Collection[K], wake: Wake) -> None:
        self.keys = frozenset(keys)
        self.wake = wake
        self.is_stopped = False


def wake_all(watches: Iterable[Watch[Any]], shown: View | None = None) -> None:
    """Wake each that is not stopped. Hold no lock meanwhile: a wake may stop its own watch, or add one."""
    for watch in watches:
        if not watch.is_stopped:
            # Protects the other watches from a wake that raises, which it has promised not to.
            with contextlib.suppress(Exception):
                watch.wake(shown)


class Ending:
    """Ends a listener that waits for file descriptors, from any thread."""

    def __init__(self) -> None:
        self.is_set = False
        self._lock = signal_safe(threading.Lock())
        self._heard = self._said = -1
        self._heard, self._said = os.pipe()

    def set(self) -> None:
        """Have every wait, also those to come, return at once. May be called twice, and after :meth:`close`."""
        with self._lock:
            self.is_set = True  # first: Ctrl-C behind it costs the listener a wait, and before it all of its peace
            if self._said >= 0:
                os.write(self._said, b"\0")

    def wait(self, seconds: float, *descriptors: int) -> list[int]:
        """Those of ``descriptors`` that can be read; waits for one, the end, or ``seconds`` to pass."""
        poll = select.poll()
        for descriptor in (self._heard, *descriptors):
            poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll(seconds * 1000) if descriptor != self._heard]

    def close(self) -> None:
        """Give the pipe back; for the thread that waits, when it waits no more."""
        with self._lock:
            self._close()

    def __del__(self) -> None:
        # Of a listener whose thread could not be started. Without the lock, which a fork may have left held.
        self._close()

    def _close(self) -> None:
        for descriptor in {self._heard, self._said} - {-1}:
            os.close(descriptor)
        self._heard = self._said = -1


class Listener(ABC, Generic[K]):
    """What a driver writes: how it hears of changes."""

    @abstractmethod
    def listen(self, wake: Waker[K]) -> None:
        """Run on a thread of its own until :meth:`end`; call ``wake`` with what may have changed.

        ``wake`` takes no time to speak of, and never raises. Call it with ``None`` once whenever listening has begun,
        for what was missed. An error of the store is no reason to return: wait a moment, and try again.
        """

    @abstractmethod
    def end(self) -> None:
        """Have :meth:`listen` return soon. Called from any thread, also before it and after it; must not block."""


class Watches(Generic[K]):
    """All watches of one backend, and the thread on which a listener of theirs runs.

    Args:
        name: the thread's name, after ``leaderlock-``.
        make: makes a listener; takes no time, as it is called under a lock.
        check: raises where the backend takes no calls: closed, or in a forked child.
        until_closed: keep the listener when nobody watches for a while, because another would be dear.
    """

    def __init__(
        self, name: str, make: Callable[[], Listener[K]], *, check: Callable[[], None], until_closed: bool = False
    ) -> None:
        self._name = name
        self._make = make
        self._check = check
        self._until_closed = until_closed
        self._lock = signal_safe(threading.Lock())
        self._watches: set[Watch[K]] = set()
        self._by_key: dict[K, set[Watch[K]]] = {}
        self._listener: Listener[K] | None = None
        self._thread: OwnThread | None = None
        self._pid = os.getpid()

    def add(self, keys: Collection[K], wake: Wake) -> Callable[[], None]:
        """Wake ``wake`` on a change of ``keys``; returns what stops that. Raises what ``check`` raises."""
        # Before the lock: in a forked child, a thread that no longer exists may hold it.
        self._check()
        watch = Watch(keys, wake)
        with self._lock:
            # Again, under it: a close that comes now finds this watch and its listener.
            self._check()
            if self._listener is None:
                self._begin()
            self._watches.add(watch)
            for key in watch.keys:
                self._by_key.setdefault(key, set()).add(watch)
        return functools.partial(self._remove, watch)

    def close(self) -> None:
        """End the listener, and wait a moment for its thread unless it is the caller's own. Wakes nobody any more.

        ``check`` must raise from before this on. May be called twice; does nothing in a forked child.
        """
        if os.getpid() != self._pid:
            return
        with self._lock:
            for watch in self._watches:
                watch.is_stopped = True
            self._watches.clear()
            self._by_key.clear()
            self._end()
            thread = self._thread
        if thread is not None:
            thread.join(_END_PATIENCE)

    def _remove(self, watch: Watch[K]) -> None:
        # In a forked child there is no thread to end, only a lock that nobody may ever free.
        if os.getpid() != self._pid:
            return
        with self._lock:
            if watch.is_stopped:
                return
            watch.is_stopped = True
            self._watches.discard(watch)
            for key in watch.keys:
                waiting = self._by_key[key]
                waiting.discard(watch)
                if not waiting:
                    del self._by_key[key]
            if not self._watches and not self._until_closed:
                self._end()

    def _begin(self) -> None:
        listener = self._listener = self._make()
        self._thread = OwnThread(self._name, functools.partial(self._run, listener))
        try:
            self._thread.start()
        except BaseException:
            # Ctrl-C meanwhile: it may be running already, and there is no watch whose end would end it.
            self._end()
            raise

    def _end(self) -> None:
        if self._listener is not None:
            self._listener.end()  # first: interrupted here, it can be found and ended again
            self._listener = None

    def _run(self, listener: Listener[K]) -> None:
        try:
            listener.listen(self._wake)
        finally:
            with self._lock:
                if self._listener is listener:
                    self._listener = None

    def _wake(self, keys: Collection[K] | None, shown: View | None = None, /) -> None:
        with self._lock:
            if keys is None:
                waiting = set(self._watches)
            else:
                waiting = {watch for key in keys for watch in self._by_key.get(key, ())}
        wake_all(waiting, shown)
