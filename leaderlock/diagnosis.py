"""What is found about a store, in words that people act on: the vocabulary of ``leaderlock doctor``.

A driver knows its server, so a driver may examine it (:class:`Diagnoses`). Nothing of safety rests on that: a driver
without it is as good a driver, only less talkative.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Diagnoses", "Finding", "Level", "Limit", "Promise"]


class Level(enum.IntEnum):
    """How much a finding matters."""

    OK = 0
    """As it should be."""
    NOTE = 1
    """Nothing is wrong; whoever runs this should know it."""
    WARNING = 2
    """It works, and some promise is weaker here than it could be, or will be."""
    ERROR = 3
    """Nobody can be elected by this client on this store."""


class Promise(enum.Enum):
    """The five promises of ``docs/guarantees.md``."""

    TOKENS = "P1"
    FENCES = "P2"
    ONE_AT_A_TIME = "P3"
    NEWS = "P4"
    PROGRESS = "P5"


class Limit(NamedTuple):
    """When a promise does not hold here: a clause that goes on after "except" or "not"."""

    promise: Promise
    when: str


class Finding(NamedTuple):
    """One thing that was found: what it is, and what to do about it."""

    level: Level
    code: str
    """A word for programs that read it; it stays the same when the text is reworded."""
    text: str
    advice: str = ""
    limits: tuple[Limit, ...] = ()


@runtime_checkable
class Diagnoses(Protocol):
    """A :class:`~leaderlock.backend.Backend` that can tell about its server, beside what the specification asks for."""

    def diagnose(self, *, timeout: float) -> Sequence[Finding]:
        """Look at the server and its settings, within ``timeout`` seconds; writes nothing.

        What the server hides from this user is a finding, too. That the store can be reached and written to is found
        by the caller, not here.

        Raises:
            BackendError: the server could not be asked.
        """
        ...
