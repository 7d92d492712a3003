"""One candidate's way through one term: the table of states, and the news it is told.

``docs/state-machine.svg`` is drawn from :data:`NEXT`. What is absent from it raises and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Final, NamedTuple, Protocol, TypeAlias

from leaderlock._protocol.clocks import PAST, Deadline, Instant

__all__ = [
    "NEXT",
    "NOBODY",
    "Asked",
    "Candidacy",
    "Cause",
    "Denied",
    "Elected",
    "Errand",
    "Failed",
    "LossReason",
    "Lost",
    "News",
    "NoteLost",
    "NoteSaved",
    "Released",
    "Standing",
    "State",
    "Waiting",
    "Why",
    "Wish",
    "Withdrawn",
]


class State(Enum):
    """Where a candidacy stands."""

    __hash__ = object.__hash__  # an enum's own is written in Python

    IDLE = "idle"
    CAMPAIGNING = "campaigning"
    LEADING = "leading"
    JEOPARDY = "jeopardy"
    """Leading, and the last attempt to renew was not answered: the deadline decides."""
    RESIGNED = "resigned"
    LOST = "lost"
    WITHDRAWN = "withdrawn"
    """The campaign was given up, refused or failed before it was won."""


class Cause(Enum):
    """What moves a candidacy."""

    __hash__ = object.__hash__  # an enum's own is written in Python

    CAMPAIGN = "campaign"
    ELECTED = "elected"
    DENIED = "denied"
    FAILED = "failed"
    WITHDRAW = "withdraw"
    TROUBLE = "trouble"
    RENEWED = "renewed"
    RESIGN = "resign"
    LOSE = "lose"


NEXT: Final[Mapping[tuple[State, Cause], State]] = {
    (State.IDLE, Cause.CAMPAIGN): State.CAMPAIGNING,
    (State.CAMPAIGNING, Cause.ELECTED): State.LEADING,
    (State.CAMPAIGNING, Cause.DENIED): State.WITHDRAWN,
    (State.CAMPAIGNING, Cause.FAILED): State.WITHDRAWN,
    (State.CAMPAIGNING, Cause.WITHDRAW): State.WITHDRAWN,
    (State.LEADING, Cause.TROUBLE): State.JEOPARDY,
    (State.LEADING, Cause.RESIGN): State.RESIGNED,
    (State.LEADING, Cause.LOSE): State.LOST,
    (State.JEOPARDY, Cause.RENEWED): State.LEADING,
    (State.JEOPARDY, Cause.RESIGN): State.RESIGNED,
    (State.JEOPARDY, Cause.LOSE): State.LOST,
}


class LossReason(StrEnum):
    """Why a lease ended before it was resigned."""

    EXPIRED = "expired"
    """The deadline passed: this process did not run, or was too slow to renew."""
    SUPERSEDED = "superseded"
    """The name's record shows a higher token: somebody leads instead."""
    REVOKED = "revoked"
    """The session or the name was ended or rewritten by somebody else."""
    YIELDED = "yielded"
    """Somebody asked for it (``leaderlock resign``)."""
    STORE_UNREACHABLE = "store unreachable"
    """The deadline passed while no renewal was answered."""
    STORE_FORGOT = "store forgot"
    """The store lost its memory, and this lease with it."""
    SUSPENDED = "suspended"
    """The deadline passed while the machine slept."""
    FORKED = "forked"
    """This is a forked child; the lease is its parent's."""
    CLOSED = "closed"
    """The client was closed."""
    FAILED = "failed"
    """Something in leaderlock broke; the lease was given up rather than guessed at."""


class Standing:
    """Until when a session is valid: one object for all of its leases, so that a renewal renews them all.

    ``until`` is replaced as a whole: whoever looks sees the old deadline or the new one, never half of each.
    """

    __slots__ = ("__weakref__", "until")

    def __init__(self, until: Deadline = PAST) -> None:
        self.until = until


NOBODY: Final = Standing()
"""The standing of whoever holds nothing. Never renewed."""


class Wish(Enum):
    """What a candidate with an errand does about a name that somebody leads."""

    WAIT = "wait"
    TRY = "try"
    """Go, if the leader is alive; if it is dead, follow it (rule 14)."""
    LEAVE = "leave"


class Errand(Protocol):
    """What a candidate wants a name for, where the name's note decides whether there is anything to do.

    It reads the note and never the store, raises nothing, and may be asked any number of times.
    """

    def wish(self, note: bytes, now: Instant) -> Wish:
        """Somebody leads, under this note."""
        ...

    def compose(self, note: bytes, token: int, now: Instant) -> bytes | None:
        """The note that a take under ``token`` is to carry, made from the one under the stamp that the take expects
        (rule 12); ``None``: there is nothing to do."""
        ...


class Candidacy:
    """One candidate, one name, at most one term. Its fields are written by the protocol alone."""

    __slots__ = (
        "asked",
        "audience",
        "errand",
        "farewell",
        "name",
        "patient",
        "reason",
        "standing",
        "state",
        "token",
        "undo",
        "waiting",
        "yields",
    )

    def __init__(self, name: str, *, patient: bool, audience: object = None, errand: Errand | None = None) -> None:
        self.name = name
        self.patient = patient
        """Whether it waits for a live leader to go (rule 14)."""
        self.errand = errand
        """What decides by the note whether to take, to wait or to go; ``patient`` follows it."""
        self.farewell: bytes | None = None
        """The note that the release carries (rule 12); ``None``: the note stays."""
        self.undo: bytes | None = None
        """The note that its errand's replaced."""
        self.audience = audience
        """Whom the engine tells its news; the protocol never looks at it."""
        self.yields = True
        """Whether a request ends the term at once (rule 13). If not, the holder is told, and resigns when what acts
        under the lease has ended: a name must not be free while a command still runs (ADR 0013)."""
        self.asked = False
        """Whether somebody asked for the name during this term."""
        self.state = State.IDLE
        self.standing: Standing = NOBODY
        self.token = 0
        self.reason: LossReason | None = None
        self.waiting: Waiting | None = None

    def move(self, cause: Cause) -> None:
        """Follow :data:`NEXT`.

        Raises:
            ValueError: nothing leads from here by that cause; nothing was changed.
        """
        try:
            self.state = NEXT[self.state, cause]
        except KeyError:
            raise ValueError(f"{self.name!r} is {self.state.value}: {cause.value!r} cannot happen to it") from None
        if not self.leads:
            # The claim ends here and now, before any request says so to the store (rules 5 and 11).
            self.standing = NOBODY

    def give_up(self, reason: LossReason, error: Exception) -> Lost | Failed | Released:
        """End it wherever it stands, and if need be in the middle of a move; returns the news. May be done twice."""
        if self.campaigns:
            self.move(Cause.FAILED)
        elif self.leads:
            self.reason = reason
            self.move(Cause.LOSE)
        self.standing = NOBODY
        match self.state:
            case State.LOST:
                self.reason = self.reason or reason
                return Lost(self.reason)
            case State.RESIGNED:
                return Released(acknowledged=False)
            case _:
                return Failed(error)

    @property
    def leads(self) -> bool:
        return self.state is State.LEADING or self.state is State.JEOPARDY

    @property
    def campaigns(self) -> bool:
        return self.state is State.CAMPAIGNING


class Why(Enum):
    """Why a candidate waits."""

    HELD = "held"
    UNSETTLED = "unsettled"
    UNREACHABLE = "unreachable"
    FOREIGN = "foreign"


class Elected(NamedTuple):
    token: int
    note: bytes


class Denied(NamedTuple):
    """Somebody else leads, and this candidate does not wait (rule 14); or its errand says that there is nothing to do,
    and then ``session`` may be nobody's. ``who``: who leads, for people to read, where that was seen."""

    session: str
    who: str = ""


class Waiting(NamedTuple):
    """Not elected yet. ``detail`` is for people. ``until``: when that may change at the latest, if it is known."""

    why: Why
    detail: str
    session: str = ""
    until: Deadline | None = None


class Failed(NamedTuple):
    """The campaign cannot be won as things are: ``error`` says what to mend."""

    error: Exception


class Withdrawn(NamedTuple):
    pass


class Lost(NamedTuple):
    reason: LossReason


class Asked(NamedTuple):
    """Somebody asks for the name, and this holder resigns it himself (:attr:`Candidacy.yields`)."""


class Released(NamedTuple):
    """There is nothing left to release. ``acknowledged``: the store has shown the term to be over, with the note that
    the release carried; else the session ended first, and the name is free when the others have seen that."""

    acknowledged: bool


class NoteSaved(NamedTuple):
    ticket: int
    note: bytes


class NoteLost(NamedTuple):
    """The note was not saved by this term, and will not be; ``error``: the store refused it, and the term goes on."""

    ticket: int
    error: Exception | None = None


News: TypeAlias = Elected | Denied | Waiting | Failed | Withdrawn | Lost | Asked | Released | NoteSaved | NoteLost
