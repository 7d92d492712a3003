"""What a job's note holds, and the only code that reads or writes that format.

A line of JSON, as the records of the protocol are: ``"ticks"`` is the format's number, ``"r"`` the oldest reader that
may use it, and fields that a reader does not know are kept when it writes. Instants are seconds since 1970, UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, NamedTuple

__all__ = [
    "HISTORY",
    "OWED",
    "STRANGER",
    "Ending",
    "JobRecord",
    "Misread",
    "Outcome",
    "Owed",
    "Pause",
    "Run",
    "read_job",
]

FORMAT: Final = 1
HISTORY: Final = 20
"""How many outcomes a job remembers."""
OWED: Final = 16
"""How many unfinished ticks it remembers; the oldest go."""
LONGEST_HOST: Final = 120


class Ending(StrEnum):
    """How a run of a tick ended."""

    OK = "ok"
    FAILED = "failed"
    """It raised, or its command's exit code was not 0; with all retries there were."""
    TOO_LONG = "too long"
    """It ran for longer than it may."""
    INTERRUPTED = "interrupted"
    """Whoever ran it was told to stop: Ctrl-C, a signal, the end of the lease."""
    DIED = "died"
    """Its host, its process or its lease ended without a word."""


class Outcome(NamedTuple):
    """The end of one run of one tick."""

    tick: float
    token: int
    host: str
    started: float
    finished: float | None
    """``None``: nobody knows."""
    how: Ending
    attempt: int
    by_hand: bool


class Run(NamedTuple):
    """A run that has begun; whoever finds it on a name that nobody leads knows that it died."""

    tick: float
    token: int
    host: str
    started: float
    attempt: int
    until: float
    """The last moment at which this tick may be started again."""
    by_hand: bool = False


class Owed(NamedTuple):
    """A tick that has come and is still to be run to its end, where that is promised."""

    tick: float
    until: float
    attempts: int


class Pause(NamedTuple):
    by: str
    at: float


_ENDINGS: Final = frozenset(ending.value for ending in Ending)


class Misread(Exception):
    """The note is not a job's, or of a newer format; the text says what to do."""


STRANGER: Final = (
    "it is led by something that is no job (an election, `leaderlock run`), so give one of the two another name"
)
"""What an empty note under a live leader means: a job's record is written in the very write that takes its name."""


@dataclass(frozen=True, slots=True)
class JobRecord:
    """One job, as its note tells it."""

    newest: float = 0.0
    """The newest tick that was ever begun; older ones are over, unless they are owed."""
    schedule: str = ""
    zone: str = ""
    running: Run | None = None
    owed: tuple[Owed, ...] = ()
    held: float = 0.0
    """Until when nothing starts (``hold_for``)."""
    paused: Pause | None = None
    lines: tuple[Sequence[Any], ...] = ()
    """The last outcomes, in the order of their ends, as they are written; :attr:`history` reads them."""
    extra: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def history(self) -> tuple[Outcome, ...]:
        # Not read before somebody asks: every call for a tick reads the record, and hardly one wants to know all that.
        return tuple(map(_outcome, self.lines))

    def encode(self) -> bytes:
        fields = {
            **self.extra,
            "ticks": FORMAT,
            "r": FORMAT,
            "newest": self.newest,
            "schedule": self.schedule,
            "zone": self.zone,
            "running": None if self.running is None else self.running._replace(host=_short(self.running.host)),
            "owed": self.owed[-OWED:],
            "held": self.held,
            "paused": None if self.paused is None else self.paused._replace(by=_short(self.paused.by)),
            "history": self.lines[-HISTORY:],
        }
        # A surrogate in a host's name must not stop a job.
        return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")

    def outcome_of(self, tick: float) -> Outcome | None:
        """How that tick ended last, as far as that is remembered."""
        outcomes = (_outcome(line) for line in reversed(self.lines) if line[0] == tick)
        return next((outcome for outcome in outcomes if not outcome.by_hand), None)

    def owes(self, tick: float) -> Owed | None:
        return next((owed for owed in self.owed if owed.tick == tick), None)

    def ended(self, how: Ending, finished: float | None) -> JobRecord:
        """The same job after its run has ended so."""
        run = self.running
        if run is None:
            return self
        line = (run.tick, run.token, _short(run.host), run.started, finished, how.value, run.attempt, run.by_hand)
        return replace(self, running=None, lines=(*self.lines, line)[-HISTORY:])


def _short(host: str) -> str:
    # A note has room for twenty of them, and not for twenty of any length.
    return host[:LONGEST_HOST]


def read_job(note: bytes) -> JobRecord:
    """Read a job's note; an empty one is a job that never ran.

    Raises:
        Misread: it is somebody else's note, or one that needs a newer reader.
    """
    if not note:
        return JobRecord()
    try:
        fields: dict[str, Any] = json.loads(note)
        needs, by = fields.pop("r"), fields.pop("ticks")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Misread("its note is not a job's: this name is led by something else, so give the job another") from None
    if needs > FORMAT:
        raise Misread(f"its note needs a reader of format {by}, and this one knows {FORMAT}: upgrade leaderlock here")
    try:
        running, paused = fields.pop("running"), fields.pop("paused")
        return JobRecord(
            newest=float(fields.pop("newest")),
            schedule=str(fields.pop("schedule")),
            zone=str(fields.pop("zone")),
            running=None if running is None else Run(*running),
            owed=tuple(Owed(*one) for one in fields.pop("owed")),
            held=float(fields.pop("held")),
            paused=None if paused is None else Pause(*paused),
            lines=tuple(map(_line, fields.pop("history"))),
            extra=fields,
        )
    except (ValueError, KeyError, TypeError):
        raise Misread("its note is damaged: somebody else wrote it") from None


def _line(fields: Any) -> Sequence[Any]:
    _, _, _, _, _, how, _, _ = fields
    if how not in _ENDINGS:
        raise ValueError
    return tuple(fields)


def _outcome(line: Sequence[Any]) -> Outcome:
    tick, token, host, started, finished, how, attempt, by_hand = line
    return Outcome(tick, token, host, started, finished, Ending(how), attempt, by_hand)
