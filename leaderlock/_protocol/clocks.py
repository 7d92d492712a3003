"""Two steady clocks, and what may be concluded from them (protocol, chapter 3).

Neither clock is right alone: one may be slewed, the other stops while the machine is suspended. So every deadline is a
pair of instants: a holder is valid iff *both* are ahead, a rival has waited iff *both* have passed. Counting both from
one origin and taking the greater is not the same: after ten seconds of suspend and a slew of 8.3 %, a hundred true
seconds read as 92.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

__all__ = ["FOREVER", "PAST", "Deadline", "Instant", "Timing"]

SLEW: Final = 0.15
"""More than any clock is slewed (chrony: 8.3 %, the kernel's limit: 10 %): the share of a claim, counted back from its
end, in which one clock alone does not decide."""

MAX_TTL: Final = 86_400.0
MIN_TTL: Final = 0.1


class Instant(NamedTuple):
    """One reading of all clocks, in seconds. ``wall`` is for people and for the hint of rule 14, never for a lease."""

    boot: float
    raw: float
    wall: float

    def plus(self, seconds: float) -> Instant:
        return Instant(self.boot + seconds, self.raw + seconds, self.wall + seconds)


class Deadline(NamedTuple):
    """The end of a claim or of a wait: one instant on each clock."""

    boot: float
    raw: float
    surely: float
    """A claim that ends here certainly stands while the first clock reads less than this: the quick look."""

    def is_ahead(self, now: Instant) -> bool:
        """Whether a claim that ends here stands: both instants are ahead."""
        return now.boot < self.boot and now.raw < self.raw

    def has_passed(self, now: Instant) -> bool:
        """Whether who waits for this has waited: both instants have passed."""
        return now.boot >= self.boot and now.raw >= self.raw

    def remaining(self, now: Instant) -> float:
        """Seconds that a claim still has; zero or less when it has ended."""
        return min(self.boot - now.boot, self.raw - now.raw)

    def to_wait(self, now: Instant) -> float:
        """Seconds that a wait still takes; zero or less when it is over."""
        return max(self.boot - now.boot, self.raw - now.raw)

    @staticmethod
    def after(since: Instant, seconds: float) -> Deadline:
        return Deadline(since.boot + seconds, since.raw + seconds, since.boot + seconds * (1 - SLEW))


PAST: Final = Deadline(-math.inf, -math.inf, -math.inf)
FOREVER: Final = Deadline(math.inf, math.inf, math.inf)


def _number(what: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is a number of seconds, not {type(value).__name__}")
    if not math.isfinite(value):
        raise ValueError(f"{what} must be finite, not {value!r}")
    return value


class Timing:
    """The durations of a client, in seconds, validated together. Never changed."""

    __slots__ = ("longest", "renew_every", "rho", "ttl")

    def __init__(self, *, ttl: float, rho: float, longest: float = 30.0, renew_every: float | None = None) -> None:
        self.ttl = _number("ttl", ttl)
        self.rho = _number("rho", rho)
        """The bound on how far the clock rates of two hosts differ, as a fraction."""
        self.longest = _number("longest", longest)
        """The longest ttl of any client of this namespace; all must agree."""
        self.renew_every = ttl / 3 if renew_every is None else _number("renew_every", renew_every)
        """How often the session is renewed."""
        self._validate()

    def _validate(self) -> None:
        if not MIN_TTL <= self.ttl <= MAX_TTL:
            raise ValueError(f"ttl ({self.ttl:g} s) must be between {MIN_TTL:g} s and {MAX_TTL:g} s; 15 s suits most")
        if self.ttl > self.longest:
            raise ValueError(
                f"ttl ({self.ttl:g} s) exceeds the namespace's longest ({self.longest:g} s); "
                f"give every client of this namespace longest={self.ttl:g}, or a shorter ttl"
            )
        if self.longest > MAX_TTL:
            raise ValueError(f"longest ({self.longest:g} s) must be at most a day ({MAX_TTL:g} s)")
        if not 0 <= self.rho <= 0.2:
            raise ValueError(f"rho ({self.rho:g}) is a fraction between 0 and 0.2; 0.005 suits two steady clocks")
        if not 0 < self.renew_every <= self.ttl / 2:
            raise ValueError(
                f"renew_every ({self.renew_every:g} s) must be above zero, and leave room to retry before ttl "
                f"({self.ttl:g} s); use at most {self.ttl / 2:g} s, or None for a third of it"
            )

    @property
    def attempt(self) -> float:
        """The most that one attempt at the store may take (rule 4)."""
        return self.ttl / 4

    def claim(self, sent: Instant) -> Deadline:
        """How long a session may be believed whose write was sent at ``sent`` (rule 2).

        A rival starts to count when it *receives* that write, which is after it was sent. Counting from before
        sending therefore ends the claim before the wait, however long the answer takes to come back.
        """
        return Deadline.after(sent, self.ttl * (1 - self.rho))

    def wait_out(self, received: Instant, ttl: float) -> Deadline:
        """When a write that was received at ``received`` and has not moved since may be given up for dead (rule 7)."""
        return Deadline.after(received, ttl * (1 + self.rho))
