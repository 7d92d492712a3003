"""What comes of a call for a tick."""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Literal, TypeAlias, TypeVar

from leaderlock._current import enter, leave
from leaderlock._lease import Lease
from leaderlock._ticks.record import Run
from leaderlock._ticks.rules import SkipReason
from leaderlock._ticks.schedule import moment
from leaderlock.errors import LeaseLost

__all__ = ["TOO_LONG", "Entered", "Ran", "Skipped", "Tick", "current_tick", "enter_tick", "leave_tick"]

TOO_LONG: Final = "too long"
"""The reason of a loss by one's own ``max_run``."""

R_co = TypeVar("R_co", covariant=True)


class Tick:
    """One tick of one job, while it runs here: under a lease of the job's name, with a token above every earlier run's.

    Not promised: that no other host runs it any more when your next packet arrives, as this process may be paused. Hand
    :attr:`token` to the resource.
    """

    __slots__ = ("_lease", "overran", "run")

    def __init__(self, lease: Lease, run: Run) -> None:
        self._lease = lease
        self.run = run
        self.overran: float | None = None
        """After how many seconds its lease was given up because it ran for too long; ``None``: it was not."""

    def __repr__(self) -> str:
        return f"<Tick {self.name!r} of {self.at.isoformat()}, attempt {self.attempt}, {self._lease!r}>"

    @property
    def name(self) -> str:
        """The job's name."""
        return self._lease.name

    @property
    def at(self) -> datetime:
        """The instant for which it was scheduled, in UTC; of a run by hand, when that was asked for."""
        return moment(self.run.tick)

    @property
    def token(self) -> int:
        """The fencing token of this run."""
        return self._lease.token

    @property
    def attempt(self) -> int:
        """How many times this tick was begun, on any host, this attempt included."""
        return self.run.attempt

    @property
    def by_hand(self) -> bool:
        """Whether somebody ran the job now, whatever its schedule says."""
        return self.run.by_hand

    @property
    def lease(self) -> Lease:
        """The lease under which it runs. Its note is the job's record: leave that alone."""
        return self._lease

    @property
    def is_held(self) -> bool:
        """Whether its lease is held now: see :attr:`Lease.is_held`."""
        return self._lease.is_held

    def check(self) -> None:
        """Return if this tick is still ours to run.

        Raises:
            LeaseLost: it is not; ``.reason`` says why.
        """
        if self.overran is not None:
            message = f"{self.name!r} has run for more than {self.overran:g} s: its lease was given up; stop"
            raise LeaseLost(message, reason=TOO_LONG)
        self._lease.check()


@dataclass(frozen=True, slots=True)
class Ran(Generic[R_co]):
    """The tick ran here, to its end. True."""

    tick: datetime
    """The instant for which it was scheduled, in UTC."""
    token: int
    attempt: int
    """How many times it was begun, on any host."""
    result: R_co
    """What the function returned."""

    def __bool__(self) -> Literal[True]:
        return True


@dataclass(frozen=True, slots=True)
class Skipped:
    """The tick did not run here. False."""

    name: str
    reason: SkipReason
    by: str
    """Who ran or runs it, or paused the job, for people; empty where that is nobody, or not known."""
    tick: datetime | None
    """The instant for which it was scheduled, in UTC; ``None``: no tick is near."""

    def __bool__(self) -> Literal[False]:
        return False

    def __str__(self) -> str:
        which = "" if self.tick is None else f" of {self.tick.isoformat()}"
        by = f" ({self.by})" if self.by else ""
        return f"{self.name!r}: the tick{which} is not run here: {self.reason.value}{by}"


_current: Final[ContextVar[Tick | None]] = ContextVar("leaderlock.tick", default=None)


def current_tick() -> Tick | None:
    """The tick that this code runs; ``None`` outside of one."""
    return _current.get()


Entered: TypeAlias = tuple[Token[Lease | None], Token[Tick | None]]


def enter_tick(tick: Tick) -> Entered:
    """From here on the code runs this tick, under its lease; the answer is for :func:`leave_tick`."""
    return enter(tick.lease), _current.set(tick)


def leave_tick(entered: Entered) -> None:
    """Run again what ran before."""
    leave(entered[1])
    leave(entered[0])
