"""The scripts, which Redis runs in one step each, as the bytes that are sent."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["CHECK", "READ", "SCAN", "SWAP"]


def _load(name: str) -> bytes:
    # Whole scripts are sent, not their hashes: that costs a few microseconds, but a server never forgets what it
    # was sent. Comments and indentation need not travel.
    text = (Path(__file__).parent / f"{name}.lua").read_text(encoding="ascii")
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("--")).encode()


READ: Final = _load("read")
SWAP: Final = _load("swap")
SCAN: Final = _load("scan")
CHECK: Final = _load("check")
