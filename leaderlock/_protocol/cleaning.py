"""Cleaning, by long-lived clients, in small slices, by stamp (rule 19).

Sessions that nobody keeps alive are buried, and the names that an ended one still shows are released; what has ended,
and names released with a token below the floor, are deleted a day later at the earliest, counted on this client's own
steady clocks. Never sooner: ABSENT is the one stamp that comes back, and no request travels for a day.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from leaderlock._protocol.clocks import Deadline, Instant
from leaderlock._protocol.events import Arm, Kind, Put, Scan, Scanned
from leaderlock._protocol.memory import Memory
from leaderlock._protocol.reading import read_name
from leaderlock._protocol.records import NAMES, SESSIONS, Ending, NameRecord, session_key
from leaderlock._protocol.rivals import Observation, burial, observe
from leaderlock._protocol.setting import Setting
from leaderlock.backend import DELETE, Seen, Write

__all__ = ["CLEAN", "Cleaning"]

CLEAN: Final = ("clean",)
DAY: Final = 86_400.0
ENOUGH: Final = 10
"""So many clients that clean are enough: where more are seen to live, each does it more rarely."""
AT_LEAST_EVERY: Final = 3_600.0
WATCHED: Final = 20_000
"""How many registers are watched at most for their turn to come: bounded memory, the others wait."""
AT_ONCE: Final = 250
"""How many writes one slice makes at most: half of what it reads, so that a slice in which everything is over takes two
visits, and a take that queues behind one waits for a few milliseconds."""


class _Over(NamedTuple):
    """A register that nobody needs any more."""

    write: str
    """That very write, since stamps may come back."""
    since: Instant
    """When it was first seen."""
    how: Ending = Ending.NO
    """How it ended, if it is a session's."""
    until: float | None = None
    """Its last sign of life, then."""


class Cleaning:
    """What this client has seen lying about, since when, under which stamp."""

    def __init__(self, setting: Setting, memory: Memory) -> None:
        self._setting = setting
        self._memory = memory
        self._every = max(60.0, 4 * setting.timing.longest)
        self._sessions: dict[str, Observation] = {}
        self._over: dict[str, _Over] = {}
        """Registers that are over, by key."""
        self._met: set[str] = set()
        """Those of them that the present pass has come upon. What a whole pass did not meet, others have removed: were
        it not forgotten, the sessions of jobs that come and go would fill the list, and nothing be cleaned again."""
        self._prefixes: Sequence[str] = (SESSIONS, NAMES)
        self._behind = False
        """Whether the pass over the names has left some for the next: sessions that they may show stay until then."""
        self._started = False

    def start(self, now: Instant) -> None:
        if not self._started:
            self._started = True
            self._wait(now)

    def _wait(self, now: Instant) -> None:
        living = sum(known.looked_alive for known in self._sessions.values())
        every = max(self._every, min(self._every * living / ENOUGH, AT_LEAST_EVERY))
        self._setting.say(Arm(CLEAN, Deadline.after(now, every)))

    def forget_all(self) -> None:
        self._sessions.clear()
        self._over.clear()
        self._met.clear()

    @property
    def _run(self) -> int:
        """The number of the cleaner's scans, another for each memory: the rest of one that began before shows what was
        forgotten since, and in some stores its stamps come back."""
        return -self._memory.epoch

    def fired(self, now: Instant) -> None:
        if self._memory.settled:
            self._setting.say(Scan(self._prefixes[0], run=self._run))
        self._wait(now)

    def scanned(self, event: Scanned, now: Instant) -> None:
        """A slice of the registers: note what is new, finish what has waited."""
        if event.scan.run != self._run or not self._memory.settled:
            return
        room = AT_ONCE
        for key, seen in event.items:
            if not room:
                self._behind = self._behind or key.startswith(NAMES)
            elif self._look(key, seen, now):
                room -= 1
            if key in self._sessions or key in self._over:
                self._met.add(key)
        if event.finished:
            self._forget_unmet(event.scan.prefix)
            self._prefixes = self._prefixes[::-1]
            if self._prefixes[0] == NAMES:
                self._behind = False

    def _forget_unmet(self, prefix: str) -> None:
        for known in (self._sessions, self._over):
            for key in [key for key in known if key.startswith(prefix) and key not in self._met]:
                del known[key]
        self._met.clear()

    def _look(self, key: str, seen: Seen, now: Instant) -> bool:
        if seen.value is None:
            return False
        if key.startswith(SESSIONS):
            return self._look_at_session(key, seen, now)
        record = read_name(seen.value)
        if not isinstance(record, NameRecord):
            return False
        if record.session is not None:
            return self._release(key, seen, record, record.session, now)
        if record.note or record.token >= self._memory.floor:
            return False  # a note outlives its term: nobody may lose "processed up to here" by a day's rest
        return self._delete_later(key, seen, _Over(record.write, now), now)

    def _release(self, key: str, seen: Seen, record: NameRecord, session: str, now: Instant) -> bool:
        """A name that its leader took along: were it still there when the record of his session goes, the next
        candidate would find no proof that he is gone, and wait for the longest ttl."""
        over = self._over.get(session_key(session))
        if over is None:
            return False
        released = record.abandoned(write=self._setting.new_id(), at=now.wall, how=over.how, until=over.until)
        self._put(Write(key, seen.stamp, released.encode()), now)
        return True

    def _look_at_session(self, key: str, seen: Seen, now: Instant) -> bool:
        if key not in self._sessions and len(self._sessions) >= WATCHED:
            return False
        known = self._sessions[key] = observe(self._sessions.get(key), seen, now)
        if known.ended:
            self._sessions.pop(key)
            return self._delete_later(key, seen, _Over(known.mark or "", now, known.ending, known.moved_at), now)
        if not known.is_silent(self._setting, now):
            return False
        self._put(Write(key, seen.stamp, burial(known, self._setting.new_id()).encode()), now)
        return True

    def _delete_later(self, key: str, seen: Seen, over: _Over, now: Instant) -> bool:
        known = self._over.get(key)
        if known is None or known.write != over.write:
            if known is not None or len(self._over) < WATCHED:
                self._over[key] = over
            return False
        if not Deadline.after(known.since, DAY).has_passed(now):
            return False
        if self._behind and key.startswith(SESSIONS):
            return False
        del self._over[key]
        self._put(Write(key, seen.stamp, DELETE), now)
        return True

    def _put(self, write: Write, now: Instant) -> None:
        self._memory.put(Kind.CLEAN, write, write.key, now)

    def answered(self, put: Put) -> None:
        """Done or not, it was only cleaning: the next round looks again."""
        self._sessions.pop(put.owner, None)
