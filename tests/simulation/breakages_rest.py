"""The rules about memory, cleaning and progress, each broken once."""

from __future__ import annotations

from typing import Final

from .breaking import broken
from .cores import Change
from .store import FORCE

__all__ = ["OF_MEMORY_AND_PROGRESS"]

OF_MEMORY_AND_PROGRESS: Final = (
    # -- memory
    broken(
        "taking on unsettled memory",
        Change("taking.py", "elif not self._memory.settled:", "elif False:"),
        profiles="forgetful",
        budget=50,
        first=44,
        seen_by="overlap",
    ),
    broken(
        "settling at once",
        Change("memory.py", "return first_use or self.settles_at.has_passed(now)", "return True"),
        profiles="forgetful",
        budget=30,
        seen_by="overlap",
    ),
    broken(
        "a change of memory survived without looking at the names",
        Change("session.py", ", *map(name_key, (*mine.tried, *claimed))}", "}"),
        profiles="blind",
        budget=100,
        seen_by="overlap",
    ),
    broken(
        "releases and notes not on the memory",
        Change(
            "memory.py",
            "write, owner, self.id,",
            f"write, owner, {FORCE!r} if kind in (Kind.RELEASE, Kind.NOTE) else self.id,",
        ),
        profiles="repeating",
        budget=150,
        first=12,
        seen_by="overlap tokens notes",
    ),
    broken(
        "takes not on the memory",
        Change(
            "memory.py",
            "write, owner, self.id,",
            f"write, owner, {FORCE!r} if kind in (Kind.TAKE, Kind.TOUCH) else self.id,",
        ),
        profiles="repeating",
        budget=200,
        seen_by="overlap tokens",
    ),
    broken(
        "what a watch showed of another memory counts",
        Change("machine.py", " and self._memory.epoch and shown.memory == self._memory.id:", ":"),
        profiles="told-late",
        budget=60,
        seen_by="overlap",
    ),
    broken(
        "a take's answer counts on a newer memory",
        Change(
            "names.py",
            "        if put.epoch == self._memory.epoch:\n            if isinstance(answer, Conflict):",
            "        if True:\n            if isinstance(answer, Conflict):",
        ),
        Change(
            "showing.py",
            "if self._elects(name, put) and self._sessions.stands(put.session, put.epoch, now):",
            "if self._elects(name, put) and self._sessions.stands(put.session, self._memory.epoch, now):",
        ),
        Change(
            "showing.py",
            "name.show(put.record, stamp, now, floor=0, epoch=put.epoch)",
            "name.show(put.record, stamp, now, floor=0, epoch=self._memory.epoch)",
        ),
        profiles="overtaken",
        budget=400,
        first=220,
        seen_by="overlap",
    ),
    broken(
        "cleaning too early",
        Change("cleaning.py", "if not Deadline.after(known.since, DAY).has_passed(now):", "if False:"),
        profiles="tidy",
        budget=150,
        first=30,
        seen_by="overlap tokens liveness notes",
    ),
    broken(
        "a name released for a session that was not seen ended",
        Change(
            "cleaning.py",
            "        if over is None:\n            return False\n",
            '        over = over or _Over("", now, Ending.EXPIRED)\n',
        ),
        profiles="tidy",
        budget=50,
        seen_by="overlap tokens liveness notes",
    ),
    # -- progress
    broken(
        "no touch",
        Change("names.py", "            self._taking.touch(name, now)\n", "            name.doubts = ()\n"),
        profiles="rough",
        budget=120,
        first=42,
        seen_by="liveness",
    ),
    broken(
        "a touch on any stamp",
        Change("taking.py", "name.key, take.write.expected, record", "name.key, name.stamp, record"),
        profiles="rough",
        budget=100,
        seen_by="liveness overlap tokens busy",
    ),
    broken(
        "an unknown release is forgotten",
        Change(
            "names.py",
            "        if failure is Failure.REFUSED:\n            if put.kind is Kind.TAKE",
            "        if put.kind is Kind.RELEASE:\n"
            "            name.show(put.record, name.stamp, now, floor=0, epoch=put.epoch)\n"
            "            self.advance(name, now)\n"
            "            return\n"
            "        if failure is Failure.REFUSED:\n            if put.kind is Kind.TAKE",
        ),
        profiles="rough",
        budget=150,
        seen_by="liveness notes",
    ),
    broken(
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
    broken(
        "who will not wait never observes",
        Change(
            "taking.py",
            "elif not candidacy.patient and self._rivals.looks_alive(rival, now):",
            "elif not candidacy.patient:",
        ),
        profiles="jobs",
        budget=100,
        seen_by="liveness",
    ),
    broken(
        "a holder that moves puts off the look at its names",
        Change(
            "taking.py",
            "if name.looked_at is None or Deadline.after(name.looked_at, ttl * LOOK_AT_LEAST).has_passed(now):",
            "if False:",
        ),
        profiles="scribbling",
        budget=100,
        seen_by="liveness",
    ),
)
