"""What a watermark looks like on the disk: one line, which says when it is damaged."""

from __future__ import annotations

import re
import zlib
from typing import Final

from leaderlock.fences._token import MAX_TOKEN

__all__ = ["formatted", "parsed"]

_WATERMARK: Final = re.compile(rb"leaderlock-fence 1 ([0-9]{1,16}) ([0-9a-f]{8})\n")


def formatted(token: int) -> bytes:
    """The watermark as it is stored."""
    digits = b"%d" % token
    return b"leaderlock-fence 1 %s %08x\n" % (digits, zlib.crc32(digits))


def parsed(content: bytes) -> int | None:
    """The token that was stored; None if this is not what :func:`formatted` wrote."""
    match = _WATERMARK.fullmatch(content)
    if match is None or int(match[2], 16) != zlib.crc32(match[1]) or int(match[1]) > MAX_TOKEN:
        return None
    return int(match[1])
