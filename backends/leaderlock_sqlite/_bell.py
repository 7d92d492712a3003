"""Wake-ups: a bell file beside the database, and under it a look at the database now and then.

Who has committed opens the bell file for writing and closes it again. Nothing is written into it: the closing alone
is an event of inotify, costs no disk traffic, and leaves nothing to go stale. It is rung after the commit, since
events of the database's own files come before a commit can be seen. A bell that is lost (deleted, not permitted, no
inotify) only costs time, because the watcher looks by itself several times a second anyway.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from leaderlock.backend import View
from leaderlock.errors import LeaderLockError
from leaderlock.watching import Ending, Listener, Waker

__all__ = ["Bell", "Changes", "Watcher", "has_inotify"]

# A look costs about a hundred microseconds of processor time, most of it for waking up; so where there is a bell to
# hear, they are as rare as keeps an idle watcher under a thousandth of a core.
_LOOK_EVERY: Final = 0.25
_LOOK_EVERY_WHEN_DEAF: Final = 0.1
_LOOK_TIMEOUT: Final = 0.5

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
    shown: View | None = None
    """What those keys hold, unless they are many."""


class Look(Protocol):
    """Asks the database what has changed since a stamp; no memory: none was seen yet."""

    def __call__(self, stamp: int, memory: str, *, timeout: float) -> Changes: ...


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
            bell = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC | os.O_CREAT, mode)
            # Whatever our umask is. Where another user was faster, the rights are his to give.
            with contextlib.suppress(OSError):
                os.fchmod(bell, mode)
            return bell


class Watcher(Listener[str]):
    """Waits for the bell, and looks what has changed."""

    def __init__(self, bell: Bell, look: Look, since: int) -> None:
        self._bell = bell
        self._look = look
        self._stamp = since
        self._memory = ""
        self._listening = False
        self._was_blind = False
        self._inotify = -1
        self._ending = Ending()

    def listen(self, wake: Waker[str]) -> None:
        self._inotify = _new_inotify()
        try:
            while not self._ending.is_set:
                self._wait()
                if not self._ending.is_set:
                    wake(*self._news())
        finally:
            self._ending.close()
            if self._inotify >= 0:
                os.close(self._inotify)

    def end(self) -> None:
        self._ending.set()

    def _wait(self) -> None:
        """Until the bell is rung, the time for a look of our own has come, or the watcher is ended."""
        patience = _LOOK_EVERY if self._listening else _LOOK_EVERY_WHEN_DEAF
        if self._inotify >= 0 and not self._listening:
            self._listening = self._bell.listen(self._inotify)
            # What was rung before we listened is not told again: look at once.
            patience = 0 if self._listening else patience
        if self._ending.wait(patience, *([self._inotify] if self._inotify >= 0 else [])):
            self._drain()

    def _drain(self) -> None:
        # As many as there are; those that come meanwhile, or do not fit, wake the next wait at once.
        try:
            events = os.read(self._inotify, 4096)
        except BlockingIOError:
            return
        # Events of a file without a name are 16 bytes: watch, mask, cookie, length.
        for at in range(0, len(events), 16):
            # Anything but a ring says that the path may lead to another file now, or to none.
            if int.from_bytes(events[at + 4 : at + 8], sys.byteorder) != _IN_CLOSE_WRITE:
                self._listening = False

    def _news(self) -> tuple[Collection[str] | None, View | None]:
        try:
            found = self._look(self._stamp, self._memory, timeout=_LOOK_TIMEOUT)
        except (LeaderLockError, OSError):
            # The watchers will learn more from their own next call than we could tell them: say so once.
            was_blind, self._was_blind = self._was_blind, True
            return () if was_blind else None, None
        self._was_blind = False
        self._stamp, self._memory = found.stamp, found.memory
        return found.keys, found.shown


def _new_inotify() -> int:
    if not has_inotify():
        return -1
    descriptor: int = ctypes.CDLL(None).inotify_init1(_IN_FLAGS)
    return descriptor
