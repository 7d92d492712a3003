"""Which file a path leads to, so that a copy can be told from the original after all its users have gone."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

__all__ = ["file_id", "is_same_file"]

_AT_FDCWD = -100
_STATX_BTIME = 0x800
_STATX_SIZE = 256
_MASK, _SECONDS, _NANOSECONDS = slice(0, 4), slice(80, 88), slice(88, 92)


def file_id(path: Path) -> str:
    """The file's inode and time of creation, as ``inode.nanoseconds``; the time is 0 where the system has none.

    The device's number is left out, as it may change at a reboot. The time is there because file systems give a
    freed inode to the next file: a copy put in place of a removed file often gets the very same number.
    """
    return f"{os.stat(path).st_ino}.{_birth_time(path)}"


def is_same_file(one: str, other: str) -> bool:
    """Whether two ids mean one file; a time that is unknown to either says nothing."""
    if one == other:
        return True
    inode, _, born = one.partition(".")
    other_inode, _, other_born = other.partition(".")
    return inode == other_inode and (born == other_born or "0" in (born, other_born))


def _birth_time(path: Path) -> int:
    # By path and not by descriptor: see _file.py for why the file is never opened by hand.
    try:
        statx = ctypes.CDLL(None).statx
    except (OSError, AttributeError):
        return 0
    buffer = ctypes.create_string_buffer(_STATX_SIZE)
    failed = statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer)
    answer = buffer.raw
    if failed or not int.from_bytes(answer[_MASK], sys.byteorder) & _STATX_BTIME:
        return 0
    seconds = int.from_bytes(answer[_SECONDS], sys.byteorder, signed=True)
    return seconds * 1_000_000_000 + int.from_bytes(answer[_NANOSECONDS], sys.byteorder)
