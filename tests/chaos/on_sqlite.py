"""A file under faults: there is no network and no server, but a disk, and other programs that lock it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.chaos.links import Network
from tests.chaos.nodes import Disk, Ground
from tests.chaos.store import Fault, Turn

__all__ = ["SqliteStore"]


class SqliteStore:
    scheme = "sqlite"
    has_native = False

    def __init__(self, folder: Path, network: Network, slots: int, ground: Ground) -> None:
        self._disk = Disk(folder / "disk", size="8m")
        self._file = self._disk.folder / "store"
        self.faults: list[Fault] = []
        self.skipped: dict[str, str] = {}

    def start(self) -> None:
        self.faults = [Fault("locked by another program", self._locked, 3.0)]
        if self._disk.why_not:
            self.skipped["disk full"] = self._disk.why_not
        else:
            self.faults.append(Fault("disk full", self._full, 2.0))

    def url(self, slot: int) -> str:
        return f"sqlite:///{self._file}"

    def answers(self) -> bool:
        try:
            with closing(self._open()) as database:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
        except sqlite3.Error:
            return False
        return True

    def version(self) -> str:
        return f"SQLite {sqlite3.sqlite_version}, one file"

    def close(self) -> None:
        self._disk.close()

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=5.0, isolation_level=None)

    def _locked(self, turn: Turn) -> None:
        with closing(self._open()) as database:
            database.execute("BEGIN IMMEDIATE")
            turn.hold(0.1, 2.0)
            database.execute("ROLLBACK")

    def _full(self, turn: Turn) -> None:
        self._disk.fill()
        turn.hold(0.5, 2.0)
        self._disk.free()
