"""The rules that hold as long as the store keeps what it acknowledged, each broken once."""

from __future__ import annotations

from typing import Final

from .breaking import broken
from .cores import Change
from .store import FORCE

__all__ = ["WITHOUT_LOSSES"]

WITHOUT_LOSSES: Final = (
    # -- rivals
    broken(
        "a rival waits its own ttl",
        Change(
            "rivals.py", "return timing.wait_out(self.since, ttl)", "return timing.wait_out(self.since, timing.ttl)"
        ),
        profiles="mixed",
        budget=60,
        seen_by="overlap",
    ),
    broken(
        "takes without the session seen ended",
        Change("taking.py", "elif known.ended:", "elif True:"),
        profiles="mixed",
        budget=5,
        seen_by="overlap",
    ),
    broken(
        "buries without the stamp",
        Change("rivals.py", "known.seen.stamp, record", f"{FORCE!r}, record"),
        profiles="mixed rough",
        budget=30,
        seen_by="overlap",
    ),
    broken(
        "an absent session is believed ended at once",
        Change(
            "rivals.py",
            "return self.ending is not Ending.NO",
            "return self.record is None or getattr(self.record, 'ended', None) not in (None, Ending.NO)",
        ),
        profiles="forgetful rough",
        budget=60,
        seen_by="overlap",
    ),
    broken(
        "the observation is kept on a changed write",
        Change("rivals.py", "old.mark == fresh.mark and type", "type"),
        profiles="mixed",
        budget=5,
        seen_by="overlap",
    ),
    broken(
        "the boot clock's until is too early",
        Change("setting.py", "now.boot + self.timing.ttl)", "now.boot + self.timing.ttl * 0.8)"),
        profiles="one-host",
        budget=20,
        seen_by="overlap",
    ),
    broken(
        "the wait is cut short by a seventh",
        Change("clocks.py", "Deadline.after(received, ttl * (1 + self.rho))", "Deadline.after(received, ttl * 6 / 7)"),
        profiles="quick",
        budget=100,
        seen_by="overlap",
    ),
    broken(
        "the wait has no drift margin",
        Change("clocks.py", "ttl * (1 + self.rho)", "ttl"),
        profiles="tight",
        budget=100,
        seen_by="overlap",
    ),
    broken(
        "the claim has no drift margin",
        Change("clocks.py", "self.ttl * (1 - self.rho)", "self.ttl"),
        profiles="tight",
        budget=100,
        seen_by="overlap",
    ),
    broken(
        "the wait counts from the sending of the read",
        Change(
            "machine.py",
            "self._rivals.saw(session, seen, now)\n        self._names.read",
            "self._rivals.saw(session, seen, event.sent)\n        self._names.read",
        ),
        profiles="eager",
        budget=400,
        first=13,
        seen_by="overlap",
    ),
    # -- the session
    broken(
        "an unknown renewal is taken as done",
        Change("session.py", "        mine.failures += 1\n", "        self._valid_from(mine, put)\n"),
        profiles="mixed",
        budget=60,
        seen_by="overlap news",
    ),
    broken(
        "a session id is used twice",
        Change("session.py", "OwnSession(self._setting.new_id(),", "OwnSession(self._setting.holder.label,"),
        profiles="mixed",
        budget=20,
        seen_by="overlap busy liveness tokens",
    ),
    broken(
        "the renewal is not on the memory",
        Change(
            "memory.py",
            "write, owner, self.id,",
            f"write, owner, {FORCE!r} if kind in (Kind.OPEN, Kind.RENEW) else self.id,",
        ),
        profiles="outdated",
        budget=60,
        seen_by="overlap",
    ),
    broken(
        "a passed deadline is revived",
        Change("ours.py", "if mine is None or not mine.opened or mine.standing.until.is_ahead(now):", "if True:"),
        profiles="mixed",
        budget=5,
        seen_by="news",
    ),
    broken(
        "the deadline counts from the answer",
        Change(
            "session.py",
            "        self._valid_from(mine, put)\n",
            "        self._valid_from(mine, put._replace(sent=now))\n",
        ),
        profiles="eager",
        budget=100,
        first=21,
        seen_by="overlap",
    ),
    # -- names
    broken(
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
    broken(
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
    broken(
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
    broken(
        "a release drops the token",
        Change("records.py", "None, token or self.token, self.note", "None, token or 0, self.note"),
        profiles="mixed",
        budget=20,
        seen_by="tokens",
    ),
    broken(
        "the token may equal the last one",
        Change("taking.py", "base.token + 1 if base", "base.token if base"),
        profiles="mixed",
        budget=20,
        seen_by="tokens",
    ),
    broken(
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
    broken(
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
    broken(
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
    broken(
        "a touch by force",
        Change("taking.py", "name.key, take.write.expected, record", f"name.key, {FORCE!r}, record"),
        profiles="rough",
        budget=60,
        seen_by="overlap tokens",
    ),
    broken(
        "an unknown take is believed after a gap",
        Change(
            "showing.py",
            "self._sessions.stands(put.session, put.epoch, now)\n\n    def done",
            "bool(mine := self._sessions.current) and self._sessions.stands(mine.id, put.epoch, now)\n\n    def done",
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
    broken(
        "an errand is won by a take that carries another's note",
        Change("showing.py", "candidacy.campaigns and candidacy.errand is take.errand", "candidacy.campaigns"),
        profiles="errands",
        budget=40,
        seen_by="notes",
    ),
    broken(
        "an errand's note is not made from the one that its take replaces",
        Change("taking.py", 'base.note if base is not None else b"", token, now', 'b"", token, now'),
        profiles="errands",
        budget=5,
        seen_by="notes",
    ),
    broken(
        "a note that is tried again is answered twice",
        Change(
            "showing.py", "if name.notes and name.flight is None and name.recognise", "if name.notes and name.recognise"
        ),
        profiles="scribbling",
        budget=80,
        seen_by="notes news",
    ),
)
