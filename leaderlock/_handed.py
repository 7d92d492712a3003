"""The calls that a caller makes on his own thread."""

from __future__ import annotations

from typing import Final

from leaderlock._protocol.events import Ask, Call, Kind, Lane, Put, Scan

__all__ = ["EVERYTHING", "Handed"]

EVERYTHING: Final = ""
"""In place of a name: the caller makes every call himself."""


class Handed:
    """The calls that a caller who works on one name was handed: a free name is taken without a hop to another thread.

    One list, filled before anything else happens, so that an interruption at any moment finds all of it there.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.calls: list[Call] = []
        self._begun = 0

    def takes(self, call: Call) -> bool:
        """Whether the caller makes this call himself; if so, it is his."""
        if not self._is_his(call):
            return False
        self.calls.append(call)
        return True

    def next_calls(self) -> list[Call]:
        """What has been handed to him since he last asked."""
        calls = self.calls[self._begun :]
        self._begun = len(self.calls)
        return calls

    def _is_his(self, call: Call) -> bool:
        if self._name == EVERYTHING:
            return True
        if isinstance(call, Scan) or call.lane is Lane.SESSION:
            return False
        return (
            call.owner == self._name
            or (isinstance(call, Put) and call.kind in (Kind.OPEN, Kind.SETTLE))
            or self._goes_with_open(call)
        )

    def _goes_with_open(self, call: Put | Ask) -> bool:
        """Whether it is a take, of any name, behind the open of the session that it names.

        They travel as one call: a session that was never opened is never closed, and would keep what was taken for it.
        """
        last = self.calls[-1] if self.calls else None
        return isinstance(call, Put) and isinstance(last, Put) and last.kind is Kind.OPEN and last.owner == call.session
