"""What a namespace holds: who is there, who leads, and what waits to be cleaned away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from leaderlock._engine import Engine
from leaderlock._protocol.reading import read_name, read_session
from leaderlock._protocol.records import NAMES, SESSIONS, Ending, Foreign, NameRecord, SessionRecord
from leaderlock.backend import Seen

__all__ = ["Census", "Program", "census", "take_census"]


class Program(NamedTuple):
    """The living sessions that go by one label (or program)."""

    name: str
    sessions: int
    hosts: tuple[str, ...]
    leads: int
    """How many names their sessions lead."""


class Census(NamedTuple):
    """One count of a namespace's registers. Who is alive is judged by wall clocks, as for people; no lease is."""

    living: int
    """Sessions that moved within their ttl."""
    silent: int
    """Sessions that did not, and that nobody has buried yet."""
    ended: int
    """Sessions that were closed or buried."""
    led: int
    """Names that a living session leads."""
    stranded: int
    """Names whose session is silent, ended or gone: free for the next candidate."""
    free: int
    """Names that were released."""
    noted: int
    """Those of them that hold a note, and are kept for it."""
    unreadable: tuple[str, ...]
    """Registers that are not this version's."""
    programs: tuple[Program, ...]
    ahead: float
    """By how many seconds a living session's wall clock is ahead of this host's, at most."""

    @property
    def sessions_to_clean(self) -> int:
        return self.silent + self.ended

    @property
    def names_to_clean(self) -> int:
        return self.free - self.noted

    @property
    def cleaning(self) -> str:
        """What waits to be cleaned, in words; nothing if nothing does."""
        counts = (self.sessions_to_clean, "session"), (self.names_to_clean, "name")
        return " and ".join(f"{count} {what}{'s' * (count != 1)}" for count, what in counts if count)


def take_census(engine: Engine) -> Census:
    """Read every register of the namespace once."""
    timeout = engine.terms.timing.attempt
    names = list(engine.backend.scan(NAMES, timeout=timeout))
    sessions = list(engine.backend.scan(SESSIONS, timeout=timeout))
    return census(names, sessions, wall=engine.clock.now().wall, rho=engine.terms.timing.rho)


def census(
    names: Iterable[tuple[str, Seen]], sessions: Iterable[tuple[str, Seen]], *, wall: float, rho: float
) -> Census:
    """Count what was read. ``wall``: this host's wall clock at that moment."""
    living: dict[str, SessionRecord] = {}
    unreadable: list[str] = []
    counts: Counter[str] = Counter()
    for key, seen in sessions:
        record = read_session(seen.value)
        match record:
            case None:
                continue
            case Foreign():
                unreadable.append(key)
            case SessionRecord(ended=ending) if ending is not Ending.NO:
                counts["ended"] += 1
            case SessionRecord(ttl=ttl, at=at) if wall - at > ttl * (1 + rho):
                counts["silent"] += 1
            case SessionRecord():
                living[key[len(SESSIONS) :]] = record
    leads: Counter[str] = Counter()
    for key, seen in names:
        match read_name(seen.value):
            case None:
                continue
            case Foreign():
                unreadable.append(key)
            case NameRecord(session=None, note=note):
                counts["free"] += 1
                counts["noted"] += bool(note)
            case NameRecord(session=str(session)) if session in living:
                leads[session] += 1
            case _:
                counts["stranded"] += 1
    return Census(
        living=len(living),
        silent=counts["silent"],
        ended=counts["ended"],
        led=leads.total(),
        stranded=counts["stranded"],
        free=counts["free"],
        noted=counts["noted"],
        unreadable=tuple(sorted(unreadable)),
        programs=_programs(living, leads),
        ahead=max((record.at - wall for record in living.values()), default=0.0),
    )


def _programs(living: dict[str, SessionRecord], leads: Counter[str]) -> tuple[Program, ...]:
    groups: dict[str, list[str]] = {}
    for session, record in living.items():
        groups.setdefault(record.holder.label or record.holder.program or "somebody", []).append(session)
    return tuple(
        Program(
            name,
            len(group),
            tuple(sorted({living[session].holder.host for session in group})),
            sum(leads[session] for session in group),
        )
        for name, group in sorted(groups.items())
    )
