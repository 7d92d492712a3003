"""Which memory of the store this client sees, and whether one may take on it (rules 15 to 18)."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, TypeAlias

from leaderlock._protocol.candidacy import Errand
from leaderlock._protocol.clocks import FOREVER, Deadline, Instant
from leaderlock._protocol.events import Arm, Ask, Kind, Lane, Put, Unwatch, Watch
from leaderlock._protocol.reading import read_settled
from leaderlock._protocol.records import SETTLED, Foreign, NameRecord, SettledRecord
from leaderlock._protocol.setting import Setting
from leaderlock.backend import ABSENT, Answer, Conflict, Seen, Stamp, View, Write
from leaderlock.errors import BackendRefused

__all__ = ["SETTLE", "Admission", "Memory", "TimeTold"]

SETTLE: Final = ("settle",)
"""The timer that ends the wait of rule 16."""

RETURNS: Final = 0.1
"""The share of a ttl for which a memory that was left is not taken up again: of two replicas, one of them behind, each
would else be asked because of what the other said, without end."""


TimeTold: TypeAlias = tuple[tuple[int, Instant] | None, tuple[Stamp, Instant, Instant] | None]
"""The store's highest floor, and when the read that brought it was answered; the stamp of this client's newest write,
and when that was composed and answered."""


class Admission(Enum):
    """What an answer's memory means."""

    SAME = auto()
    CHANGED = auto()
    STALE = auto()
    """It left before the present memory was seen, and names another: nobody can tell which of the two is newer."""
    BEHIND = auto()
    """It names a memory that was left, and the present one was seen only just now: of two replicas one stays behind."""


class Memory:
    """The store's memory as last seen. ``epoch`` counts the changes: what belongs to an older epoch is forgotten."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.id: str = ""
        self.epoch = 0
        self.floor = 0
        self.floor_seen: tuple[int, Instant] | None = None
        """The highest floor, and when the read that brought it was answered."""
        self.stamp_given: tuple[Stamp, Instant, Instant] | None = None
        """What the newest answer to a write said, when that write was composed, and when it was answered."""
        self.settled = False
        self.refusal: BackendRefused | None = None
        """Set while the namespace was settled under other terms than this client's."""
        self._since = Instant(0.0, 0.0, 0.0)
        self._seen: Seen | None = None
        self._flight = False
        self._is_watched = False
        self._left: set[str] = set()
        """The memories that were seen before."""

    def put(
        self,
        kind: Kind,
        write: Write,
        owner: str,
        now: Instant,
        *,
        lane: Lane = Lane.NAMES,
        record: NameRecord | None = None,
        base: NameRecord | None = None,
        floor: int = 0,
        errand: Errand | None = None,
    ) -> Put:
        """Send this write, and return it with all that must be known when its answer comes."""
        # Rule 18: every write stands on a memory. Without that the rest is void.
        put = Put(kind, write, owner, self.id, self.epoch, now, lane, record, base, floor, errand)
        self._setting.say(put)
        return put

    def admit(self, view: View, sent: Instant, now: Instant) -> Admission:
        """Take note of the memory and the floor that an answer came with."""
        if view.floor > self.floor:
            self.floor_seen = view.floor, now
        if view.memory == self.id:
            self.floor = max(self.floor, view.floor)
            return Admission.SAME
        if self.epoch and sent.boot < self._since.boot:
            return Admission.STALE
        if view.memory in self._left and Deadline.after(self._since, RETURNS * self._setting.timing.ttl).is_ahead(now):
            return Admission.BEHIND
        self._left.add(self.id)
        self.id, self.floor, self._since = view.memory, view.floor, now
        self.epoch += 1
        self.settled, self._seen, self._flight, self.refusal = False, None, False, None
        return Admission.CHANGED

    def wrote(self, stamp: Stamp, sent: Instant, now: Instant) -> None:
        """Take note of the stamp that a write of this client's was given."""
        if stamp != ABSENT:
            self.stamp_given = stamp, sent, now

    def look(self, seen: Seen) -> None:
        """What the register ``settled`` shows, on this memory."""
        self._seen = seen
        record = read_settled(seen.value)
        if isinstance(record, Foreign):
            self.refusal = BackendRefused(f"the namespace's settled register cannot be read: {record.why}")
            return
        self.refusal = self._differs(record)
        # Rule 15: once seen settled, it stays so for that memory (a read that lags cannot unsettle it).
        if record is not None and record.memory == self.id:
            self.settled = True
            self.rest()

    def pursue(self, now: Instant) -> bool:
        """Get one step nearer to a settled memory, for a candidate (rule 16); returns whether only time can help."""
        if self._flight:
            return False
        if self._seen is None:
            self._setting.say(Ask((SETTLED,)))
            return False
        if self._may_settle(now):
            self._settle(self._seen, now)
            return False
        self._setting.say(Arm(SETTLE, self.settles_at, patiently=True))
        if not self._is_watched:
            # Another candidate may have waited for longer, and a person may type `leaderlock init`.
            self._is_watched = True
            self._setting.say(Watch(SETTLED))
        return True

    def rest(self) -> None:
        """Nobody here waits for it to be settled any more."""
        if self._is_watched:
            self._is_watched = False
            self._setting.say(Unwatch(SETTLED))

    @property
    def settles_at(self) -> Deadline:
        """When this client may settle this memory by having waited."""
        timing = self._setting.timing
        return timing.wait_out(self._since, timing.longest) if self.epoch else FOREVER

    def _may_settle(self, now: Instant) -> bool:
        # Who has seen another memory of this namespace knows that it was used before, and was wiped.
        unseen = self.epoch == 1 and self._seen is not None and self._seen.stamp == ABSENT
        first_use = unseen and self._setting.keeps_memory
        return first_use or self.settles_at.has_passed(now)

    def _settle(self, seen: Seen, now: Instant) -> None:
        timing = self._setting.timing
        record = SettledRecord(self.id, timing.longest, self._setting.durability)
        write = Write(SETTLED, seen.stamp, record.encode())
        self._flight = True
        self.put(Kind.SETTLE, write, SETTLED, now)

    def answered(self, put: Put, answer: Answer) -> None:
        """The answer to a ``SETTLE`` of this epoch."""
        self._flight = False
        if isinstance(answer, Conflict):
            self.look(answer.seen)
        else:
            self.look(Seen(put.write.value, answer.stamp))

    def unanswered(self) -> None:
        """A ``SETTLE`` of this epoch came to nothing that is known: look again."""
        self._flight = False
        self._seen = None

    def _differs(self, record: SettledRecord | None) -> BackendRefused | None:
        longest, durability = self._setting.timing.longest, self._setting.durability
        if record is None or (record.longest, record.durability) == (longest, durability):
            return None
        return BackendRefused(
            f"this namespace was settled with longest={record.longest:g} and durability={record.durability!r}, but "
            f"this client says longest={longest:g} and durability={durability!r}: give all clients the same terms, or "
            "this one another namespace (`leaderlock init --force` settles it anew once every client has stopped)"
        )
