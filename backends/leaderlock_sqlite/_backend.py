"""The driver: registers in a table, swaps in ``BEGIN IMMEDIATE`` transactions.

**Stamps** are drawn from the namespace's row, one for each call of ``swap``: the greatest so far plus one, or the
wall clock in microseconds where that is more. So they are the floor, too: they never go back while the file is there,
and after it was wiped or an older copy put in its place they start above all that were given before, as long as the
clock was not set back in between. A clock that is wrong costs nothing while the file lives.

**Memory** is the birth mark's random id. A mark is laid anew, and the old memory thereby gone for everybody, when

1. the namespace has none: the file is new, or was wiped;
2. the file is not the one the mark was laid in: a copy, put back or moved here;
3. this process has seen more writes under this mark than the row now counts: an older state was written into the very
   same file, as ``sqlite3 x.db ".restore backup.db"`` does;
4. this process has seen this mark give way to another: the old file came back.

What nobody can notice: an older state written into the same file while no process of ours was running (stamps go on
above the old ones even then), or one that is overtaken by others' writes before a process that knew better looked
again, or a snapshot of the whole machine.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from leaderlock.backend import ABSENT, Answer, Backend, Conflict, Seen, Stamp, Swapped, Traits, View, Write
from leaderlock.errors import BackendUnavailable, MemoryGone
from leaderlock_sqlite._bell import Bell, Changes, Watcher, has_inotify
from leaderlock_sqlite._errors import error_at_commit
from leaderlock_sqlite._file import Connection, check_place
from leaderlock_sqlite._identity import is_same_file
from leaderlock_sqlite._pool import Pool
from leaderlock_sqlite._url import path_of_url, state_file

__all__ = ["SqliteBackend", "open_backend"]

_MAX_BATCH: Final = 1000
_MAX_VALUE: Final = 1 << 20
_SLICE: Final = 500
_CHUNKS: Final = (1, 16, 256)
_LATEST_CLOCK: Final = 1 << 52
_DELETION_KEPT: Final = 60_000_000

_MARK: Final = "SELECT id, birth, file, stamp, writes, pruned FROM namespaces WHERE name = ?"
_ADVANCE: Final = "UPDATE namespaces SET stamp = ?, writes = ? WHERE id = ?"
_LAY: Final = (
    "INSERT INTO namespaces (name, birth, file, stamp, writes, pruned) VALUES (?, ?, ?, ?, 0, 0) ON CONFLICT (name)"
    " DO UPDATE SET birth = excluded.birth, file = excluded.file, stamp = max(stamp + 1, excluded.stamp), writes = 0"
)
_INSERT: Final = "INSERT INTO registers (space, key, stamp, value) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_UPDATE: Final = "UPDATE registers SET stamp = ?, value = ? WHERE space = ? AND key = ? AND stamp = ?"
_DELETE: Final = "DELETE FROM registers WHERE space = ? AND key = ? AND stamp = ?"
_REMEMBER_DELETION: Final = "INSERT INTO deletions (space, stamp, key) VALUES (?, ?, ?)"
_PRUNE: Final = "DELETE FROM deletions WHERE space = ? AND stamp < ?"
_PRUNED: Final = "UPDATE namespaces SET pruned = ? WHERE id = ?"
_LOOK: Final = "SELECT value, stamp FROM registers WHERE space = ? AND key = ?"
_PAGE: Final = (
    "SELECT key, value, stamp FROM registers WHERE space = ? AND key {after} ? AND key < ?"
    f" ORDER BY key LIMIT {_SLICE}"
)
_FIRST_PAGE: Final = _PAGE.format(after=">=")
_NEXT_PAGE: Final = _PAGE.format(after=">")
_CHANGED: Final = (
    "SELECT key FROM registers WHERE space = ?1 AND stamp > ?2"
    " UNION ALL SELECT key FROM deletions WHERE space = ?1 AND stamp > ?2"
)
_READ: Final = {
    size: "SELECT key, value, stamp FROM registers WHERE space = ? AND key IN (" + ", ".join("?" * size) + ")"
    for size in _CHUNKS
}


class _Mark(NamedTuple):
    """A namespace's row."""

    space: int
    birth: str
    file: str
    stamp: int
    writes: int
    pruned: int


def open_backend(url: str, *, namespace: str, **options: object) -> Backend:
    """A backend on the file that ``url`` names. The file is created at the first use."""
    if options:
        raise TypeError(f"sqlite has no option {sorted(options)[0]!r}; there are none, so leave it out")
    path = path_of_url(url)
    if path == state_file():
        # The one place nobody chose by hand, so we may make it; private, as its rights decide who may lead.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return SqliteBackend(path, namespace=namespace)


class SqliteBackend(Backend):
    """Registers of one namespace in one SQLite file, for processes of one host."""

    def __init__(self, path: Path, *, namespace: str) -> None:
        check_place(path)
        self._path = path
        self._namespace = namespace
        self._pool = Pool(path)
        self._bell = Bell(path)
        self._writer = threading.Lock()
        self._lock = threading.Lock()
        self._newest: _Mark | None = None
        self._left: set[str] = set()
        self._watcher: Watcher | None = None
        self._traits = Traits(
            store="sqlite",
            durability="disk",
            keeps_memory=True,
            pushes=has_inotify(),
            max_batch=_MAX_BATCH,
            max_value=_MAX_VALUE,
        )

    @property
    def traits(self) -> Traits:
        return self._traits

    def read(self, keys: Collection[str], *, timeout: float) -> View:
        wanted = list(keys)
        _check_count(len(wanted))
        deadline = time.monotonic() + timeout
        with self._snapshot(deadline) as (connection, mark):
            found = _registers(connection.raw, mark.space, wanted)
        absent = Seen(None, ABSENT)
        return View({key: found.get(key, absent) for key in wanted}, mark.stamp, mark.birth)

    def swap(self, writes: Sequence[Write], memory: str, *, timeout: float) -> list[Answer]:
        _check_writes(writes)
        deadline = time.monotonic() + timeout
        known = self._newest
        with self._writing(deadline), self._pool.use(deadline) as connection:
            raw = connection.raw
            raw.execute("BEGIN IMMEDIATE")
            mark = self._mark(connection)
            if mark is None or mark.birth != memory or not self._stands(mark, connection, known):
                raise MemoryGone(f"{self._path}: the file no longer is, or holds, what it did; nothing was written")
            mark = _advanced(mark)
            answers = [_apply(raw, mark, write) for write in writes]
            if not any(isinstance(answer, Swapped) for answer in answers):
                raw.execute("ROLLBACK")
                return answers
            raw.execute(_ADVANCE, (mark.stamp, mark.writes, mark.space))
            self._commit(connection)
        self._note(known, mark)
        self._bell.ring()
        return answers

    def scan(self, prefix: str, *, timeout: float) -> Iterator[tuple[str, Seen]]:
        self._pool.check()
        return self._pages(prefix, timeout)

    def watch(self, keys: Collection[str], wake: Callable[[], None]) -> Callable[[], None]:
        self._pool.check()
        while True:
            with self._lock:
                if self._watcher is None or self._watcher.has_ended:
                    # Everything that was answered before this moment has a stamp up to this one.
                    since = self._newest.stamp if self._newest else 0
                    self._watcher = Watcher(self._bell, self._changes_since, since)
                stop = self._watcher.add(frozenset(keys), wake)
            if stop is not None:
                return stop

    def close(self) -> None:
        self._pool.close()
        with self._lock:
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.end()

    @contextmanager
    def _writing(self, deadline: float) -> Generator[None]:
        # Threads of one process queue here, woken the moment it is their turn; SQLite's own waiting is by sleeping.
        if not self._writer.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise BackendUnavailable(f"{self._path}: this process's other writes took longer than the time-out")
        try:
            yield
        finally:
            self._writer.release()

    @contextmanager
    def _snapshot(self, deadline: float) -> Generator[tuple[Connection, _Mark]]:
        """A read transaction on a namespace whose birth mark stands; lays one where none does."""
        known = self._newest
        with self._pool.use(deadline) as connection:
            connection.raw.execute("BEGIN")
            mark = self._mark(connection)
            if mark is None or not self._stands(mark, connection, known):
                connection.raw.execute("ROLLBACK")
                mark = self._lay_mark(connection, known)
                connection.raw.execute("BEGIN")
            yield connection, mark
            connection.raw.execute("COMMIT")
        self._note(known, mark)

    def _mark(self, connection: Connection) -> _Mark | None:
        row = connection.raw.execute(_MARK, (self._namespace,)).fetchone()
        return None if row is None else _Mark(*row)

    def _stands(self, mark: _Mark, connection: Connection, known: _Mark | None) -> bool:
        """Whether the mark still says what the store remembers. ``known`` was noted before the transaction began."""
        if mark.birth in self._left or not is_same_file(mark.file, connection.file):
            return False
        return known is None or known.birth != mark.birth or known.writes <= mark.writes

    def _lay_mark(self, connection: Connection, known: _Mark | None) -> _Mark:
        raw = connection.raw
        raw.execute("BEGIN IMMEDIATE")
        mark = self._mark(connection)
        # Another process may have been faster; whose comes first, stands.
        if mark is None or not self._stands(mark, connection, known):
            floor = max(_now(), known.stamp + 1 if known else 0)
            raw.execute(_LAY, (self._namespace, secrets.token_hex(16), connection.file, floor))
            mark = self._mark(connection)
        assert mark is not None
        self._commit(connection)
        return mark

    def _commit(self, connection: Connection) -> None:
        try:
            connection.raw.execute("COMMIT")
        except sqlite3.Error as error:
            raise error_at_commit(error, self._path) from error
        # After the commit, not before: a file that is still in its place now was so when the commit was made.
        if not connection.is_on_its_path():
            raise MemoryGone(f"{self._path}: the file was replaced or removed; what was written went with it")

    def _note(self, known: _Mark | None, mark: _Mark) -> None:
        """Remember what was seen by somebody who had known ``known`` before."""
        with self._lock:
            newest = self._newest
            if newest is not None and newest.birth == mark.birth:
                if newest.writes < mark.writes:
                    self._newest = mark
            elif newest is known:
                # Only who knew the old mark first and then met another has seen it go. A thread that was slow, and
                # comes with the old one after another thread brought the new, has not.
                if newest is not None:
                    self._left.add(newest.birth)
                self._newest = mark

    def _pages(self, prefix: str, timeout: float) -> Iterator[tuple[str, Seen]]:
        # Keys compare as their code points, and the last code point stands in no printable key.
        sql, start, end = _FIRST_PAGE, prefix, prefix + "\U0010ffff"
        while True:
            with self._snapshot(time.monotonic() + timeout) as (connection, mark):
                rows = connection.raw.execute(sql, (mark.space, start, end)).fetchall()
            for key, value, stamp in rows:
                yield key, Seen(value, stamp)
            if len(rows) < _SLICE:
                return
            sql, start = _NEXT_PAGE, rows[-1][0]

    def _changes_since(self, stamp: int, memory: str, *, timeout: float) -> Changes:
        """Which keys have changed since ``stamp``; ``None`` for keys that cannot be told."""
        with self._pool.use(time.monotonic() + timeout) as connection:
            mark = self._mark(connection)
            if mark is None:
                return Changes(stamp, "", None)
            if mark.stamp == stamp and mark.birth == memory:
                return Changes(stamp, memory, ())
            if mark.pruned > stamp or (memory and mark.birth != memory):
                return Changes(mark.stamp, mark.birth, None)
            keys = [key for (key,) in connection.raw.execute(_CHANGED, (mark.space, stamp))]
            return Changes(mark.stamp, mark.birth, keys)


def _advanced(mark: _Mark) -> _Mark:
    space, birth, file, stamp, writes, pruned = mark
    return _Mark(space, birth, file, max(stamp + 1, _now()), writes + 1, pruned)


def _apply(raw: sqlite3.Connection, mark: _Mark, write: Write) -> Answer:
    space, stamp, key, value = mark.space, mark.stamp, write.key, write.value
    expected = _number(write.expected)
    if expected == ABSENT:
        applied = value is None or raw.execute(_INSERT, (space, key, stamp, value)).rowcount == 1
    elif value is None:
        applied = raw.execute(_DELETE, (space, key, expected)).rowcount == 1
        if applied:
            _remember_deletion(raw, mark, key)
    else:
        applied = raw.execute(_UPDATE, (stamp, value, space, key, expected)).rowcount == 1
    if applied and (expected != ABSENT or value is not None):
        return Swapped(ABSENT if value is None else stamp)
    found = raw.execute(_LOOK, (space, key)).fetchone()
    if found is None:
        # Asking that nothing become nothing is granted where there is nothing.
        return Swapped(ABSENT) if applied else Conflict(Seen(None, ABSENT))
    return Conflict(Seen(*found))


def _remember_deletion(raw: sqlite3.Connection, mark: _Mark, key: str) -> None:
    raw.execute(_REMEMBER_DELETION, (mark.space, mark.stamp, key))
    horizon = mark.stamp - _DELETION_KEPT
    if raw.execute(_PRUNE, (mark.space, horizon)).rowcount:
        raw.execute(_PRUNED, (horizon, mark.space))


def _registers(raw: sqlite3.Connection, space: int, keys: Sequence[str]) -> Mapping[str, Seen]:
    found: dict[str, Seen] = {}
    for start in range(0, len(keys), _CHUNKS[-1]):
        chunk = keys[start : start + _CHUNKS[-1]]
        # Few sizes, filled up with NULL, which equals nothing: so that SQLite prepares three statements, not 256.
        size = next(size for size in _CHUNKS if size >= len(chunk))
        rows = raw.execute(_READ[size], (space, *chunk, *[None] * (size - len(chunk))))
        found.update((key, Seen(value, stamp)) for key, value, stamp in rows)
    return found


def _check_count(count: int) -> None:
    if count > _MAX_BATCH:
        raise ValueError(f"{count} keys in one call are more than sqlite takes ({_MAX_BATCH}); split them")


def _check_writes(writes: Sequence[Write]) -> None:
    _check_count(len(writes))
    for write in writes:
        if write.value is not None and len(write.value) > _MAX_VALUE:
            raise ValueError(
                f"the value of {write.key!r} has {len(write.value)} bytes; sqlite takes {_MAX_VALUE} at most"
            )


def _number(stamp: Stamp) -> int:
    # A stamp of another store is nobody's here; left to SQLite, the text "12" would equal the number.
    return stamp if isinstance(stamp, int) and 0 <= stamp < 1 << 63 else -1


def _now() -> int:
    # Bounded, so that a clock set to a far century cannot push stamps out of their range for good.
    return min(time.time_ns() // 1000, _LATEST_CLOCK)
