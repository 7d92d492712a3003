"""What a caller does on his own thread: the calls that follow from what he asks for, or from what he waits for."""

from __future__ import annotations

from collections import deque
from typing import Final

from leaderlock._bell import Bell
from leaderlock._protocol.events import Ask, Kind, Lane, Put, Scan, Woken

__all__ = ["EVERYTHING", "Attending", "Handed"]

EVERYTHING: Final = ""
"""In place of a name: the caller makes every call himself."""


class Handed:
    """The calls that a caller who works on one name was handed: a free name is taken without a hop to another thread.

    One list, filled before anything else happens, so that an interruption at any moment finds all of it there.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.calls: list[Put | Ask | Scan] = []
        self._begun = 0

    def takes(self, call: Put | Ask | Scan) -> bool:
        """Whether the caller makes this call himself; if so, it is his."""
        if not self._is_his(call):
            return False
        self.calls.append(call)
        return True

    def next_calls(self) -> list[Put | Ask | Scan]:
        """What has been handed to him since he last asked."""
        calls = self.calls[self._begun :]
        self._begun = len(self.calls)
        return calls

    def _is_his(self, call: Put | Ask | Scan) -> bool:
        if self._name == EVERYTHING:
            return True
        if isinstance(call, Scan) or call.lane is Lane.SESSION:
            return False
        return call.owner == self._name or (isinstance(call, Put) and call.kind in (Kind.OPEN, Kind.SETTLE))


class Attending:
    """A caller who waits for one name, and for whom the watch of that name rings."""

    __slots__ = ("bell", "woken")

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.woken: deque[Woken] = deque()
