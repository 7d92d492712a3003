"""Birth marks: what a namespace's memory is.

The mark is a key whose value is a random id and the wall clock in microseconds; that text is the memory. It is laid at
the first use, and compared by value in every write, since a store that was wiped counts its revisions from 1 again.

A store that was set back to a snapshot still holds the mark. It is noticed by revisions that go back under a process
that knew higher ones. That process then lays another mark in place of the old one (by compare-and-set, so that of
several only one does), and thereby all others lose the old memory, too.
"""

from __future__ import annotations

import os
import re
import time
from typing import Final, NamedTuple

from leaderlock.errors import BackendRefused

__all__ = ["Known", "birth_of", "new_mark"]

_MARK: Final = re.compile(r"[0-9a-f]{32}@([0-9]{1,16})")
_LATEST_CLOCK: Final = 1 << 52


class Known(NamedTuple):
    """What an answer has shown: the memory, and the store's revision under it."""

    memory: str
    revision: int

    @property
    def floor(self) -> int:
        """Above every token given before."""
        return birth_of(self.memory) + self.revision


def new_mark(above: int) -> str:
    """Another mark, born now, and not before ``above``."""
    # Bounded, so that a clock set to a far century cannot push floors out of their range for good.
    born = max(above, min(time.time_ns() // 1000, _LATEST_CLOCK))
    return f"{os.urandom(16).hex()}@{born}"


def birth_of(memory: str) -> int:
    """When the mark was laid, in microseconds since 1970."""
    found = _MARK.fullmatch(memory)
    if found is None:
        raise BackendRefused(f"the birth mark {memory[:60]!r} is none of ours; remove its key if nobody needs it")
    return int(found[1])
