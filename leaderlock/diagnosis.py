"""What is found about a store, in words that people act on: the vocabulary of ``leaderlock doctor``.

A driver knows its server, so a driver may examine it (:class:`Diagnoses`). Nothing of safety rests on that: a driver
without it is as good a driver, only less talkative.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["Diagnoses", "Finding", "Level", "Limit", "Promise", "judge_voters"]


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


def judge_voters(store: str, voters: int, *, named: int | None, word: str) -> Iterator[Finding]:
    """What a group of servers that decides by majority lacks.

    ``store`` is its name and version, ``word`` what one of it is called; ``named`` is how many of it the client knows.
    """
    if voters == 1:
        yield Finding(
            Level.WARNING,
            "standalone",
            f"{store}: one {word} alone; nobody is elected while it is away, and its disk is the only one",
            f"run three or five {word}s",
            (
                Limit(Promise.PROGRESS, f"while that one {word} is away"),
                Limit(Promise.ONE_AT_A_TIME, "if its disk is lost while leaders live"),
            ),
        )
    if voters == 2:
        limit = Limit(Promise.PROGRESS, f"while either of the two {word}s is away")
        yield Finding(Level.WARNING, "no-spare", f"{store}: of two {word}s both are needed", "run three", (limit,))
    if named == 1 < voters:
        text = f"one of {voters} {word}s is named: this client goes down with it"
        limit = Limit(Promise.PROGRESS, f"for this client, while the one {word} that it knows is away")
        yield Finding(Level.WARNING, "few-named", text, "name all of them", (limit,))
