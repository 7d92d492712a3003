"""The protocol with one rule broken at a time, and what has to notice: the proof that the simulator can see.

Each entry of the list at the end of the protocol's page stands here. Not here, since safety does not need them (they
save time, or are second belts): that nothing is buried on unsettled memory; that an absent session is observed before
it is buried, as the swap expects its absence; the ttl after which a take in doubt is not believed any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .cores import Change
from .history import Outcome, run
from .store import FORCE

__all__ = ["BREAKAGES", "Breakage", "hunt"]


@dataclass(frozen=True, slots=True)
class Breakage:
    """Some source text changed; within ``budget`` histories of ``profiles`` in turn one of ``seen_by`` must happen."""

    name: str
    changes: tuple[Change, ...]
    profiles: tuple[str, ...]
    budget: int
    seen_by: frozenset[str]

    def __str__(self) -> str:
        return self.name


def hunt(breakage: Breakage, budget: int | None = None) -> tuple[int, Outcome] | None:
    """The first history that shows the breakage, and how many it took."""
    for number in range(budget or breakage.budget):
        profile = breakage.profiles[number % len(breakage.profiles)]
        outcome = run(profile, number, breakage.changes)
        if outcome.violation is not None and outcome.violation.kind in breakage.seen_by:
            return number + 1, outcome
    return None


def _broken(name: str, *changes: Change, profiles: str, budget: int, seen_by: str) -> Breakage:
    return Breakage(name, changes, tuple(profiles.split()), budget, frozenset(seen_by.split()))


BREAKAGES: Final = (
    # -- rivals
    _broken(
        "a rival waits its own ttl",
        Change(
            "rivals.py", "return timing.wait_out(self.since, ttl)", "return timing.wait_out(self.since, timing.ttl)"
        ),
        profiles="mixed",
        budget=10,
        seen_by="overlap",
    ),
    _broken(
        "takes without the session seen ended",
        Change("taking.py", "elif known.ended:", "elif True:"),
        profiles="mixed",
        budget=5,
        seen_by="overlap",
    ),
    _broken(
        "buries without the stamp",
        Change("rivals.py", "known.seen.stamp, burial", f"{FORCE!r}, burial"),
        profiles="mixed rough",
        budget=30,
        seen_by="overlap",
    ),
    _broken(
        "an absent session is believed ended at once",
        Change(
            "rivals.py",
            "return isinstance(self.record, SessionRecord) and self.record.ended is not Ending.NO",
            "return self.record is None or getattr(self.record, 'ended', None) not in (None, Ending.NO)",
        ),
        profiles="forgetful rough",
        budget=60,
        seen_by="overlap",
    ),
    _broken(
        "the observation is kept on a changed write",
        Change("rivals.py", "old.mark == fresh.mark and type", "type"),
        profiles="mixed",
        budget=5,
        seen_by="overlap",
    ),
    _broken(
        "the boot clock's until is too early",
        Change("setting.py", "now.boot + self.timing.ttl)", "now.boot + self.timing.ttl * 0.8)"),
        profiles="one-host",
        budget=20,
        seen_by="overlap",
    ),
    _broken(
        "the wait is cut short by a seventh",
        Change("clocks.py", "Deadline.after(received, ttl * (1 + self.rho))", "Deadline.after(received, ttl * 6 / 7)"),
        profiles="quick",
        budget=100,
        seen_by="overlap",
    ),
    _broken(
        "the wait has no drift margin",
        Change("clocks.py", "ttl * (1 + self.rho)", "ttl"),
        profiles="tight",
        budget=100,
        seen_by="overlap",
    ),
    _broken(
        "the claim has no drift margin",
        Change("clocks.py", "self.ttl * (1 - self.rho)", "self.ttl"),
        profiles="tight",
        budget=100,
        seen_by="overlap",
    ),
    _broken(
        "the wait counts from the sending of the read",
        Change(
            "machine.py",
            "self._rivals.saw(session, seen, now)\n        self._names.read",
            "self._rivals.saw(session, seen, event.sent)\n        self._names.read",
        ),
        profiles="eager",
        budget=400,
        seen_by="overlap",
    ),
    # -- the session
    _broken(
        "an unknown renewal is taken as done",
        Change("session.py", "        mine.failures += 1\n", "        self._valid_from(mine, put)\n"),
        profiles="mixed",
        budget=10,
        seen_by="overlap news",
    ),
    _broken(
        "a session id is used twice",
        Change("session.py", "OwnSession(self._setting.new_id(),", "OwnSession(self._setting.holder.label,"),
        profiles="mixed",
        budget=10,
        seen_by="overlap busy liveness tokens",
    ),
    _broken(
        "the renewal is not on the memory",
        Change(
            "session.py",
            "return Put(kind, write, mine.id, mark, self._memory.id,",
            f"return Put(kind, write, mine.id, mark, {FORCE!r},",
        ),
        profiles="outdated",
        budget=60,
        seen_by="overlap",
    ),
    _broken(
        "a passed deadline is revived",
        Change("machine.py", "if mine is None or not mine.opened or mine.standing.until.is_ahead(now):", "if True:"),
        profiles="mixed",
        budget=5,
        seen_by="news",
    ),
    _broken(
        "the deadline counts from the answer",
        Change(
            "session.py",
            "        self._valid_from(mine, put)\n",
            "        self._valid_from(mine, __import__('dataclasses').replace(put, sent=now))\n",
        ),
        profiles="eager",
        budget=100,
        seen_by="overlap",
    ),
    # -- names
    _broken(
        "the claim ends at the release's answer",
        Change(
            "names.py",
            "        name.leaving = self._holding.end(name, Cause.RESIGN)\n",
            "        if name.flight is None:\n            self._holding.release(name, now)\n",
        ),
        profiles="mixed",
        budget=5,
        seen_by="overlap",
    ),
    _broken(
        "a release without the stamp",
        Change(
            "holding.py",
            "Write(name.key, name.stamp,",
            f"Write(name.key, {FORCE!r} if kind is Kind.RELEASE else name.stamp,",
        ),
        profiles="rough",
        budget=60,
        seen_by="overlap",
    ),
    _broken(
        "a release by deletion",
        Change(
            "holding.py",
            "name.stamp, record.encode())",
            "name.stamp, None if kind is Kind.RELEASE else record.encode())",
        ),
        profiles="rough",
        budget=60,
        seen_by="overlap tokens liveness notes",
    ),
    _broken(
        "a release drops the token",
        Change("records.py", "None, token or self.token, self.note", "None, token or 0, self.note"),
        profiles="mixed",
        budget=20,
        seen_by="tokens",
    ),
    _broken(
        "the token may equal the last one",
        Change("taking.py", "base.token + 1 if base", "base.token if base"),
        profiles="mixed",
        budget=20,
        seen_by="tokens",
    ),
    _broken(
        "no floor",
        Change(
            "taking.py",
            "token = max(base.token + 1 if base is not None else 0, floor)",
            "token = base.token + 1 if base is not None else 1",
        ),
        profiles="forgetful",
        budget=30,
        seen_by="tokens",
    ),
    _broken(
        "another memory's floor",
        Change("memory.py", "self.floor = max(self.floor, view.floor)", "pass"),
        Change(
            "memory.py",
            "self.id, self.floor, self._since = view.memory, view.floor, now",
            "self.id, self.floor, self._since = view.memory, self.floor or view.floor, now",
        ),
        Change("taking.py", "else name.floor", "else self._memory.floor"),
        profiles="forgetful",
        budget=30,
        seen_by="tokens",
    ),
    _broken(
        "a note by force",
        Change(
            "holding.py",
            "Write(name.key, name.stamp,",
            f"Write(name.key, {FORCE!r} if kind is Kind.NOTE else name.stamp,",
        ),
        profiles="rough",
        budget=60,
        seen_by="overlap tokens liveness notes",
    ),
    _broken(
        "a touch by force",
        Change("taking.py", "self._put(Kind.TOUCH, name, doubt.expected,", f"self._put(Kind.TOUCH, name, {FORCE!r},"),
        profiles="rough",
        budget=60,
        seen_by="overlap tokens",
    ),
    _broken(
        "an unknown take is believed after a gap",
        Change(
            "names.py",
            "self._sessions.stands(put.session, put.epoch, now)\n\n    def read",
            "(mine := self._sessions.current) is not None and self._sessions.stands(mine.id, put.epoch, now)\n\n    def read",
        ),
        Change(
            "names.py",
            "                name.doubts = ()\n                self.advance(name, now)\n",
            "                self.advance(name, now)\n",
        ),
        profiles="rough",
        budget=100,
        seen_by="overlap",
    ),
    # -- memory
    _broken(
        "taking on unsettled memory",
        Change("taking.py", "elif not self._memory.settled:", "elif False:"),
        profiles="forgetful",
        budget=10,
        seen_by="overlap",
    ),
    _broken(
        "settling at once",
        Change("memory.py", "return first_use or self.settles_at.has_passed(now)", "return True"),
        profiles="forgetful",
        budget=10,
        seen_by="overlap",
    ),
    _broken(
        "a change of memory survived without looking at the names",
        Change("session.py", "{session_key(mine.id), *map(name_key, mine.tried)}", "{session_key(mine.id)}"),
        profiles="blind",
        budget=100,
        seen_by="overlap",
    ),
    _broken(
        "releases and notes not on the memory",
        Change(
            "holding.py",
            "put = Put(kind, write, name.name, record.write, memory.id,",
            f"put = Put(kind, write, name.name, record.write, {FORCE!r},",
        ),
        profiles="repeating",
        budget=150,
        seen_by="overlap tokens notes",
    ),
    _broken(
        "takes not on the memory",
        Change(
            "taking.py",
            "put = Put(kind, write, name.name, record.write, memory.id,",
            f"put = Put(kind, write, name.name, record.write, {FORCE!r},",
        ),
        profiles="repeating",
        budget=150,
        seen_by="overlap tokens",
    ),
    _broken(
        "a take's answer counts on a newer memory",
        Change(
            "names.py",
            "        if put.epoch == self._memory.epoch:\n            if isinstance(answer, Conflict):",
            "        if True:\n            if isinstance(answer, Conflict):",
        ),
        Change(
            "names.py",
            "candidacy is not None and self._sessions.stands(put.session, put.epoch, now):",
            "candidacy is not None and self._sessions.stands(put.session, self._memory.epoch, now):",
        ),
        Change(
            "names.py",
            "name.show(put.record, stamp, now, floor=0, epoch=put.epoch)",
            "name.show(put.record, stamp, now, floor=0, epoch=self._memory.epoch)",
        ),
        profiles="overtaken",
        budget=400,
        seen_by="overlap",
    ),
    _broken(
        "cleaning too early",
        Change("cleaning.py", "if not Deadline.after(since, DAY).has_passed(now):", "if False:"),
        profiles="tidy",
        budget=150,
        seen_by="overlap tokens liveness",
    ),
    # -- progress
    _broken(
        "no touch",
        Change("names.py", "            self._taking.touch(name, now)\n", "            name.doubts = ()\n"),
        profiles="rough",
        budget=60,
        seen_by="liveness",
    ),
    _broken(
        "a touch on any stamp",
        Change("taking.py", "self._put(Kind.TOUCH, name, doubt.expected,", "self._put(Kind.TOUCH, name, name.stamp,"),
        profiles="rough",
        budget=100,
        seen_by="liveness overlap tokens busy",
    ),
    _broken(
        "an unknown release is forgotten",
        Change(
            "names.py",
            "        if failure is Failure.REFUSED:\n            if put.kind is Kind.TAKE",
            "        if put.kind is Kind.RELEASE:\n"
            "            name.show(put.record, name.stamp, floor=0, epoch=put.epoch)\n"
            "            self.advance(name, now)\n"
            "            return\n"
            "        if failure is Failure.REFUSED:\n            if put.kind is Kind.TAKE",
        ),
        profiles="rough",
        budget=60,
        seen_by="liveness",
    ),
    _broken(
        "orphans are never released",
        Change(
            "names.py",
            "self._sessions.is_mine(name.shown_session):",
            "self._sessions.is_mine(name.shown_session) and name.leaving:",
        ),
        profiles="rough forgetful",
        budget=100,
        seen_by="liveness",
    ),
    _broken(
        "who will not wait never observes",
        Change(
            "taking.py",
            "elif not candidacy.patient and self._rivals.looks_alive(rival, now):",
            "elif not candidacy.patient:",
        ),
        profiles="jobs",
        budget=30,
        seen_by="liveness",
    ),
)
