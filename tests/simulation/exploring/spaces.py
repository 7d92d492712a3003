"""The spaces that can be explored: who takes part, what may go wrong, how often and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["RHO", "SPACES", "TTL", "Space"]

TTL: Final = 12.0
"""In seconds: a number that thirds and quarters divide, so that what can happen at one moment does."""
RHO: Final = 0.125
EDGE: Final = RHO * 0.999
"""A little inside of what ρ allows: timers go off up to a millisecond late."""

TRAVELS: Final = frozenset(("late", "cut", "twice"))
"""A request or its answer stays on its way, until any later moment or for ever; or its sender hears at once that
nothing is known of it, which was applied, or may be at any later moment, or never; or it is applied a second time."""
PROCESSES: Final = frozenset(("crash", "pause"))
LAGS: Final = frozenset(("freeze",))
"""One client reads from a replica that stands still, until it goes on."""
NOES: Final = frozenset(("NEVER_SENT", "REFUSED"))
LOSSES: Final = frozenset(("wipe", "rollback", "failover"))
HANDS: Final = frozenset(("delete name", "rewrite name", "delete session"))
"""What an operator may do to the store without asking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """Everything that can come of it within ``ttls``, with so many faults and so many acts."""

    name: str
    clients: int = 2
    led: bool = True
    """Whether the first leads already and the others wait; else all begin together, in any order, on an empty store."""
    faults: int = 1
    acts: int = 1
    """What applications do besides campaigning once each: resign, withdraw, save a note, close, campaign again."""
    ttls: float = 2.5
    """Faults and acts happen before this; what follows from them is then seen to the end."""
    kinds: frozenset[str] = TRAVELS | PROCESSES | LAGS
    verbs: frozenset[str] = frozenset(("resign", "withdraw", "again"))
    ttl: tuple[float, ...] = (TTL, TTL, TTL)
    rates: tuple[float, ...] = (1.0, 1.0, 1.0)
    """How fast the clients' clocks go."""
    patient: tuple[bool, ...] = (True, True, True)
    wrong_wall: bool = False
    one_kernel: bool = False
    """Whether all read one boot clock, and know that."""
    keeps_memory: bool = True
    shows: bool = False
    """Whether a wake-up shows what the register held."""
    own_thread: bool = False
    """Whether what an application asks for is sent beside the lanes."""
    longest: float = TTL


SPACES: Final = {
    space.name: space
    for space in (
        Space(name="beginning", led=False),
        Space(name="travels"),
        Space(name="edge", rates=(1 - EDGE, 1 + EDGE, 1 + EDGE)),
        Space(name="unequal", ttl=(TTL, TTL * 0.75, TTL)),
        Space(name="one-kernel", one_kernel=True),
        Space(name="notes", verbs=frozenset(("farewell", "note", "close", "resign"))),
        Space(name="losses", kinds=LOSSES | TRAVELS | PROCESSES | LAGS, keeps_memory=False, ttls=4.0),
        Space(name="losses-shown", kinds=LOSSES | TRAVELS, shows=True, keeps_memory=False, ttls=4.0),
        Space(name="hands", kinds=HANDS | TRAVELS | PROCESSES),
        Space(name="noes", kinds=NOES | PROCESSES, own_thread=True),
        Space(name="jobs", patient=(False, False, False), wrong_wall=True),
    )
}
