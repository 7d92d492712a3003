"""Connections, lent to one thread at a time, and what becomes of them at a fork.

A process that was forked while SQLite had a file open can never use that file safely again: SQLite believes that it
still holds the locks, and the child has none of them. So every connection is closed *before* a fork, and opened
again when it is next needed. One that is in use and does not come back in time is leaked into the child, never
closed there, and the child may not open that file.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final

from leaderlock.backend import signal_safe
from leaderlock.errors import BackendUnavailable, OutcomeUnknown, UsageError
from leaderlock_sqlite._errors import error_before_commit, says_unsynced
from leaderlock_sqlite._file import Connection, open_connection

__all__ = ["Pool"]

_MOST_IDLE: Final = 4
_FORK_PATIENCE: Final = 1.0

# What must be known to the whole process, as a fork is of the whole process. No WeakSet: to look through one fails
# where another thread opens a backend just then, and a pool that was not told of a fork's end lends nothing any more.
_pools: Final[set[weakref.ref[Pool]]] = set()
_leaked: Final[list[Connection]] = []


class Pool:
    """Lends connections to one file. Nobody waits for one: where none is idle, another is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Taken by ``with`` and by nothing else: Ctrl-C cannot come in between there, as it can in a Condition's own.
        self._lock = signal_safe(threading.Lock())
        self._changed = threading.Condition(self._lock)
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._lent = 0
        self._forks = 0
        self._gone = ""
        _pools.add(weakref.ref(self, _pools.discard))

    def check(self) -> None:
        """Raise ``UsageError`` after :meth:`close`, and in a forked child."""
        if self._gone:
            raise UsageError(f"{self.path}: {self._gone}")

    def use(self, deadline: float) -> Lent:
        """A connection for the length of a ``with``. An exception that leaves it ends the connection, too, but for one:
        that a commit was not synced."""
        return Lent(self, deadline)

    def close(self) -> None:
        """Close what is idle now, and what is in use as soon as it is given back. May be called twice."""
        if self._gone and not self._idle:
            return  # in a forked child, too, where nobody may ever free the lock
        with self._lock:
            self._gone = "the backend is closed; open another"
            while self._idle:
                self._idle.pop().raw.close()

    def take(self, deadline: float) -> Connection:
        """A connection that is open on what the path means now."""
        while True:
            # Before the lock too: in a forked child, a thread that no longer exists may hold it.
            self.check()
            with self._lock:
                if self._forks and not self._changed.wait_for(self._is_calm, max(0.0, deadline - time.monotonic())):
                    raise BackendUnavailable(f"{self.path}: the process was forking for longer than the time-out")
                self.check()
                self._lent += 1
                connection = self._idle.pop() if self._idle else None
                if connection is not None:
                    self._used.add(connection)
            if connection is None:
                return self._open(deadline)
            if connection.is_on_its_path():
                return connection
            self.give_back(connection, keep=False)

    def give_back(self, connection: Connection, *, keep: bool) -> None:
        """End a loan; a connection that is not fit to be lent again is closed, and with that rolled back.

        May be called again with ``keep=False``, where something came in between.
        """
        with self._lock:
            keep = keep and not self._gone and not self._forks and len(self._idle) < _MOST_IDLE
            if keep:
                self._idle.append(connection)
            else:
                connection.raw.close()
                if connection in self._idle:
                    self._idle.remove(connection)
            if connection in self._used:
                self._used.discard(connection)
                self._return_loan()

    def _open(self, deadline: float) -> Connection:
        try:
            _check_not_inherited(self.path)
            connection = open_connection(self.path, deadline)
            self._used.add(connection)
        except BaseException:
            with self._lock:
                self._return_loan()
            raise
        return connection

    def _return_loan(self) -> None:
        self._lent -= 1
        if self._forks:
            self._changed.notify_all()

    def _is_calm(self) -> bool:
        return not self._forks

    def before_fork(self) -> None:
        """Close every connection, waiting a moment for those in use."""
        with self._lock:
            self._forks += 1
            self._changed.wait_for(lambda: not self._lent, _FORK_PATIENCE)
            while self._idle:
                self._idle.pop().raw.close()

    def after_fork_in_parent(self) -> None:
        """Let connections be opened again."""
        with self._lock:
            # A pool that was made between the two calls has not counted the first.
            self._forks = max(0, self._forks - 1)
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Be of no use in the child, and see that nothing inherited is ever closed there."""
        # No lock: a thread that no longer exists may hold it.
        self._gone = "the process was forked after this backend was opened; open another in the child"
        _leaked.extend((*self._used, *self._idle))
        self._used, self._idle = set(), []


class Lent:
    """One loan. A class and not a generator, since every call to the store passes through it."""

    __slots__ = ("_connection", "_deadline", "_pool")

    def __init__(self, pool: Pool, deadline: float) -> None:
        self._pool = pool
        self._deadline = deadline
        self._connection: Connection | None = None

    def __enter__(self) -> Connection:
        try:
            self._connection = self._pool.take(self._deadline)
        except sqlite3.Error as error:
            raise error_before_commit(error, self._pool.path) from error
        except OSError as error:
            # The file was there a moment ago. What stays so, is refused with words when it is opened the next time.
            raise BackendUnavailable(
                f"{self._pool.path}: the file could not be looked at while it was opened ({error.strerror})"
            ) from error
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._connection is not None:
            # Ended also on an interrupt between sending and reading: what was under way must never be met again. Kept,
            # though, after a commit that was not synced and that SQLite rolled back: were this the last connection, the
            # next one would read the log anew, and show as committed what the disk has just said that it did not keep.
            try:
                was_unsynced = isinstance(error, OutcomeUnknown) and says_unsynced(error.__cause__)
                self._pool.give_back(
                    self._connection, keep=error is None or (was_unsynced and not self._connection.raw.in_transaction)
                )
            except BaseException:
                # No memory, or Ctrl-C again: a transaction left open here would keep every process from writing.
                self._connection.raw.close()
                self._pool.give_back(self._connection, keep=False)
                raise
        if isinstance(error, sqlite3.Error):
            raise error_before_commit(error, self._pool.path) from error


def _check_not_inherited(path: Path) -> None:
    with contextlib.suppress(OSError):
        found = os.stat(path)
        if any(leaked.node == (found.st_dev, found.st_ino) for leaked in _leaked):
            raise UsageError(
                f"{path}: this process was forked while a transaction on this file was under way, and cannot use it any"
                " more; fork at a quiet moment, or start a new program instead"
            )


def _each_pool(action: Callable[[Pool], None]) -> Callable[[], None]:
    def run() -> None:
        # A copy, which is one step of C with the GIL and without.
        for pool in [pool for one in _pools.copy() if (pool := one()) is not None]:
            action(pool)

    return run


# Called for forks only, not where a fork is followed by exec at once, as in subprocess.
os.register_at_fork(
    before=_each_pool(Pool.before_fork),
    after_in_parent=_each_pool(Pool.after_fork_in_parent),
    after_in_child=_each_pool(Pool.after_fork_in_child),
)
