"""For drivers: what a store's answers have shown of its memory, whichever thread got them.

Answers to requests that were under way together come in any order. So what one shows is held against what was known
*before it was asked for*: note :attr:`Knowledge.newest` before each request, and hand it in with the answer.
"""

from __future__ import annotations

import threading
from typing import Generic, Protocol, TypeVar

from leaderlock._locks import signal_safe

__all__ = ["Knowledge", "Shown"]


class Shown(Protocol):
    """What one answer has shown."""

    @property
    def memory(self) -> str: ...
    @property
    def revision(self) -> int:
        """A count of what was written, which only rises as long as the memory is what it was."""
        ...


S = TypeVar("S", bound=Shown)


class Knowledge(Generic[S]):
    """The newest that was seen, and which memories were seen to go; shared by all threads of a backend."""

    def __init__(self) -> None:
        self._lock = signal_safe(threading.Lock())
        self._left: set[str] = set()
        self.newest: S | None = None

    def stands(self, seen: S, known: S | None) -> bool:
        """Whether the store's memory is what it says: it was not seen to go, and its revision has not gone back."""
        if seen.memory in self._left:
            return False
        return known is None or known.memory != seen.memory or known.revision <= seen.revision

    def is_left(self, memory: str) -> bool:
        """Whether that memory is known to be gone for good."""
        return memory in self._left

    def leave(self, memory: str) -> None:
        """Never trust that memory again."""
        with self._lock:
            self._left.add(memory)

    def note(self, seen: S, known: S | None) -> None:
        """Remember what stood."""
        with self._lock:
            newest = self.newest
            if newest is not None and newest.memory == seen.memory:
                if newest.revision < seen.revision:
                    self.newest = seen
            elif newest is None or (known is not None and known.memory == newest.memory):
                # Only who knew the old memory first and then met another has seen it go. A thread that was slow, and
                # comes with the old one after another thread brought the new, has not.
                if newest is not None:
                    self._left.add(newest.memory)
                self.newest = seen
