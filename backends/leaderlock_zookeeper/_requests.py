"""Requests of our own making, because of what kazoo's cost.

kazoo spends about a quarter of a millisecond on each request, in flight or not; of ten thousand names read one by one
nearly all of the time is its own. ZooKeeper reads many nodes at once since 3.6, of which kazoo knows nothing, and
writes many at once, for which kazoo makes and takes apart a dozen objects a node.

A request is what kazoo asks of its own: ``type``, ``serialize`` and ``deserialize``. Paths begin at the server's root,
so the client's chroot is part of them. An answer to many lists for each, in the order of the question, a header and
then what was asked for, or an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from struct import Struct
from typing import Any, Final, NamedTuple, TypeAlias

from leaderlock_zookeeper._kazoo import Acl, exceptions

__all__ = ["Children", "Node", "Operation", "ReadMany", "WriteAll", "create", "delete", "put"]

_INT: Final = Struct("!i")
_HEADER: Final = Struct("!iBi")
"""What each part begins with: its kind, whether it is the end, an error that the part itself tells again."""
_STAT: Final = Struct("!8xq16xi32x")
"""Of what ZooKeeper tells of a node beside its data: when it was last written, and its version."""
_END: Final = _HEADER.pack(-1, 1, -1)
_FAILED: Final = -1
_CREATE: Final = 1
_DELETE: Final = 2
_READ: Final = 4
_PUT: Final = 5
_CHILDREN: Final = 8
_WRITE_ALL: Final = 14
_READ_MANY: Final = 22


class Node(NamedTuple):
    """A node as it was read."""

    data: bytes
    version: int
    mzxid: int


Children: TypeAlias = list[str]


class Operation(NamedTuple):
    """One write, ready to be sent."""

    kind: int
    body: bytes


def create(path: str, value: bytes, rights: Sequence[Acl]) -> Operation:
    listed = b"".join(_INT.pack(acl.perms) + _text(acl.id.scheme) + _text(acl.id.id) for acl in rights)
    stays = _INT.pack(0)  # when the session ends
    return Operation(_CREATE, b"".join((_text(path), _bytes(value), _INT.pack(len(rights)), listed, stays)))


def put(path: str, value: bytes, version: int) -> Operation:
    return Operation(_PUT, b"".join((_text(path), _bytes(value), _INT.pack(version))))


def delete(path: str, version: int) -> Operation:
    return Operation(_DELETE, _text(path) + _INT.pack(version))


class WriteAll:
    """All of these, or none; one alone travels as itself. Answered by the new version of each, or by an error each."""

    __slots__ = ("_asked", "type")

    def __init__(self, operations: Sequence[Operation]) -> None:
        if len(operations) == 1:
            self.type, self._asked = operations[0]
            return
        parts: list[bytes] = []
        for kind, body in operations:
            parts += (_HEADER.pack(kind, 0, -1), body)
        self.type, self._asked = _WRITE_ALL, b"".join((*parts, _END))

    def serialize(self) -> bytes:
        return self._asked

    def deserialize(self, reply: bytes, offset: int) -> list[int | Exception]:
        if self.type != _WRITE_ALL:
            return [_STAT.unpack_from(reply, offset)[1] if self.type == _PUT else 0]
        answers: list[int | Exception] = []
        while True:
            kind, is_end, _ = _HEADER.unpack_from(reply, offset)
            offset += _HEADER.size
            if is_end:
                return answers
            if kind == _PUT:
                answers.append(_STAT.unpack_from(reply, offset)[1])
                offset += _STAT.size
            elif kind == _DELETE:
                answers.append(0)
            else:
                (number,) = _INT.unpack_from(reply, offset)
                offset += _INT.size
                if kind == _FAILED:
                    answers.append(_error(number))
                else:
                    answers.append(0)
                    offset += number  # its path


class ReadMany:
    """The data of many nodes, or with ``children`` the names below them. Servers before 3.6 do not know it."""

    __slots__ = ("_asked", "type")

    def __init__(self, paths: Iterable[str], *, children: bool) -> None:
        self.type = _READ_MANY
        header = _HEADER.pack(_CHILDREN if children else _READ, 0, -1)
        parts: list[bytes] = []
        for path in paths:
            parts += (header, _text(path), b"\0")  # the last: no watch
        self._asked = b"".join((*parts, _END))

    def serialize(self) -> bytes:
        return self._asked

    @staticmethod
    def deserialize(reply: bytes, offset: int) -> list[Node | Children | Exception]:
        answers: list[Node | Children | Exception] = []
        while True:
            kind, is_end, _ = _HEADER.unpack_from(reply, offset)
            offset += _HEADER.size
            if is_end:
                return answers
            (number,) = _INT.unpack_from(reply, offset)
            offset += _INT.size
            if kind == _FAILED:
                answers.append(_error(number))
            elif kind == _READ:
                end = offset + max(number, 0)  # less than 0: no data, which is not what we write
                mzxid, version = _STAT.unpack_from(reply, end)
                answers.append(Node(reply[offset:end], version, mzxid))
                offset = end + _STAT.size
            else:
                names: Children = []
                for _ in range(number):
                    (length,) = _INT.unpack_from(reply, offset)
                    offset += _INT.size + length
                    names.append(reply[offset - length : offset].decode())
                answers.append(names)


def _text(text: str) -> bytes:
    # kazoo sends an empty one as none at all, and rights may hold one.
    return _bytes(text.encode()) if text else _INT.pack(-1)


def _bytes(data: bytes) -> bytes:
    return _INT.pack(len(data)) + data


def _error(code: int) -> Exception:
    # kazoo's table makes an entry that raises, of a code that it does not know.
    known: Any = exceptions.EXCEPTIONS
    error: Exception = known[code]() if code in known else exceptions.KazooException(f"error {code}")
    return error
