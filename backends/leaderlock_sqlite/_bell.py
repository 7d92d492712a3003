"""Wake-ups: a bell file beside the database, and under it a look at the database now and then.

Who has committed opens the bell file for writing and closes it again. Nothing is written into it: the closing alone
is an event of inotify, costs no disk traffic, and leaves nothing to go stale. It is rung after the commit, since
events of the database's own files come before a commit can be seen. A bell that is lost (deleted, not permitted, no
inotify) only costs time, because the watcher looks by itself several times a second anyway.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import select
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from leaderlock._thread import OwnThread
from leaderlock.errors import LeaderLockError

__all__ = ["Bell", "Changes", "Watcher", "has_inotify"]

# A look costs about a hundred microseconds of processor time, most of it for waking up; so where there is a bell to
# hear, they are as rare as keeps an idle watcher under a thousandth of a core.
_LOOK_EVERY: Final = 0.25
_LOOK_EVERY_WHEN_DEAF: Final = 0.1
_LOOK_TIMEOUT: Final = 0.5
_END_PATIENCE: Final = 1.0

_IN_ATTRIB: Final = 0x004
_IN_CLOSE_WRITE: Final = 0x008
_IN_DELETE_SELF: Final = 0x400
_IN_MOVE_SELF: Final = 0x800
_IN_FLAGS: Final = os.O_NONBLOCK | os.O_CLOEXEC


class Changes(NamedTuple):
    """What a look at the database found: up to which stamp, in which memory, and what changed; ``None``: anything."""

    stamp: int
    memory: str
    keys: Collection[str] | None


class Look(Protocol):
    """Asks the database what has changed since a stamp; no memory: none was seen yet."""

    def __call__(self, stamp: int, memory: str, *, timeout: float) -> Changes: ...


class _Watch:
    """One caller's wish to be woken; compared by identity."""

    __slots__ = ("is_stopped", "keys", "wake")

    def __init__(self, keys: frozenset[str], wake: Callable[[], None]) -> None:
        self.keys = keys
        self.wake = wake
        self.is_stopped = False


def has_inotify() -> bool:
    """Whether this system has inotify."""
    try:
        libc = ctypes.CDLL(None)
    except OSError:
        return False
    return hasattr(libc, "inotify_init1")


class Bell:
    """The bell file of one database."""

    def __init__(self, database: Path) -> None:
        # Beside the file itself, as SQLite's own -wal and -shm are, not beside a symbolic link to it.
        self._database = os.path.realpath(database)
        self._path = self._database + "-bell"

    def ring(self) -> None:
        """Wake the watchers of all processes. Never raises: a lost bell costs them a moment."""
        with contextlib.suppress(OSError):
            os.close(self._open())

    def listen(self, inotify: int) -> bool:
        """Have ``inotify`` report the next ring; creates the bell file where there is none."""
        self.ring()
        wanted = _IN_CLOSE_WRITE | _IN_ATTRIB | _IN_DELETE_SELF | _IN_MOVE_SELF
        watch: int = ctypes.CDLL(None).inotify_add_watch(inotify, os.fsencode(self._path), wanted)
        return watch >= 0

    def _open(self) -> int:
        try:
            return os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            # Whoever may write the database may ring for it.
            mode = os.stat(self._database).st_mode & 0o777
            return os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT, mode)


class Watcher:
    """The one thread that waits for the bell and wakes those whose keys have changed.

    It lives from the first watch to the end of the last; a later watch starts another.
    """

    def __init__(self, bell: Bell, look: Look, since: int) -> None:
        self._bell = bell
        self._look = look
        self._stamp = since
        self._memory = ""
        self._lock = threading.Lock()
        self._by_key: dict[str, set[_Watch]] = {}
        self._count = 0
        self._has_ended = False
        self._listening = False
        self._was_blind = False
        self._pid = os.getpid()
        self._inotify = _new_inotify()
        self._stirred, self._stir = os.pipe()
        self._thread = OwnThread("sqlite-watch", self._run)
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

    def add(self, keys: frozenset[str], wake: Callable[[], None]) -> Callable[[], None] | None:
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
        try:
            while not self._has_ended:
                self._wait()
                if not self._has_ended:
                    self._wake(self._news())
        finally:
            with self._lock:
                self._has_ended = True
                for descriptor in (self._inotify, self._stirred, self._stir):
                    if descriptor >= 0:
                        os.close(descriptor)

    def _wait(self) -> None:
        """Until the bell is rung, the time for a look of our own has come, or the watcher is ended."""
        patience = _LOOK_EVERY if self._listening else _LOOK_EVERY_WHEN_DEAF
        if self._inotify >= 0 and not self._listening:
            self._listening = self._bell.listen(self._inotify)
            # What was rung before we listened is not told again: look at once.
            patience = 0 if self._listening else patience
        poll = select.poll()
        poll.register(self._stirred, select.POLLIN)
        if self._inotify >= 0:
            poll.register(self._inotify, select.POLLIN)
        if any(descriptor == self._inotify for descriptor, _ in poll.poll(patience * 1000)):
            self._drain()

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            # Events of a file without a name are 16 bytes: watch, mask, cookie, length.
            while events := os.read(self._inotify, 4096):
                masks = (int.from_bytes(events[at + 4 : at + 8], sys.byteorder) for at in range(0, len(events), 16))
                # Anything but a ring says that the path may lead to another file now, or to none.
                if any(mask != _IN_CLOSE_WRITE for mask in masks):
                    self._listening = False

    def _news(self) -> Collection[str] | None:
        try:
            found = self._look(self._stamp, self._memory, timeout=_LOOK_TIMEOUT)
        except (LeaderLockError, OSError):
            # The watchers will learn more from their own next call than we could tell them: say so once.
            was_blind, self._was_blind = self._was_blind, True
            return () if was_blind else None
        self._was_blind = False
        self._stamp, self._memory, keys = found
        return keys

    def _wake(self, keys: Collection[str] | None) -> None:
        if keys is not None and not keys:
            return
        with self._lock:
            groups = self._by_key.values() if keys is None else (self._by_key.get(key, ()) for key in keys)
            waiting = {watch for group in groups for watch in group}
        # Outside of the lock: a wake may stop its own watch, or add one.
        for watch in waiting:
            if watch.is_stopped:
                continue
            # Protects the other watchers from a wake that raises, which it has promised not to.
            with contextlib.suppress(Exception):
                watch.wake()


def _new_inotify() -> int:
    if not has_inotify():
        return -1
    descriptor: int = ctypes.CDLL(None).inotify_init1(_IN_FLAGS)
    return descriptor
