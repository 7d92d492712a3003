"""Locks that nobody is left holding: by a signal's handler that raises, with which 3.14 needs help, or by a fork."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

__all__ = ["LateLock", "SignalSafe", "signal_safe"]

L = TypeVar("L")

HAS_GAP: Final = sys.version_info[:2] == (3, 14)
"""Whether a signal may be handled between a lock's ``__enter__`` and the block behind it (python/cpython#148874)."""


class SignalSafe:
    """The given lock, whose ``with`` leaves it free also when it is interrupted.

    Up to 3.13 no signal is handled between a lock's ``__enter__`` and the block; 3.14 handles them there, as after
    every call of C, and whoever is interrupted keeps the lock for ever; 3.15 is cured. No signal is handled where a
    function written in Python returns, nor after an assignment that unpacks: so this one is, and takes the lock thus.
    Its ``__exit__`` is the lock's own, for one written in Python could be interrupted before it has begun.
    """

    __slots__ = ("__exit__", "_acquire", "_lock")

    _acquire: Callable[[bool], bool]
    __exit__: Callable[..., None]

    def __init__(self, lock: Any) -> None:
        self._lock, self._acquire, self.__exit__ = lock, lock.acquire, lock.__exit__

    def __enter__(self) -> bool:
        [is_acquired] = map(self._acquire, (True,))
        return is_acquired

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lock, name)


def signal_safe(lock: L) -> L:
    """Return a lock to use in place of this ``threading.Lock`` or ``RLock``, which no ``with`` leaves held where a
    signal's handler raises in the main thread.

    Only Python 3.14 needs it; under any other it is the very lock. A ``threading.Condition`` can be made of it, whose
    block is entered by the lock. Not promised: anything about ``acquire`` and ``release`` that are called by hand.
    """
    return cast(L, SignalSafe(lock)) if HAS_GAP else lock


class LateLock:
    """A lock that each process makes when it first needs it.

    One that was made before a fork may be held for ever, by a thread that did not come along. One that was made before
    gevent's patches, which gunicorn's workers do after ``--preload``, stops all greenlets where one has to wait for it.
    """

    def __init__(self) -> None:
        self._by_process: dict[int, threading.Lock] = {}

    def here(self) -> threading.Lock:
        """This process's own."""
        return self._by_process.setdefault(os.getpid(), signal_safe(threading.Lock()))
