"""Opening the database file, and the reasons not to.

A file is used iff it is on a local file system, is empty or ours, is of a schema this version knows, and took the
settings asked for. Nothing is written to a file that is somebody else's.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from pathlib import Path
from typing import Final

from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock_sqlite._identity import file_id
from leaderlock_sqlite._mounts import network_file_system
from leaderlock_sqlite._tables import SCHEMA

__all__ = ["Connection", "check_place", "open_connection"]

_APPLICATION_ID: Final = 0x4C4C4B53
_SCHEMA_VERSION: Final = 1
_PATIENCE: Final = 3
"""Milliseconds. SQLite waits for a lock by sleeping, longer each time, up to 0.1 s: behind a process that writes
without a pause it may not come to its turn in a second. So it is to give up soon, and is asked anew."""
_OWNED: Final = (f"PRAGMA application_id = {_APPLICATION_ID}", f"PRAGMA user_version = {_SCHEMA_VERSION}")


class Connection:
    """One connection, and which file it is open on: the path may since have come to mean another."""

    __slots__ = ("file", "node", "path", "raw")

    def __init__(self, raw: sqlite3.Connection, path: str, node: tuple[int, int], file: str) -> None:
        self.raw = raw
        self.path = path
        self.node = node
        self.file = file

    def is_on_its_path(self) -> bool | None:
        """Whether the path still leads to the file that this connection has open; ``None`` where it cannot be told."""
        # Numbers of device and inode suffice here: while we hold the file open, its inode is not given away.
        try:
            found = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return None  # a directory that was shut, or a disk that fails: the file may well be there
        return (found.st_dev, found.st_ino) == self.node


def check_place(path: Path) -> None:
    """Refuse a path where no database can, or none should, be."""
    try:
        _check_path(path)
    except PermissionError as error:
        raise BackendRefused(
            f"{path}: this user may not look there; let it search the directories above, or name another path"
        ) from error
    except OSError as error:
        raise BackendRefused(f"{path}: this path leads nowhere ({error.strerror}); name another") from error
    kind = network_file_system(path)
    if kind is not None:
        raise BackendRefused(
            f"{path}: this is on a network or shared file system ({kind}), where hosts share the file but not its locks"
            " and its memory, so each could elect its own leader; use a local disk, or a networked store"
        )


def _check_path(path: Path) -> None:
    if not path.parent.is_dir():
        raise BackendRefused(f"{path}: there is no directory {path.parent}; create it, or name another path")
    try:
        # pathlib's own questions say of a path that leads in a circle that nothing is there.
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise BackendRefused(f"{path}: this is a directory; name a file in it")
    if not stat.S_ISREG(mode):
        raise BackendRefused(f"{path}: this is not an ordinary file; name another")


def open_connection(path: Path, deadline: float) -> Connection:
    """A connection with every setting made and verified. Creates the file and its tables where there are none."""
    check_place(path)
    while True:
        before = _node(path)
        left = max(0.0, deadline - time.monotonic())
        raw = sqlite3.connect(path, timeout=left, isolation_level=None, check_same_thread=False, cached_statements=64)
        try:
            connection = _prepared(raw, path, deadline)
        except BaseException:
            raw.close()
            raise
        # SQLite does not tell which file it opened: it is known where the path meant the same before and after. Where
        # there was none before, it was made by us or by somebody else, and the next round tells.
        if connection.node == before:
            return connection
        raw.close()
        if time.monotonic() >= deadline:
            if before is None:
                raise BackendUnavailable(
                    f"{path}: the file was made just now, and no time was left to use it; try again"
                )
            raise BackendUnavailable(f"{path}: the file is being replaced all the time; stop whatever does that")


def _node(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _prepared(raw: sqlite3.Connection, path: Path, deadline: float) -> Connection:
    # Looked at by path: the file is never opened by hand, as closing that descriptor would drop every lock that
    # SQLite holds on it in this process.
    found = os.stat(path)
    connection = Connection(raw, str(path), (found.st_dev, found.st_ino), file_id(path))
    if found.st_nlink > 1:
        raise BackendRefused(f"{path}: the file has several names (hard links), each with a log of its own; keep one")
    # In one transaction, so that tables which another process makes meanwhile are not taken for somebody else's.
    raw.execute("BEGIN")
    is_ours = _is_ours(raw, path)
    raw.execute("COMMIT")
    if not is_ours:
        _create(raw, path)
    _use_wal(raw, path, deadline)
    # FULL: NORMAL may lose acknowledged commits at a power cut, and with them tokens.
    raw.execute("PRAGMA synchronous = FULL")
    raw.execute("PRAGMA fullfsync = ON")
    raw.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
    return connection


def _is_ours(raw: sqlite3.Connection, path: Path) -> bool:
    """Whether the file has our tables; ``False`` where it is empty, and raises where it is somebody else's."""
    application = _pragma(raw, "application_id")
    version = _pragma(raw, "user_version")
    if application == _APPLICATION_ID and version == _SCHEMA_VERSION:
        return True
    if application == _APPLICATION_ID:
        raise BackendRefused(
            f"{path}: the file has schema {version} and this version knows {_SCHEMA_VERSION}; use one version of"
            " leaderlock on all programs that share the file, or name another file"
        )
    tables = raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != 0 or version != 0 or tables:
        raise BackendRefused(f"{path}: this is another application's database; it was left alone; name another file")
    return False


def _create(raw: sqlite3.Connection, path: Path) -> None:
    raw.execute("BEGIN IMMEDIATE")
    # Another process may have made it since we looked.
    if not _is_ours(raw, path):
        for statement in (*SCHEMA, *_OWNED):
            raw.execute(statement)
    raw.execute("COMMIT")


def _use_wal(raw: sqlite3.Connection, path: Path, deadline: float) -> None:
    while True:
        try:
            mode = raw.execute("PRAGMA journal_mode = wal").fetchone()[0]
        except sqlite3.OperationalError as error:
            # The change asks for the whole file, and SQLite answers "busy" at once where two ask together.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(0.001)
        else:
            break
    if mode != "wal":
        raise BackendRefused(
            f"{path}: sqlite stays in {mode!r} mode instead of a write-ahead log, as on file systems without shared"
            " memory; use a local disk"
        )


def _pragma(raw: sqlite3.Connection, name: str) -> int:
    return int(raw.execute(f"PRAGMA {name}").fetchone()[0])
