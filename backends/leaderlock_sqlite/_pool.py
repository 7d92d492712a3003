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
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from leaderlock.errors import BackendUnavailable, UsageError
from leaderlock_sqlite._errors import error_before_commit
from leaderlock_sqlite._file import Connection, open_connection

__all__ = ["Pool"]

_MOST_IDLE: Final = 4
_FORK_PATIENCE: Final = 1.0

# What must be known to the whole process, as a fork is of the whole process.
_pools: Final[weakref.WeakSet[Pool]] = weakref.WeakSet()
_leaked: Final[list[Connection]] = []


class Pool:
    """Lends connections to one file. Nobody waits for one: where none is idle, another is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._lent = 0
        self._forks = 0
        self._gone = ""
        _pools.add(self)

    def check(self) -> None:
        """Raise ``UsageError`` after :meth:`close`, and in a forked child."""
        if self._gone:
            raise UsageError(f"{self._path}: {self._gone}")

    @contextlib.contextmanager
    def use(self, deadline: float) -> Generator[Connection]:
        """A connection for the length of the ``with``. Any exception that leaves it ends the connection, too."""
        try:
            connection = self._take(deadline)
        except sqlite3.Error as error:
            raise error_before_commit(error, self._path) from error
        try:
            connection.wait_until(deadline)
            yield connection
        except BaseException as error:
            # Also on an interrupt between sending and reading: closing rolls back whatever was under way.
            self._give_back(connection, keep=False)
            if isinstance(error, sqlite3.Error):
                raise error_before_commit(error, self._path) from error
            raise
        self._give_back(connection, keep=True)

    def close(self) -> None:
        """Close what is idle now, and what is in use as soon as it is given back."""
        if self._gone:
            return
        with self._changed:
            self._gone = "the backend is closed; open another"
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.raw.close()

    def _take(self, deadline: float) -> Connection:
        while True:
            with self._changed:
                self.check()
                if not self._changed.wait_for(lambda: not self._forks, max(0.0, deadline - time.monotonic())):
                    raise BackendUnavailable(f"{self._path}: the process was forking for longer than the time-out")
                self.check()
                self._lent += 1
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._open(deadline)
            self._used.add(connection)
            if connection.is_on_its_path():
                return connection
            self._give_back(connection, keep=False)

    def _open(self, deadline: float) -> Connection:
        try:
            connection = open_connection(self._path, deadline)
        except BaseException:
            with self._changed:
                self._lent -= 1
                self._changed.notify_all()
            raise
        self._used.add(connection)
        return connection

    def _give_back(self, connection: Connection, *, keep: bool) -> None:
        keep = keep and not connection.raw.in_transaction
        if not keep:
            connection.raw.close()
        with self._changed:
            self._used.discard(connection)
            if keep and not self._gone and not self._forks and len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
            elif keep:
                connection.raw.close()
            self._lent -= 1
            self._changed.notify_all()

    def before_fork(self) -> None:
        """Close every connection, waiting a moment for those in use."""
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._lent, _FORK_PATIENCE)
            while self._idle:
                self._idle.pop().raw.close()

    def after_fork_in_parent(self) -> None:
        """Let connections be opened again."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Be of no use in the child, and see that nothing inherited is ever closed there."""
        # No lock: a thread that no longer exists may hold it.
        self._gone = "the process was forked after this backend was opened; open another in the child"
        _leaked.extend(self._used)
        self._used = set()


def _each_pool(action: Callable[[Pool], None]) -> Callable[[], None]:
    def run() -> None:
        for pool in list(_pools):
            action(pool)

    return run


# Called for forks only, not where a fork is followed by exec at once, as in subprocess.
os.register_at_fork(
    before=_each_pool(Pool.before_fork),
    after_in_parent=_each_pool(Pool.after_fork_in_parent),
    after_in_child=_each_pool(Pool.after_fork_in_child),
)
