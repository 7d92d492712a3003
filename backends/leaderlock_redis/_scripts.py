"""The scripts, which Redis runs in one step each, as the bytes that are sent."""

from __future__ import annotations

from pkgutil import get_data
from typing import Final

__all__ = ["CHECK", "READ", "SCAN", "SWAP"]


def _load(name: str) -> bytes:
    # Whole scripts are sent, not their hashes: that costs a few microseconds, but a server never forgets what it
    # was sent. Comments and indentation need not travel.
    text = get_data("leaderlock_redis", f"{name}.lua")  # also where this package lies in a zip file
    assert text is not None
    lines = (line.strip() for line in text.splitlines())
    return b"\n".join(line for line in lines if line and not line.startswith(b"--"))


READ: Final = _load("read")
SWAP: Final = _load("swap")
SCAN: Final = _load("scan")
CHECK: Final = _load("check")
