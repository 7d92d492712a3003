"""The tables, as statements and as the functions that run them inside a transaction of the caller's."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from leaderlock.backend import ABSENT, Answer, Conflict, Seen, Stamp, Swapped, Write

__all__ = [
    "PAGE_SIZE",
    "SCHEMA",
    "Mark",
    "advanced",
    "apply",
    "changed",
    "find_mark",
    "now",
    "page",
    "put_mark",
    "registers",
    "save_mark",
]

PAGE_SIZE: Final = 500

_CHUNKS: Final = (1, 16, 256)
_LATEST_CLOCK: Final = 1 << 52
_DELETION_KEPT: Final = 60_000_000

# Stamps come from the namespace's row. `file` is the file the birth mark was laid in, `writes` a plain count of
# applied swaps, and `pruned` the stamp below which `deletions` has forgotten. Registers have an id of their own, and
# not (space, key) as their tree's key, so that the entries by stamp, which every write moves, are three numbers.
SCHEMA: Final = (
    "CREATE TABLE namespaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, birth TEXT NOT NULL,"
    " file TEXT NOT NULL, stamp INTEGER NOT NULL, writes INTEGER NOT NULL, pruned INTEGER NOT NULL)",
    "CREATE TABLE registers (id INTEGER PRIMARY KEY, space INTEGER NOT NULL, key TEXT NOT NULL,"
    " stamp INTEGER NOT NULL, value BLOB NOT NULL, UNIQUE (space, key))",
    "CREATE INDEX registers_by_stamp ON registers (space, stamp)",
    "CREATE TABLE deletions (space INTEGER NOT NULL, stamp INTEGER NOT NULL, key TEXT NOT NULL,"
    " PRIMARY KEY (space, stamp, key)) WITHOUT ROWID",
)
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
# Cast, since a column of SQLite's holds what it is given, and what somebody wrote by hand is text.
_LOOK: Final = "SELECT CAST(value AS BLOB), stamp FROM registers WHERE space = ? AND key = ?"
_ROWS: Final = "SELECT key, CAST(value AS BLOB), stamp FROM registers WHERE space = ?"
_PAGE: Final = _ROWS + f" AND key {{after}} ? AND key < ? ORDER BY key LIMIT {PAGE_SIZE}"
_FIRST_PAGE: Final = _PAGE.format(after=">=")
_NEXT_PAGE: Final = _PAGE.format(after=">")
# Deletions come first, so that of a key which was made anew its register is the last word.
_CHANGED: Final = (
    f"SELECT key, NULL, {ABSENT!r} FROM deletions WHERE space = ? AND stamp > ? UNION ALL {_ROWS} AND stamp > ? LIMIT ?"
)
_CHANGED_KEYS: Final = (
    "SELECT key FROM deletions WHERE space = ? AND stamp > ?"
    " UNION ALL SELECT key FROM registers WHERE space = ? AND stamp > ?"
)
_READ: Final = {size: f"{_ROWS} AND key IN (" + ", ".join("?" * size) + ")" for size in _CHUNKS}


class Mark(NamedTuple):
    """A namespace's row, whose `birth` is the memory, and whose `writes` are its revision."""

    space: int
    memory: str
    file: str
    stamp: int
    revision: int
    pruned: int


def find_mark(raw: sqlite3.Connection, namespace: str) -> Mark | None:
    """The namespace's row, if there is one."""
    row = raw.execute(_MARK, (namespace,)).fetchone()
    return None if row is None else Mark(*row)


def put_mark(raw: sqlite3.Connection, namespace: str, birth: str, file: str, stamp: int) -> None:
    """Lay a birth mark, in place of the one that is there."""
    raw.execute(_LAY, (namespace, birth, file, stamp))


def save_mark(raw: sqlite3.Connection, mark: Mark) -> None:
    """Let the namespace go on from ``mark``."""
    raw.execute(_ADVANCE, (mark.stamp, mark.revision, mark.space))


def page(raw: sqlite3.Connection, space: int, prefix: str, after: str | None) -> list[tuple[str, bytes, int]]:
    """The next registers with that prefix, in the order of their keys."""
    # Keys compare as their code points, and the last code point stands in no printable key.
    end = prefix + "\U0010ffff"
    if after is None:
        return raw.execute(_FIRST_PAGE, (space, prefix, end)).fetchall()
    return raw.execute(_NEXT_PAGE, (space, after, end)).fetchall()


def changed(
    raw: sqlite3.Connection, space: int, stamp: int, *, most: int
) -> tuple[Collection[str], Mapping[str, Seen] | None]:
    """The keys written or deleted after ``stamp``, and what they hold now, unless they are more than ``most``.

    Deletions are told as far back as they are remembered.
    """
    since = (space, stamp, space, stamp)
    rows = raw.execute(_CHANGED, (*since, most + 1)).fetchall()
    if len(rows) > most:
        # Not their values: ten thousand notes are half a gigabyte.
        return {key for (key,) in raw.execute(_CHANGED_KEYS, since)}, None
    seen = {key: Seen(value, found) for key, value, found in rows}
    return seen.keys(), seen


def advanced(mark: Mark, *, above: int) -> Mark:
    """The mark that the next swap leaves behind, with a stamp above every one before and every floor told here."""
    return mark._replace(stamp=max(mark.stamp + 1, above + 1, now()), revision=mark.revision + 1)


def apply(raw: sqlite3.Connection, mark: Mark, write: Write) -> Answer:
    """Do one write under the mark's stamp, if it may be done."""
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


def _remember_deletion(raw: sqlite3.Connection, mark: Mark, key: str) -> None:
    raw.execute(_REMEMBER_DELETION, (mark.space, mark.stamp, key))
    horizon = mark.stamp - _DELETION_KEPT
    if raw.execute(_PRUNE, (mark.space, horizon)).rowcount:
        raw.execute(_PRUNED, (horizon, mark.space))


def registers(raw: sqlite3.Connection, space: int, keys: Sequence[str]) -> Mapping[str, Seen]:
    """The registers there are of those asked for."""
    found: dict[str, Seen] = {}
    for start in range(0, len(keys), _CHUNKS[-1]):
        chunk = keys[start : start + _CHUNKS[-1]]
        # Few sizes, filled up with NULL, which equals nothing: so that SQLite prepares three statements, not 256.
        size = next(size for size in _CHUNKS if size >= len(chunk))
        rows = raw.execute(_READ[size], (space, *chunk, *[None] * (size - len(chunk))))
        found.update((key, Seen(value, stamp)) for key, value, stamp in rows)
    return found


def _number(stamp: Stamp) -> int:
    # A stamp of another store is nobody's here; left to SQLite, the text "12" would equal the number.
    return stamp if isinstance(stamp, int) and 0 <= stamp < 1 << 63 else -1


def now() -> int:
    """The wall clock in microseconds."""
    # Bounded, so that a clock set to a far century cannot push stamps out of their range for good.
    return min(time.time_ns() // 1000, _LATEST_CLOCK)
