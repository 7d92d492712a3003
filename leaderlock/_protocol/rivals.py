"""Other clients' sessions: observed, and buried when they have not moved for long enough (rules 6 and 7)."""

from __future__ import annotations

from typing import Final

from leaderlock._protocol.clocks import FOREVER, Deadline, Instant
from leaderlock._protocol.events import Kind, Put
from leaderlock._protocol.memory import Memory
from leaderlock._protocol.reading import read_session
from leaderlock._protocol.records import Ending, Foreign, Holder, SessionRecord, session_key
from leaderlock._protocol.setting import Setting
from leaderlock.backend import Answer, Conflict, Seen, Write

__all__ = ["Observation", "Rivals", "burial", "observe"]

MOST_RESTING: Final = 1000
"""How many sessions are remembered that nobody here waits for at the moment."""


class Observation:
    """One session as this client has watched it, on the present memory."""

    __slots__ = ("moved", "record", "seen", "since")

    def __init__(self, seen: Seen, record: SessionRecord | Foreign | None, since: Instant) -> None:
        self.seen = seen
        self.record = record
        """``None``: absent, which is no proof of anything and observed like a live one."""
        self.since = since
        """When this very write (or absence) was first received."""
        self.moved = False
        """Whether it was seen to change: then somebody behind it is alive."""

    @property
    def mark(self) -> str | None:
        return self.record.write if isinstance(self.record, SessionRecord) else None

    @property
    def ending(self) -> Ending:
        return self.record.ended if isinstance(self.record, SessionRecord) else Ending.NO

    @property
    def moved_at(self) -> float | None:
        return self.record.moved_at if isinstance(self.record, SessionRecord) else None

    @property
    def ended(self) -> bool:
        return self.ending is not Ending.NO

    @property
    def looked_alive(self) -> bool:
        """Whether it moved under our eyes, or said when it was first seen so that it just had: for figures only."""
        record = self.record
        return isinstance(record, SessionRecord) and (self.moved or abs(record.at - self.since.wall) < record.ttl)

    def dead_at(self, setting: Setting) -> Deadline:
        """When its silence has lasted long enough (rule 7)."""
        timing = setting.timing
        match self.record:
            case None:
                return timing.wait_out(self.since, timing.longest)
            case SessionRecord(ttl=ttl):
                # The record's ttl, not the observer's own: its owner counts by that one.
                return timing.wait_out(self.since, ttl)
            case Foreign():
                return FOREVER

    def is_silent(self, setting: Setting, now: Instant) -> bool:
        return self.dead_at(setting).has_passed(now) or self._boot_clock_passed(setting, now)

    def _boot_clock_passed(self, setting: Setting, now: Instant) -> bool:
        """In the same kernel both sides read one boot clock, so nobody need wait longer than the owner itself."""
        until = self.kernel_until(setting)
        return until is not None and now.boot >= until

    def kernel_until(self, setting: Setting) -> float | None:
        boot = self.record.boot if isinstance(self.record, SessionRecord) else None
        if boot is None or (boot.id, boot.time_namespace) != setting.kernel:
            return None
        return boot.until

    def decides_at(self, setting: Setting) -> Deadline:
        """When this observer may bury it, if it does not move before."""
        patient, until = self.dead_at(setting), self.kernel_until(setting)
        if until is None or until >= patient.boot:
            return patient
        return Deadline(until, float("-inf"), until)


def observe(old: Observation | None, seen: Seen, now: Instant) -> Observation:
    """Rule 6: another ``write`` starts the wait anew, a changed stamp with the same one (a request) does not."""
    record = read_session(seen.value)
    fresh = Observation(seen, record, now)
    if old is None:
        return fresh
    if old.ended:
        return old  # ended is for ever; what shows it alive lags
    if old.mark == fresh.mark and type(old.record) is type(record):
        fresh.since, fresh.moved = old.since, old.moved
    else:
        fresh.moved = True
    return fresh


def burial(observation: Observation, write: str) -> SessionRecord:
    """What a dead session is overwritten with."""
    match observation.record:
        case SessionRecord(ttl=ttl, holder=holder, at=at, extra=extra):
            return SessionRecord(write, ttl, Ending.EXPIRED, holder, at, extra=extra)
        case _:
            return SessionRecord(write, 0.0, Ending.EXPIRED, Holder())


class Rivals:
    """The sessions that hold a name which somebody here wants. All is forgotten when the memory changes."""

    def __init__(self, setting: Setting, memory: Memory) -> None:
        self._setting = setting
        self._memory = memory
        self._known: dict[str, Observation] = {}
        self._resting: dict[str, Observation] = {}
        """Of sessions that nobody waits for just now. Who campaigns again, each time for less than a ttl, would else
        begin anew each time, and never outlive a dead leader. Nothing is decided by them before another look."""
        self.being_buried: set[str] = set()

    def get(self, session: str) -> Observation | None:
        return self._known.get(session)

    def who(self, session: str) -> str:
        """Who is behind that session, for people to read; nothing, if its record was not seen."""
        known = self._known.get(session)
        return str(known.record.holder) if known is not None and isinstance(known.record, SessionRecord) else ""

    def forget_all(self) -> None:
        self._known.clear()
        self._resting.clear()
        self.being_buried.clear()

    def rest(self, session: str) -> None:
        """Nobody waits for it any more, for now."""
        known = self._known.pop(session, None)
        if known is None:
            return
        self._resting[session] = known
        if len(self._resting) > MOST_RESTING:
            del self._resting[next(iter(self._resting))]

    def saw(self, session: str, seen: Seen, now: Instant) -> None:
        self._known[session] = observe(self._known.get(session) or self._resting.pop(session, None), seen, now)

    def ending(self, session: str) -> tuple[Ending, float | None]:
        """How that session was seen to end, and its last sign of life."""
        known = self._known.get(session)
        return (Ending.NO, None) if known is None else (known.ending, known.moved_at)

    def is_buriable(self, session: str, now: Instant) -> bool:
        """Rules 7 and 17: on settled memory only, and only after the whole wait."""
        known = self._known.get(session)
        return known is not None and self._memory.settled and not known.ended and known.is_silent(self._setting, now)

    def bury(self, session: str, now: Instant) -> None:
        """Swap the session, expecting the very stamp that was observed, to expired."""
        if session in self.being_buried:
            return
        self.being_buried.add(session)
        known = self._known[session]
        record = burial(known, self._setting.new_id())
        write = Write(session_key(session), known.seen.stamp, record.encode())
        self._memory.put(Kind.BURY, write, session, now)

    def answered(self, put: Put, answer: Answer, now: Instant) -> None:
        """The answer to a ``BURY`` of this epoch: it is dead now, or it moved."""
        self.being_buried.discard(put.owner)
        if isinstance(answer, Conflict):
            self.saw(put.owner, answer.seen, now)
        else:
            self._known[put.owner] = observe(None, Seen(put.write.value, answer.stamp), now)

    def unanswered(self, put: Put) -> None:
        self.being_buried.discard(put.owner)

    def looks_alive(self, session: str, now: Instant) -> bool:
        """Rule 14's hint, for who will not wait: it moved under our eyes, or says that it did less than a ttl ago."""
        known = self._known.get(session)
        if known is None or not isinstance(known.record, SessionRecord):
            return False
        return known.moved or abs(known.record.at - now.wall) < known.record.ttl
