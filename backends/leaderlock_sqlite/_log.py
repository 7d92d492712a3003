"""The write-ahead log: whether a commit waits until the disk has it, and what follows when the disk has failed to.

A commit that did not wait (ADR 0023) is seen by every process at once, and reaches the disk with the next one that
waits, or by itself a little later. Until then it is the end of the log, and a power cut may take it back.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

from leaderlock.errors import BackendUnavailable
from leaderlock_sqlite._errors import error_at_commit, says_unsynced
from leaderlock_sqlite._file import Connection

__all__ = ["Log"]

_EMPTY: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
_PAUSE: Final = 0.001


class Log:
    """The log of one file, as this process knows it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_doubtful = False

    def prepare(self, connection: Connection, deadline: float, *, durable: bool) -> None:
        """Before a transaction that writes begins. ``durable``: its commit is to wait for the disk."""
        # A sync that failed may have failed for an earlier commit, which did not wait for it. Everybody sees that one
        # until the power goes; and whatever stands behind it in the log goes with it then. So nothing is put there.
        if self._is_doubtful:
            self._empty(connection.raw, deadline)
        connection.sync(durable)

    def commit(self, connection: Connection) -> None:
        """Raises ``OutcomeUnknown``, or what says that nothing was written."""
        try:
            connection.raw.execute("COMMIT")
        except sqlite3.Error as error:
            self._is_doubtful |= says_unsynced(error)
            raise error_at_commit(error, self._path) from error

    def _empty(self, raw: sqlite3.Connection, deadline: float) -> None:
        """Bring what counts of it into the database itself."""
        why = None
        try:
            while (is_busy := raw.execute(_EMPTY).fetchone()[0]) and time.monotonic() < deadline:
                time.sleep(_PAUSE)
        except sqlite3.Error as error:
            is_busy, why = True, error
        if is_busy:
            raise BackendUnavailable(
                f"{self._path}: the disk failed to keep the end of the log, and the log could not be emptied since"
                f" ({why or 'another program holds the file'}); nothing was written"
            ) from why
        self._is_doubtful = False
