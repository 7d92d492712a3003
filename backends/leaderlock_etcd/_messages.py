"""etcd's messages, of `etcdserverpb` and `mvccpb`: what the driver sends, and what it reads of the answers.

Field numbers are etcd's, and for ever: https://github.com/etcd-io/etcd/blob/main/api/etcdserverpb/rpc.proto
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from leaderlock_etcd._wire import data, fields, number, signed

__all__ = [
    "AUTHENTICATE",
    "RANGE",
    "TXN",
    "WATCH",
    "KeyValue",
    "RangeAnswer",
    "TxnAnswer",
    "WatchAnswer",
    "authenticate_request",
    "authenticate_token",
    "delete",
    "get",
    "has_stamp",
    "has_value",
    "nested",
    "put",
    "range_answer",
    "range_request",
    "txn",
    "txn_answer",
    "watch_answer",
    "watch_request",
]

RANGE: Final = "/etcdserverpb.KV/Range"
TXN: Final = "/etcdserverpb.KV/Txn"
WATCH: Final = "/etcdserverpb.Watch/Watch"
AUTHENTICATE: Final = "/etcdserverpb.Auth/Authenticate"

_EQUAL: Final = 0
_MOD: Final = 2
_VALUE: Final = 3


class KeyValue(NamedTuple):
    """A key that exists, with the revision of its last write."""

    key: bytes
    value: bytes
    mod_revision: int


class RangeAnswer(NamedTuple):
    """The keys of a range, and the store's revision. (Within a transaction only the transaction's own counts.)"""

    revision: int
    found: tuple[KeyValue, ...]


class TxnAnswer(NamedTuple):
    """Which branch was run, at which revision, and what its operations answered: a get, a transaction, or ``None``."""

    revision: int
    succeeded: bool
    answers: tuple[RangeAnswer | TxnAnswer | None, ...]


class Change(NamedTuple):
    """What a write left of a key, and its revision; no value: it was deleted."""

    key: bytes
    value: bytes | None
    revision: int


class WatchAnswer(NamedTuple):
    """One message of a watch: its beginning, its end, or what changed, in order."""

    revision: int
    is_created: bool
    is_canceled: bool
    changes: tuple[Change, ...]


def range_request(first: bytes, end: bytes = b"", *, limit: int = 0) -> bytes:
    """One key, or all from ``first`` up to ``end``, in their order; linearizable."""
    message = data(1, first)
    if end:
        message += data(2, end)
    return message + number(3, limit) if limit else message


def get(key: bytes) -> bytes:
    """The operation: read one key."""
    return data(1, range_request(key))


def put(key: bytes, value: bytes) -> bytes:
    """The operation: write one key."""
    return data(2, data(1, key) + data(2, value))


def delete(key: bytes) -> bytes:
    """The operation: remove one key."""
    return data(3, data(1, key))


def nested(transaction: bytes) -> bytes:
    """The operation: another transaction, with conditions of its own."""
    return data(4, transaction)


def has_stamp(key: bytes, revision: int) -> bytes:
    """The condition: the key was last written at ``revision``; zero: there is no such key."""
    return number(1, _EQUAL) + number(2, _MOD) + data(3, key) + number(6, revision)


def has_value(key: bytes, value: bytes) -> bytes:
    """The condition: the key exists and holds ``value``."""
    return number(1, _EQUAL) + number(2, _VALUE) + data(3, key) + data(7, value)


def txn(conditions: Iterable[bytes], then: Iterable[bytes], otherwise: Iterable[bytes] = ()) -> bytes:
    """All of ``then`` if all conditions hold, else all of ``otherwise``, in one step."""
    parts = [data(1, condition) for condition in conditions]
    parts += [data(2, operation) for operation in then]
    parts += [data(3, operation) for operation in otherwise]
    return b"".join(parts)


def watch_request(first: bytes, end: bytes) -> bytes:
    """Watch a range from now on."""
    return data(1, data(1, first) + data(2, end))


def authenticate_request(user: str, password: str) -> bytes:
    """Ask for a token."""
    return data(1, user.encode()) + data(2, password.encode())


def authenticate_token(message: bytes) -> str:
    """The token of an answer."""
    return next((value.decode() for field, _, value in fields(message) if field == 2), "")


def range_answer(message: bytes) -> RangeAnswer:
    """Read the answer to a range."""
    revision, found = 0, list[KeyValue]()
    for field, _, value in fields(message):
        if field == 1:
            revision = _revision(value)
        elif field == 2:
            found.append(_key_value(value))
    return RangeAnswer(revision, tuple(found))


def txn_answer(message: bytes) -> TxnAnswer:
    """Read the answer to a transaction."""
    revision, succeeded = 0, False
    answers: list[RangeAnswer | TxnAnswer | None] = []
    for field, integer, value in fields(message):
        if field == 1:
            revision = _revision(value)
        elif field == 2:
            succeeded = bool(integer)
        elif field == 3:
            answers.append(_operation_answer(value))
    return TxnAnswer(revision, succeeded, tuple(answers))


def watch_answer(message: bytes) -> WatchAnswer:
    """Read one message of a watch."""
    revision = 0
    is_created = is_canceled = False
    changes: list[Change] = []
    for field, integer, value in fields(message):
        if field == 1:
            revision = _revision(value)
        elif field == 3:
            is_created = bool(integer)
        elif field == 4:
            is_canceled = bool(integer)
        elif field == 11:
            changes.append(_change(value))
    return WatchAnswer(revision, is_created, is_canceled, tuple(changes))


def _change(event: bytes) -> Change:
    is_deletion, entry = False, KeyValue(b"", b"", 0)
    for field, integer, value in fields(event):
        if field == 1:
            is_deletion = bool(integer)
        elif field == 2:
            entry = _key_value(value)
    return Change(entry.key, None if is_deletion else entry.value, entry.mod_revision)


def _revision(header: bytes) -> int:
    return next((signed(integer) for field, integer, _ in fields(header) if field == 3), 0)


def _key_value(message: bytes) -> KeyValue:
    key, content, revision = b"", b"", 0
    for field, integer, value in fields(message):
        if field == 1:
            key = value
        elif field == 3:
            revision = signed(integer)
        elif field == 5:
            content = value
    return KeyValue(key, content, revision)


def _operation_answer(message: bytes) -> RangeAnswer | TxnAnswer | None:
    for field, _, value in fields(message):
        if field == 1:
            return range_answer(value)
        if field == 4:
            return txn_answer(value)
    return None
