"""What SQLite's errors mean to a caller, and what to do about each."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from leaderlock.errors import BackendError, BackendRefused, BackendUnavailable, OutcomeUnknown

__all__ = ["error_at_commit", "error_before_commit", "says_unsynced", "says_wait"]

_REFUSALS: Final[Mapping[int, str]] = {
    sqlite3.SQLITE_CORRUPT: "the file is damaged; stop its users, move it and its -wal and -shm away, and start again",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database, or is damaged; name another, or move it away",
    sqlite3.SQLITE_READONLY: "the file, its directory or its file system is read-only for this user; make it writable",
    sqlite3.SQLITE_PERM: "this user may not use the file; grant read and write on it and on its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; look at the rights on it, on its directory and on its -wal and -shm,"
    " and at the limit of open files",
    sqlite3.SQLITE_FULL: "the disk, or the quota on it, is full; nothing was written; make room",
    sqlite3.SQLITE_IOERR: "the disk failed, and nothing was written; look at the kernel's log",
    sqlite3.SQLITE_NOLFS: "the file has grown beyond what its file system allows; move it to another",
    sqlite3.SQLITE_ERROR: "its tables are not as this version made them; move the file away, or name another",
}
"""Primary result codes of a store that will say no again, until somebody mends it."""

_WAITING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


def says_wait(error: sqlite3.Error) -> bool:
    """Whether somebody else held a lock, and it may help to ask again."""
    return _primary(error) in _WAITING


def says_unsynced(error: BaseException | None) -> bool:
    """Whether all was written, and the disk then said that it did not keep it."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_FSYNC


def error_before_commit(error: sqlite3.Error, path: Path) -> BackendError:
    """What an error means while no COMMIT was sent: nothing was applied, whatever it says."""
    code = _primary(error)
    if says_wait(error):
        return BackendUnavailable(f"{path}: another process held the lock for longer than the time-out ({error})")
    if code in _REFUSALS:
        return BackendRefused(f"{path}: {_REFUSALS[code]} ({error})")
    return BackendUnavailable(f"{path}: sqlite failed before anything was written ({error})")


def error_at_commit(error: sqlite3.Error, path: Path) -> BackendError:
    """What an error of COMMIT itself means: in doubt, unknown."""
    # A full disk is certain: SQLite ran out of room while appending to the log, at the frame that makes the
    # transaction count or before it, and a torn frame is never replayed. A failed fsync is not: the frame may be
    # whole, and the next process to recover the log would find it.
    if _primary(error) in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY):
        return error_before_commit(error, path)
    return OutcomeUnknown(f"{path}: the commit failed half-way and may still come to count ({error}); read it again")


def _primary(error: sqlite3.Error) -> int:
    # The low byte is the primary code. An error of the module itself, not of the library, carries no code at all.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
