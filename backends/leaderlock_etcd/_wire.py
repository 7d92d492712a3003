"""Protocol Buffers' wire format, as far as etcd's messages need it: numbers, bytes and messages within messages.

A message is a sequence of fields, each a tag and a value. Decoding gives the fields as they come and drops nothing:
whoever reads a message skips the numbers it does not know, so that a newer server can say more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

__all__ = ["data", "fields", "number", "signed"]

_VARINT: Final = 0
_FIXED64: Final = 1
_BYTES: Final = 2
_FIXED32: Final = 5
_WORD: Final = (1 << 64) - 1


def number(field: int, value: int) -> bytes:
    """An integer, enum or bool. A zero is written out, too: within a `oneof` it says which one is meant."""
    return _varint(field << 3 | _VARINT) + _varint(value & _WORD)


def data(field: int, value: bytes) -> bytes:
    """Bytes, a string, or a message that is encoded already."""
    size = len(value)
    if field < 16 and size < 0x80:
        # Nearly all of them; three times as quick.
        return bytes((field << 3 | _BYTES, size)) + value
    return _varint(field << 3 | _BYTES) + _varint(size) + value


def fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Each field as its number, its integer and its bytes; of the last two, the one that it is not is zero or empty.

    Raises ``ValueError`` for what is no message; fields that came before the fault have been given by then.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _read_varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _read_varint(message, at)
            yield tag >> 3, value, b""
            continue
        if kind == _BYTES:
            size, at = _read_varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of the unknown wire type {kind}")
        if at + size > end:
            raise ValueError(f"a field of {size} bytes where {end - at} are left")
        yield tag >> 3, 0, message[at : at + size]
        at += size


def signed(value: int) -> int:
    """The int64 that a varint stands for: negative ones travel as their two's complement."""
    return value - (1 << 64) if value >> 63 else value


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    # Ten groups of seven bits hold 64; more would be an endless number that a broken peer could feed us.
    for byte in message[at : at + 10]:
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _WORD, at
        shift += 7
    raise ValueError("a number that does not end")


_SMALL: Final = tuple(bytes([value]) for value in range(0x80))
