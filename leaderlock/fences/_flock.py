"""Locks among the processes and threads of a host, which end with their holder, however that ends.

A lock belongs to the open file, so each who wants it opens the file anew, and threads exclude each other just as
processes do. What is forked while a lock is held has it too, until its owner calls :func:`release`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from io import FileIO
from typing import Final

from leaderlock.fences._files import sync
from leaderlock.fences._token import FenceBusy

__all__ = [
    "LOCK_EX",
    "LOCK_SH",
    "Lock",
    "checked_timeout",
    "is_held",
    "locking",
    "mark",
    "pauses",
    "release",
    "remove",
]

LOCK_EX: Final = fcntl.LOCK_EX
LOCK_SH: Final = fcntl.LOCK_SH

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


def locking(
    path: str, how: int, *, until: float, busy: str, longest: float = _LONGEST_PAUSE
) -> Generator[float, None, Lock]:
    """Lock the file, and return it; it is made if it is not there. To be taken by :mod:`leaderlock.fences._waiting`.

    ``longest``: seconds between two looks at a lock that is held.
    """
    waits = pauses(until, busy=busy, longest=longest)
    while True:
        file = Lock(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666))
        with contextlib.ExitStack() as otherwise:
            otherwise.callback(file.close)
            while not _took(file, how):
                yield next(waits)
            if _is_current(file, path):
                otherwise.pop_all()
                return file


def pauses(until: float, *, busy: str, longest: float = _LONGEST_PAUSE) -> Generator[float]:
    """How many seconds to wait before each look at what is held; raises ``FenceBusy(busy)`` when the time is over."""
    pause = _FIRST_PAUSE
    while (left := until - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 2, longest)
    raise FenceBusy(busy)


class Lock(FileIO):
    """A file that is locked, and by which process."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.owner = os.getpid()


def release(lock: Lock) -> None:
    """End the lock; in a child that was forked meanwhile only this copy, as the work that it protects may go on."""
    try:
        if lock.owner == os.getpid():
            fcntl.flock(lock.fileno(), fcntl.LOCK_UN)  # closing alone would leave it to such a child
    finally:
        lock.close()


def remove(path: str, *, held: Lock) -> None:
    """Delete the file that is locked, and end the lock. Who waited for it finds out by :func:`locking`'s last look."""
    try:
        with contextlib.suppress(FileNotFoundError):
            if _is_current(held, path):
                os.unlink(path)
    finally:
        release(held)  # an error that is kept keeps its traceback, and with that the lock


def is_held(path: str) -> bool:
    """Whether there is such a file, and somebody has locked it. One whose holder died is removed."""
    try:
        file = Lock(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return False
    if not _took(file, LOCK_EX):
        file.close()
        return True
    remove(path, held=file)
    return False


def mark(path: str) -> None:
    """Make a file that serves as a lock longer than nothing, for good."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        os.write(descriptor, b"stamped\n")
        sync(descriptor)
    finally:
        os.close(descriptor)


def checked_timeout(timeout: object) -> float:
    """``timeout``, if it is a number of seconds."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout is a number of seconds, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"timeout ({timeout:g} s) must be 0 or more")
    return timeout


def _took(file: FileIO, how: int) -> bool:
    try:
        fcntl.flock(file.fileno(), how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_current(file: FileIO, path: str) -> bool:
    """Whether others would lock the same file; not so if somebody tidied it away between opening and locking."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
