"""This client's own session: one register, rewritten every ttl/3, on which all of its leases stand (rules 1 to 5).

And the verification of rule 17: after the store's memory changed, the session and every name that it ever tried to
take are looked at again before the first renewal there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from leaderlock._protocol.candidacy import LossReason, Standing
from leaderlock._protocol.clocks import PAST, Deadline, Instant
from leaderlock._protocol.events import Arm, Ask, Disarm, Failure, Kind, Lane, Put, Retry, Scan, Scanned, Warn
from leaderlock._protocol.memory import Memory
from leaderlock._protocol.reading import read_name, read_session
from leaderlock._protocol.records import SETTLED, Ending, NameRecord, Request, SessionRecord, name_key, session_key
from leaderlock._protocol.setting import Setting
from leaderlock.backend import ABSENT, Answer, Conflict, Seen, Stamp, Write

__all__ = ["DEADLINE", "RENEW", "VERIFY", "OwnSession", "Sessions"]

RENEW: Final = ("renew",)
DEADLINE: Final = ("deadline",)
VERIFY: Final = ("verify",)

SCAN: Final = name_key("")
"""Among the registers to verify: the scan that finds the names which are not remembered, until it has ended."""

REMEMBERED: Final = 20_000
"""How many names tried are remembered one by one; beyond that a scan finds them (rule 17)."""


class OwnSession:
    """One session of this client's, from its open to its end. Its id is never used again."""

    def __init__(self, id: str, stands_on: int) -> None:
        self.id = id
        self.stands_on = stands_on
        """The epoch of memory on which it was acknowledged, or seen alive (rule 8)."""
        self.stamp: Stamp = ABSENT
        self.opened = False
        self.standing = Standing()
        self.renewed_at = 0.0
        """When the last renewal that was acknowledged was sent, by the wall clock."""
        self.renewing: Put | None = None
        self.failures = 0
        self.tried: set[str] = set()
        self.tried_more = False
        self.to_verify: set[str] = set()

    def try_name(self, name: str) -> None:
        if len(self.tried) >= REMEMBERED:
            self.tried.clear()
            self.tried_more = True
        self.tried.add(name)


class Retired:
    """A session that was given up: it is closed as soon as the store answers, which frees whatever it holds."""

    def __init__(self, stamp: Stamp, *, opened: bool, delete: bool, lost_at: float | None) -> None:
        self.stamp = stamp
        self.lost_at = lost_at
        """Its last sign of life, if it was lost; ``None``: it is closed on purpose."""
        self.opened = opened
        self.delete = delete
        self.failures = 0


class Sessions:
    """The present session, and those given up that the store still has to be told about."""

    def __init__(self, setting: Setting, memory: Memory) -> None:
        self._setting = setting
        self._memory = memory
        self.current: OwnSession | None = None
        self.retired: dict[str, Retired] = {}

    # -- what the names ask

    def stands(self, session: str | None, epoch: int, now: Instant) -> bool:
        """Whether that session is this client's, valid now, and stands on that memory (rule 8)."""
        mine = self.current
        return (
            mine is not None
            and mine.id == session
            and mine.opened
            and mine.stands_on == epoch == self._memory.epoch
            and mine.standing.until.is_ahead(now)
        )

    def is_mine(self, session: str | None) -> bool:
        """Whether a name that shows this session shows the present one."""
        return self.current is not None and self.current.id == session

    def for_take(self, now: Instant) -> OwnSession | None:
        """The session to take a name with; ``None``: not yet. Where there is none it opens one, ahead of the take."""
        mine = self.current
        if mine is None:
            return self._open(now)
        return mine if self.stands(mine.id, self._memory.epoch, now) else None

    # -- opening and renewing

    def _open(self, now: Instant) -> OwnSession:
        mine = self.current = OwnSession(self._setting.new_id(), self._memory.epoch)
        mine.renewing = self._say_alive(Kind.OPEN, mine, ABSENT, now)
        return mine

    def _say_alive(self, kind: Kind, mine: OwnSession, expected: Stamp, now: Instant) -> Put:
        record = SessionRecord(
            write=self._setting.new_id(),
            ttl=self._setting.timing.ttl,
            holder=self._setting.holder,
            at=now.wall,
            boot=self._setting.boot_until(now),
        )
        write = Write(session_key(mine.id), expected, record.encode())
        lane = Lane.NAMES if kind is Kind.OPEN else Lane.SESSION
        return self._memory.put(kind, write, mine.id, now, lane=lane)

    def renew(self, now: Instant) -> None:
        """Rule 2. Never on a memory on which the names were not looked at (rules 17 and 18)."""
        mine = self.current
        if mine is None or not mine.opened or mine.renewing or mine.stands_on != self._memory.epoch:
            return
        mine.renewing = self._say_alive(Kind.RENEW, mine, mine.stamp, now)

    def _valid_from(self, mine: OwnSession, put: Put) -> None:
        timing = self._setting.timing
        until = timing.claim(put.sent)
        # Rule 2: valid until its own sent_at + ttl(1 - rho), and never earlier than before.
        mine.standing.until = max(mine.standing.until, until)
        mine.renewed_at = put.sent.wall
        mine.failures = 0
        self._setting.say(Arm(DEADLINE, mine.standing.until))
        self._setting.say(Arm(RENEW, Deadline.after(put.sent, timing.renew_every)))

    # -- answers

    def answered(self, put: Put, answer: Answer, now: Instant) -> LossReason | None:
        """The answer to an open or a renewal; returns why the session is lost, if it is."""
        mine = self.current
        if mine is None or mine.id != put.owner:
            if put.owner in self.retired and not isinstance(answer, Conflict):
                self.retired[put.owner].stamp = answer.stamp
            return None
        if mine.renewing is not put:
            return None
        mine.renewing = None
        if put.epoch != self._memory.epoch:
            return None  # rule 9: an answer counts only while no newer memory has been seen
        if isinstance(answer, Conflict):
            return self._contradicted(mine, answer.seen, now)
        mine.opened = True
        mine.stamp = answer.stamp
        self._valid_from(mine, put)
        return None if mine.standing.until.is_ahead(now) else LossReason.EXPIRED

    def _contradicted(self, mine: OwnSession, seen: Seen, now: Instant) -> LossReason | None:
        """Rule 3: ended or absent is a loss, now; alive under another stamp is ours to go on with."""
        record = read_session(seen.value)
        if not mine.opened or not isinstance(record, SessionRecord) or record.ended is not Ending.NO:
            return LossReason.REVOKED
        mine.stamp = seen.stamp
        self.renew(now)  # this alone extends nothing
        return None

    def requests_in(self, seen: Seen) -> tuple[Request, ...]:
        """What others ask of this client's session, as it was shown."""
        record = read_session(seen.value)
        return record.requests if isinstance(record, SessionRecord) else ()

    def unanswered(self, put: Put, failure: Failure, error: Exception) -> None:
        """An open or a renewal that was not answered. A renewal changes nothing (rule 4); an open is abandoned."""
        mine = self.current
        if mine is None or mine.renewing is not put:
            return
        mine.renewing = None
        if not mine.opened:
            # Rule 1: of an open whose outcome is unknown nobody can say since when it holds. Another id, and this one
            # is closed (rule 5).
            self.give_up(known_ended=failure in (Failure.NEVER_SENT, Failure.REFUSED))
            return
        mine.failures += 1
        if failure is Failure.REFUSED:
            self._setting.say(Warn(f"the store refused to renew the session: {error}"))
        self._setting.say(Retry(RENEW, mine.failures))

    # -- giving up and closing

    def give_up(self, *, known_ended: bool, delete: bool = False, is_lost: bool = False) -> None:
        """The session is over for this client, whatever the store says: never revived, closed when it answers."""
        mine = self.current
        if mine is None:
            return
        mine.standing.until = PAST
        self.current = None
        for timer in (RENEW, DEADLINE, VERIFY):
            self._setting.say(Disarm(timer))
        if not known_ended:
            lost_at = mine.renewed_at if is_lost else None
            self.retired[mine.id] = Retired(mine.stamp, opened=mine.opened, delete=delete, lost_at=lost_at)

    def close_retired(self, session: str, now: Instant) -> None:
        """Rule 5: swap it to closed (one that was lost to expired), or, where nothing can still name it, away."""
        gone, setting = self.retired.get(session), self._setting
        if gone is None:
            return
        how, at = (Ending.CLOSED, now.wall) if gone.lost_at is None else (Ending.EXPIRED, gone.lost_at)
        record = SessionRecord(setting.new_id(), setting.timing.ttl, how, setting.holder, at)
        write = Write(session_key(session), gone.stamp, None if gone.delete else record.encode())
        self._memory.put(Kind.CLOSE, write, session, now, lane=Lane.SESSION)

    def closed(self, put: Put, answer: Answer, now: Instant) -> None:
        gone = self.retired.get(put.owner)
        if gone is None:
            return
        if isinstance(answer, Conflict):
            record = read_session(answer.seen.value)
            if isinstance(record, SessionRecord) and record.ended is Ending.NO:
                gone.stamp = answer.seen.stamp
                self.close_retired(put.owner, now)
                return
        del self.retired[put.owner]

    def not_closed(self, put: Put) -> None:
        gone = self.retired.get(put.owner)
        if gone is None:
            return
        gone.failures += 1
        self._setting.say(Retry(("close", put.owner), gone.failures))

    # -- another memory

    def memory_changed(self, claimed: Iterable[str]) -> None:
        """Rule 17: nothing is renewed on the new memory before everything was looked at there."""
        for session, gone in list(self.retired.items()):
            gone.delete = False  # what was given back may show it again
            if not gone.opened:
                del self.retired[session]  # its late open stands on the old memory, and cannot be applied any more
        mine = self.current
        if mine is None:
            return
        mine.renewing = None
        if not mine.opened:
            self.give_up(known_ended=True)
            return
        # What is claimed and not remembered any more may have been forgotten by the store, and then no scan finds it.
        mine.to_verify = {session_key(mine.id), *map(name_key, (*mine.tried, *claimed))}
        if mine.tried_more:
            mine.to_verify.add(SCAN)
        self.verify()

    def verify(self) -> None:
        mine = self.current
        if mine is None or mine.stands_on == self._memory.epoch:
            return
        self._setting.say(Ask((SETTLED, *sorted(mine.to_verify - {SCAN})), lane=Lane.SESSION))
        if SCAN in mine.to_verify:
            self._setting.say(Scan(SCAN, run=self._memory.epoch))

    def scanned(self, event: Scanned) -> None:
        """Find the names that show this session among all of them; look at them once more, on the present memory."""
        mine = self.current
        if mine is None or SCAN not in mine.to_verify or event.scan.run != self._memory.epoch:
            return
        for key, seen in event.items:
            record = read_name(seen.value)
            if isinstance(record, NameRecord) and record.session == mine.id:
                mine.to_verify.add(key)
        if not event.finished:
            self._setting.say(event.scan)
        else:
            # Only this verification has found them all: what was tried is still not remembered, and another loss of
            # memory needs another scan.
            mine.to_verify.discard(SCAN)
            self.verify()

    def verified(self, keys: Iterable[str], seen: Seen | None, now: Instant) -> LossReason | None:
        """These registers were read on the present memory; ``seen`` is the session's own, if it is among them."""
        mine = self.current
        assert mine is not None
        if seen is not None:
            record = read_session(seen.value)
            if not isinstance(record, SessionRecord) or record.ended is not Ending.NO:
                return LossReason.STORE_FORGOT
            mine.stamp = seen.stamp
        mine.to_verify.difference_update(keys)
        if not mine.to_verify:
            mine.stands_on = self._memory.epoch
            self.renew(now)
        return None
