"""What a SQLite file and the place it lies in mean for leases. It was opened already, so it is ours and local."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leaderlock.diagnosis import Finding, Level, Limit, Promise
from leaderlock.errors import BackendUnavailable
from leaderlock_sqlite._bell import has_inotify
from leaderlock_sqlite._mounts import file_system
from leaderlock_sqlite._pool import Pool

__all__ = ["Facts", "examine", "judge"]

ROOM: Final = 16 << 20
"""Bytes that should be free: the log of writes grows to some 4 MB before it is emptied, more behind a long read."""
_LAYERS: Final = frozenset({"overlay", "overlayfs", "aufs", "fuse.fuse-overlayfs"})
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen."""

    path: Path
    journal: str
    synchronous: int
    file_system: str
    free: int
    mode: int
    folder_mode: int
    is_pushed: bool


def examine(pool: Pool, timeout: float) -> Sequence[Finding]:
    """Look at the file, through a connection as all others are."""
    path = pool.path
    with pool.use(time.monotonic() + timeout) as connection:
        journal = str(connection.raw.execute("PRAGMA journal_mode").fetchone()[0])
        synchronous = int(connection.raw.execute("PRAGMA synchronous").fetchone()[0])
    try:
        room = os.statvfs(path.parent)
        facts = Facts(
            path=path,
            journal=journal,
            synchronous=synchronous,
            file_system=file_system(path),
            free=room.f_bavail * room.f_frsize,
            mode=os.stat(path).st_mode,
            folder_mode=os.stat(path.parent).st_mode,
            is_pushed=has_inotify(),
        )
    except OSError as error:
        raise BackendUnavailable(f"{path}: its place cannot be looked at ({error})") from error
    return list(judge(facts))


def judge(facts: Facts) -> Iterator[Finding]:
    """What the facts mean."""
    yield Finding(
        Level.OK,
        "journal",
        f"SQLite {sqlite3.sqlite_version}, journal {facts.journal}, synchronous {_SYNCHRONOUS[facts.synchronous]}: what"
        " was acknowledged is on the disk",
    )
    yield Finding(
        Level.NOTE,
        "one-host",
        f"{facts.path} elects among the processes that open this very file, on this host",
        "where several hosts or containers take part, use a store that they share",
        (Limit(Promise.ONE_AT_A_TIME, "among processes that open another file: other hosts, other containers"),),
    )
    yield from _place(facts)
    yield from _rights(facts)
    if not facts.is_pushed:
        yield Finding(Level.NOTE, "polled", "this system has no inotify: a waiting process looks ten times a second")


def _place(facts: Facts) -> Iterator[Finding]:
    kind = facts.file_system or "of a kind that this system does not tell"
    if facts.file_system in _LAYERS:
        yield Finding(
            Level.WARNING,
            "container-layer",
            f"the file lies in the layer of a container ({kind}): another container has another one, and elects its own"
            " leader; and it goes with the container",
            "mount one directory of the host (not the file alone) into all of them",
            (Limit(Promise.ONE_AT_A_TIME, "as soon as a second container runs"),),
        )
    elif facts.file_system in _IN_MEMORY:
        text = f"the file system ({kind}) is in memory: notes and histories are gone after a restart of the machine"
        yield Finding(Level.NOTE, "in-memory", text, "put the file on a disk if notes matter")
    else:
        yield Finding(Level.OK, "file-system", f"the file system ({kind}) is local, as far as can be known")
    if facts.free < ROOM:
        yield Finding(
            Level.WARNING,
            "disk-space",
            f"{facts.free >> 10} KiB are free on the file system",
            "make room: a leader that cannot write its renewal loses its lease",
            (Limit(Promise.PROGRESS, "when the disk is full"),),
        )


def _rights(facts: Facts) -> Iterator[Finding]:
    is_open = facts.mode & stat.S_IWOTH
    # Who may write a directory that is not sticky may put another file in the place of this one.
    is_replaceable = facts.folder_mode & stat.S_IWOTH and not facts.folder_mode & stat.S_ISVTX
    if is_open or is_replaceable:
        what = "the file" if is_open else "its directory"
        yield Finding(
            Level.WARNING,
            "rights",
            f"every user of this host may write {what}, and so take or end any lease",
            f"chmod o-w {facts.path if is_open else facts.path.parent}",
            (Limit(Promise.ONE_AT_A_TIME, "when somebody who may write the file does so by hand"),),
        )


_SYNCHRONOUS: Final = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
