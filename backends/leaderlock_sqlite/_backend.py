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

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from leaderlock.backend import (
    ABSENT,
    Answer,
    Backend,
    Seen,
    Swapped,
    Traits,
    View,
    Wake,
    Write,
    check_count,
    check_writes,
    signal_safe,
)
from leaderlock.errors import BackendRefused, MemoryGone, OutcomeUnknown
from leaderlock.knowledge import Knowledge
from leaderlock.watching import Watches
from leaderlock_sqlite._bell import Bell, Changes, Watcher, has_inotify
from leaderlock_sqlite._errors import error_at_commit, says_wait
from leaderlock_sqlite._file import Connection, check_place
from leaderlock_sqlite._identity import is_same_file
from leaderlock_sqlite._pool import Pool
from leaderlock_sqlite._tables import (
    PAGE_SIZE,
    Mark,
    advanced,
    apply,
    changed,
    find_mark,
    now,
    page,
    put_mark,
    registers,
    save_mark,
)
from leaderlock_sqlite._url import names_no_file, path_of_url

if TYPE_CHECKING:
    from leaderlock.diagnosis import Finding

__all__ = ["SqliteBackend", "open_backend"]

_MAX_BATCH: Final = 1000
_MAX_VALUE: Final = 1 << 20
_MOST_SHOWN: Final = 8
_READING: Final = "BEGIN"
_WRITING: Final = "BEGIN IMMEDIATE"
_NOTHING: Final = Seen(None, ABSENT)


def open_backend(url: str, *, namespace: str, **options: object) -> Backend:
    """A backend on the file that ``url`` names. The file is created at the first use."""
    if options:
        raise TypeError(f"sqlite has no option {sorted(options)[0]!r}; there are none, so leave it out")
    path = path_of_url(url)
    if names_no_file(url):
        # The one place nobody chose by hand, so we may make it; private, as its rights decide who may lead.
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise BackendRefused(
                f"{path.parent}: this directory cannot be made ({error.strerror}); set XDG_STATE_HOME, or name a file: "
                "sqlite:///path"
            ) from error
    return SqliteBackend(path, namespace=namespace)


class SqliteBackend(Backend):
    """Registers of one namespace in one SQLite file, for processes of one host."""

    def __init__(self, path: Path, *, namespace: str) -> None:
        check_place(path)
        self._path = path
        self._namespace = namespace
        self._pool = Pool(path)
        self._bell = Bell(path)
        self._turn = threading.Lock()
        self._knowledge = Knowledge[Mark]()
        self._promising = signal_safe(threading.Lock())
        self._promised = 0
        self._watches = Watches("sqlite-watch", self._watcher, check=self._pool.check)
        self._traits = Traits(
            store="sqlite",
            durability="disk",
            keeps_memory=True,
            pushes=has_inotify(),
            max_batch=_MAX_BATCH,
            max_value=_MAX_VALUE,
            is_local=True,
        )

    @property
    def traits(self) -> Traits:
        return self._traits

    def read(self, keys: Collection[str], *, timeout: float) -> View:
        wanted = list(keys)
        check_count(self._traits, len(wanted))
        deadline = time.monotonic() + timeout
        with self._snapshot(deadline) as (connection, mark):
            found = registers(connection.raw, mark.space, wanted)
            return View({key: found.get(key, _NOTHING) for key in wanted}, self._promise(mark), mark.memory)

    def swap(self, writes: Sequence[Write], memory: str, *, timeout: float) -> list[Answer]:
        check_writes(self._traits, writes)
        deadline = time.monotonic() + timeout
        known = self._knowledge.newest
        turn = self._wait_for_turn(deadline)
        try:
            with self._pool.use(deadline) as connection:
                mark = self._begin(connection, _WRITING, deadline)
                if mark is None or mark.memory != memory or not self._stands(mark, connection, known):
                    raise MemoryGone(f"{self._path}: the file no longer is, or holds, what it did; nothing was written")
                mark = advanced(mark, above=self._promised)
                answers = [apply(connection.raw, mark, write) for write in writes]
                if not any(isinstance(answer, Swapped) for answer in answers):
                    connection.raw.execute("ROLLBACK")
                    return answers
                save_mark(connection.raw, mark)
                self._commit(connection)
                # At once: whoever waits wakes up while the rest is done here.
                self._bell.ring()
                self._check_not_replaced(connection, memory)
        finally:
            if turn is not None:
                turn.release()
        self._knowledge.note(mark, known)
        return answers

    def scan(self, prefix: str, *, timeout: float) -> Iterator[tuple[str, Seen]]:
        self._pool.check()
        return self._pages(prefix, timeout)

    def watch(self, keys: Collection[str], wake: Wake) -> Callable[[], None]:
        return self._watches.add(keys, wake)

    def diagnose(self, *, timeout: float) -> Sequence[Finding]:
        """What the file and its place are like; see :class:`leaderlock.diagnosis.Diagnoses`."""
        from leaderlock_sqlite._doctor import examine

        return examine(self._pool, timeout)

    def close(self) -> None:
        self._pool.close()
        self._watches.close()  # also after a first close that was interrupted here

    def _watcher(self) -> Watcher:
        # Everything that was answered before this moment has a stamp up to this one.
        newest = self._knowledge.newest
        return Watcher(self._bell, self._changes_since, newest.stamp if newest else 0)

    def _check_not_replaced(self, connection: Connection, memory: str) -> None:
        # After the commit, not before: a file that is in its place now was so when the commit was made.
        is_there = connection.is_on_its_path()
        if is_there is None:
            raise OutcomeUnknown(f"{self._path}: whether the file that was written is still there cannot be told")
        if not is_there:
            # An id once left never comes back, also if the very file does.
            self._knowledge.leave(memory)
            raise MemoryGone(f"{self._path}: the file was replaced or removed; what was written went with it")

    def _wait_for_turn(self, deadline: float) -> threading.Lock | None:
        """What to release afterwards, if anything.

        Threads of one process queue here, woken the moment it is their turn; SQLite's own waiting is by sleeping. A
        courtesy and no more, since SQLite keeps writers apart: Ctrl-C can leave a turn taken for ever. Who has waited
        for half of his time goes on without, and those after him queue elsewhere.
        """
        turn = self._turn
        if turn.acquire(timeout=max(0.0, deadline - time.monotonic()) / 2):
            return turn
        self._turn = threading.Lock()
        return None

    @contextmanager
    def _snapshot(self, deadline: float) -> Generator[tuple[Connection, Mark]]:
        """A read transaction on a namespace whose birth mark stands; lays one where none does."""
        known = self._knowledge.newest
        with self._pool.use(deadline) as connection:
            mark = self._begin(connection, _READING, deadline)
            if mark is None or not self._stands(mark, connection, known):
                connection.raw.execute("ROLLBACK")
                mark = self._lay_mark(connection, known, deadline)
                self._begin(connection, _READING, deadline)
            yield connection, mark
            connection.raw.execute("COMMIT")
        self._knowledge.note(mark, known)

    def _begin(self, connection: Connection, how: str, deadline: float) -> Mark | None:
        """Begin a transaction, and find the namespace's mark in it. Locks are waited for until ``deadline``."""
        raw = connection.raw
        while True:
            try:
                raw.execute(how)
                return find_mark(raw, self._namespace)
            except sqlite3.Error as error:
                if not says_wait(error) or time.monotonic() >= deadline:
                    raise
                if raw.in_transaction:
                    raw.execute("ROLLBACK")

    def _stands(self, mark: Mark, connection: Connection, known: Mark | None) -> bool:
        """Whether the mark still says what the store remembers. ``known`` was noted before the transaction began."""
        return is_same_file(mark.file, connection.file) and self._knowledge.stands(mark, known)

    def _lay_mark(self, connection: Connection, known: Mark | None, deadline: float) -> Mark:
        raw = connection.raw
        mark = self._begin(connection, _WRITING, deadline)
        # Another process may have been faster; whose comes first, stands.
        if mark is None or not self._stands(mark, connection, known):
            stamp = max(now(), self._promised + 1, known.stamp + 1 if known else 0)
            put_mark(raw, self._namespace, os.urandom(16).hex(), connection.file, stamp)
            mark = find_mark(raw, self._namespace)
        assert mark is not None
        self._commit(connection)
        return mark

    def _promise(self, mark: Mark) -> int:
        """A floor: also above what was granted before an older copy of the file was put back, as long as the clock is.

        A token may be as high. So no stamp of ours stays below it, also if the clock is set back now: the next one who
        looks sees only that.
        """
        with self._promising:
            self._promised = max(self._promised, mark.stamp, now())
            return self._promised

    def _commit(self, connection: Connection) -> None:
        try:
            connection.raw.execute("COMMIT")
        except sqlite3.Error as error:
            raise error_at_commit(error, self._path) from error

    def _pages(self, prefix: str, timeout: float) -> Iterator[tuple[str, Seen]]:
        after = None
        while True:
            with self._snapshot(time.monotonic() + timeout) as (connection, mark):
                rows = page(connection.raw, mark.space, prefix, after)
            for key, value, stamp in rows:
                yield key, Seen(value, stamp)
            if len(rows) < PAGE_SIZE:
                return
            after = rows[-1][0]

    def _changes_since(self, stamp: int, memory: str, *, timeout: float) -> Changes:
        known = self._knowledge.newest
        deadline = time.monotonic() + timeout
        with self._pool.use(deadline) as connection:
            raw = connection.raw
            mark = self._begin(connection, _READING, deadline)
            if mark is None or not self._stands(mark, connection, known):
                # Said once: whoever is woken reads, and lays a new mark.
                changes = Changes(stamp, "", None if memory else ())
            elif mark.stamp == stamp and mark.memory == memory:
                changes = Changes(stamp, memory, ())
            elif mark.pruned > stamp or (memory and mark.memory != memory):
                changes = Changes(mark.stamp, mark.memory, None)
            else:
                keys, seen = changed(raw, mark.space, stamp, most=_MOST_SHOWN)
                shown = None if seen is None else View(seen, mark.stamp, mark.memory)
                changes = Changes(mark.stamp, mark.memory, keys, shown)
            raw.execute("COMMIT")
        if mark is not None and changes.memory:
            self._knowledge.note(mark, known)
        return changes
