"""What ``leaderlock doctor`` finds: whether the store can be used, what it is, and what then holds.

The core looks at what every store has (an answer, a write, a memory, the namespace's terms and registers); what is
particular to a store's server is the driver's to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final, NamedTuple

from leaderlock._census import Census, take_census
from leaderlock._engine import Engine
from leaderlock._observe import settled_in
from leaderlock._protocol.reading import read_settled
from leaderlock._protocol.records import SETTLED, Ending, Foreign, SessionRecord, SettledRecord, session_key
from leaderlock.backend import ABSENT, DELETE, Conflict, Traits, View, Write
from leaderlock.diagnosis import Diagnoses, Finding, Level, Limit, Promise
from leaderlock.errors import BackendError, BackendRefused, BackendUnavailable, MemoryGone

__all__ = ["HOLDS", "Diagnosis", "RoundTrip", "examine", "out_of_use"]

HOLDS: Final = {
    Promise.TOKENS: "tokens rise, as long as the store keeps what it acknowledged or its clock was not set back",
    Promise.FENCES: "fences refuse what is older, whatever the store does: the resource keeps the watermark",
    Promise.ONE_AT_A_TIME: "at most one holds a name at a time",
    Promise.NEWS: "a lease ends by its deadline without a word from the store: always",
    Promise.PROGRESS: "somebody leads again: at once after a resignation, about a ttl after a crash",
}
"""What holds where nothing was found that says otherwise."""

ROUNDS: Final = 5
SLOW: Final = 1 / 8
"""The share of an attempt's time that an answer may take: a renewal that fails has to be tried again, and again."""
AHEAD: Final = 5.0
"""Seconds by which the floor of tokens may be ahead of this host's clock before it is worth a word."""

_OUT_OF_USE: Final = (Limit(Promise.PROGRESS, "now: nobody can be elected through this client"),)


class RoundTrip(NamedTuple):
    """How long the store took to answer, in seconds, over a connection that stood."""

    reads: tuple[float, ...]
    writes: tuple[float, ...]

    @property
    def worst(self) -> float:
        return max(self.reads + self.writes, default=0.0)

    @property
    def read(self) -> float:
        return median(self.reads)

    @property
    def write(self) -> float | None:
        return median(self.writes) if self.writes else None


class Diagnosis(NamedTuple):
    """All that was found; the worst of it is what counts."""

    findings: tuple[Finding, ...]
    traits: Traits | None = None
    round_trip: RoundTrip | None = None
    settled: SettledRecord | None = None
    """The namespace's terms, if names may be taken on the store's present memory."""
    census: Census | None = None

    @property
    def level(self) -> Level:
        return max((finding.level for finding in self.findings), default=Level.OK)

    def exceptions(self, promise: Promise) -> list[str]:
        """When ``promise`` does not hold here."""
        found = [limit.when for finding in self.findings for limit in finding.limits if limit.promise is promise]
        return list(dict.fromkeys(found))


def out_of_use(error: BackendError) -> Finding:
    """That the store cannot be used, in the words of the error."""
    if isinstance(error, BackendUnavailable):
        return Finding(Level.ERROR, "unreachable", str(error), "see that it runs and can be reached", _OUT_OF_USE)
    return Finding(Level.ERROR, "refused", str(error), limits=_OUT_OF_USE)


def examine(engine: Engine) -> Diagnosis:
    """Look at the store, its server and the namespace. Raises nothing of the store's: that is what is found."""
    findings: list[Finding] = []
    traits = engine.backend.traits
    found = Diagnosis((), traits)
    try:
        found = _look(engine, findings)
    except MemoryGone as gone:
        advice = "look again: it is being wiped or restarted"
        findings.append(Finding(Level.ERROR, "memory-gone", str(gone), advice, _OUT_OF_USE))
    except BackendError as error:
        findings.append(out_of_use(error))
    told = _ask_driver(engine)
    # Of a store that cannot be used, the driver only repeats that.
    findings += [one for one in told if one.code != "not-examined" or found.round_trip is not None]
    return found._replace(findings=tuple(findings))


def _look(engine: Engine, findings: list[Finding]) -> Diagnosis:
    backend, timing = engine.backend, engine.terms.timing
    view = backend.read([SETTLED], timeout=timing.attempt)
    reads: list[float] = []
    for _ in range(ROUNDS):
        began = engine.clock.boot()
        view = backend.read([SETTLED], timeout=timing.attempt)
        reads.append(engine.clock.boot() - began)
    trip = RoundTrip(tuple(reads), tuple(_writes(engine, view, findings)))
    findings += _judged_speed(trip, timing.attempt)
    findings += _judged_floor(view.floor, engine.clock.now().wall)
    record = read_settled(view.seen[SETTLED].value)
    mine = SettledRecord(view.memory, timing.longest, backend.traits.durability)
    findings += _judged_terms(record, mine, backend.traits, rho=timing.rho)
    counted = take_census(engine)
    findings += _judged_census(counted)
    return Diagnosis((), backend.traits, trip, settled_in(view), counted)


def _writes(engine: Engine, view: View, findings: list[Finding]) -> Iterator[float]:
    """Write what an ended session leaves, and remove it: a register that nobody else will ever ask for."""
    timeout = engine.terms.timing.attempt
    key = session_key(f"doctor-{os.urandom(12).hex()}")
    now = engine.clock.now()
    record = SessionRecord(os.urandom(12).hex(), 0.0, Ending.CLOSED, engine.terms.holder, now.wall)
    stamp = ABSENT
    try:
        for value in (record.encode(), record.encode(), DELETE):
            began = engine.clock.boot()
            [answer] = engine.backend.swap([Write(key, stamp, value)], view.memory, timeout=timeout)
            yield engine.clock.boot() - began
            if isinstance(answer, Conflict):
                return
            stamp = answer.stamp
    except BackendRefused as error:
        findings.append(Finding(Level.ERROR, "write-refused", str(error), limits=_OUT_OF_USE))
    except BackendUnavailable as error:
        text = f"a write was not acknowledged: {error}"
        findings.append(Finding(Level.ERROR, "write-unacknowledged", text, "mend that first", _OUT_OF_USE))


def _judged_speed(trip: RoundTrip, attempt: float) -> list[Finding]:
    if trip.worst <= SLOW * attempt:
        return []
    return [
        Finding(
            Level.WARNING,
            "slow",
            f"an answer took {trip.worst:.3g} s; an attempt may take {attempt:.3g} s, a quarter of the ttl",
            f"find out why, or give all clients a ttl above {4 / SLOW * trip.worst:.2g} s",
            (Limit(Promise.PROGRESS, "when renewals are answered too late: leaders then lose their leases"),),
        )
    ]


def _judged_floor(floor: int, wall: float) -> list[Finding]:
    ahead = floor / 1e6 - wall
    if ahead <= AHEAD:
        return []
    return [
        Finding(
            Level.WARNING,
            "floor-ahead",
            f"tokens here are drawn from a clock that was {ahead:.0f} s ahead of this host's",
            "set the clock that is wrong; tokens go on rising as long as the store keeps its data",
            (Limit(Promise.TOKENS, f"if the store loses its data within the next {ahead:.0f} s"),),
        )
    ]


def _judged_terms(
    record: SettledRecord | Foreign | None, mine: SettledRecord, traits: Traits, *, rho: float
) -> list[Finding]:
    """What the register ``settled`` means to a client with the terms of ``mine``, on the memory of ``mine``."""
    wait = mine.longest * (1 + rho)
    if isinstance(record, Foreign):
        text = f"the namespace's settled register cannot be read: {record.why}"
        return [Finding(Level.ERROR, "terms-unreadable", text, "name another namespace", _OUT_OF_USE)]
    if record is None and traits.keeps_memory:
        return [Finding(Level.NOTE, "unused", "nobody has campaigned in this namespace yet")]
    if record is None:
        text = f"nobody has campaigned here yet; the first candidate watches the store for {wait:.3g} s"
        return [Finding(Level.NOTE, "unused", text, "`leaderlock init` says that nobody leads, and spares that wait")]
    if (record.longest, record.durability) != (mine.longest, mine.durability):
        return [
            Finding(
                Level.ERROR,
                "terms-differ",
                f"the namespace was settled with longest={record.longest:g} and durability={record.durability!r}; this"
                f" client says longest={mine.longest:g} and durability={mine.durability!r}, and would be refused",
                f"say --longest {record.longest:g} and (Redis) ?durability={record.durability} here, or stop every "
                "client and settle it anew: `leaderlock init --force`",
                _OUT_OF_USE,
            )
        ]
    if record.memory != mine.memory:
        return [
            Finding(
                Level.WARNING if traits.keeps_memory else Level.NOTE,
                "unsettled",
                "the store may have forgotten leaders who are alive (it was wiped, set back, restarted or failed over)",
                f"wait: a candidate that has watched it for {wait:.3g} s settles it",
                (Limit(Promise.PROGRESS, f"until a candidate has watched the store for {wait:.3g} s"),),
            )
        ]
    return [Finding(Level.OK, "settled", f"settled: longest={record.longest:g}, durability={record.durability}")]


def _judged_census(counted: Census) -> list[Finding]:
    """What is worth a word of what the namespace holds."""
    findings: list[Finding] = []
    if counted.unreadable:
        shown = ", ".join(counted.unreadable[:5])
        text = (
            f"{len(counted.unreadable)} registers are not of this version of leaderlock, or not of leaderlock: {shown}"
        )
        limit = Limit(Promise.PROGRESS, "for names whose registers cannot be read")
        findings.append(Finding(Level.WARNING, "unreadable", text, "upgrade leaderlock here, or remove them", (limit,)))
    if len(counted.programs) > 1:
        names = ", ".join(program.name for program in counted.programs[:8])
        text = f"{len(counted.programs)} programs share this namespace: {names}"
        advice = "where two of them use one name for two things, give each a namespace of its own"
        findings.append(Finding(Level.NOTE, "programs", text, advice))
    if counted.ahead > AHEAD:
        text = f"a live session's host has a wall clock {counted.ahead:.0f} s ahead of this host's"
        advice = "no lease depends on it; the times in `status` do, and how long --no-wait takes"
        findings.append(Finding(Level.NOTE, "wall-clocks", text, advice))
    if counted.cleaning:
        advice = "nothing: clients that run for more than a day remove it, bit by bit"
        findings.append(Finding(Level.NOTE, "to-clean", f"to be cleaned away: {counted.cleaning}", advice))
    return findings


def _ask_driver(engine: Engine) -> Sequence[Finding]:
    backend = engine.backend
    if not isinstance(backend, Diagnoses):
        return [Finding(Level.NOTE, "not-examined", f"the driver of {backend.traits.store} says nothing of its server")]
    try:
        return list(backend.diagnose(timeout=engine.terms.timing.attempt))
    except BackendError as error:
        return [Finding(Level.NOTE, "not-examined", f"the server could not be examined: {error}")]
    except Exception as error:  # a third party's driver must not hide what else was found
        text = f"the driver failed in examining its server: {error!r}"
        return [Finding(Level.WARNING, "driver-failed", text, "tell its authors")]
