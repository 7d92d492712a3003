"""A name that is held: the claim, what is read of it, its note, and its end (rules 9, 11, 12 and 13)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from leaderlock._protocol.candidacy import Candidacy, Cause, Elected, LossReason, Lost, NoteLost, NoteSaved, State
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import Ask, Disarm, Kind, Tell, Watch
from leaderlock._protocol.memory import Memory
from leaderlock._protocol.name import Name
from leaderlock._protocol.records import Foreign, NameRecord
from leaderlock._protocol.session import Sessions
from leaderlock._protocol.setting import Setting
from leaderlock.backend import Write

__all__ = ["Holding"]

READ_AT_ONCE: Final = 500
"""How many of its own names a holder reads with each renewal (rule 9)."""


class Holding:
    """The names that this client leads."""

    def __init__(self, setting: Setting, memory: Memory, sessions: Sessions) -> None:
        self._setting = setting
        self._memory = memory
        self._sessions = sessions
        self.claimed: dict[str, Name] = {}
        self._round: Iterator[str] = iter(())

    # -- the claim

    def elect(self, name: Name, candidacy: Candidacy, record: NameRecord) -> None:
        """Held from here on: the take is acknowledged, and the session that it names is valid and stands."""
        mine = self._sessions.current
        assert mine is not None
        candidacy.token = record.token
        candidacy.undo = self._undone(name, record)
        name.undo = None
        candidacy.standing = mine.standing
        candidacy.move(Cause.ELECTED)
        if mine.failures:
            candidacy.move(Cause.TROUBLE)
        self.claimed[name.name] = name
        self._setting.say(Disarm(name.timer))
        self._setting.say(Tell(candidacy, Elected(record.token, record.note)))

    def lose(self, name: Name, reason: LossReason) -> None:
        """The term is over, and whoever led is told why."""
        candidacy = self.end(name, Cause.LOSE)
        candidacy.reason = reason
        self._setting.say(Tell(candidacy, Lost(reason)))

    def end(self, name: Name, cause: Cause) -> Candidacy:
        """End the claim, first of all (rule 11): the store is told afterwards."""
        candidacy, name.candidacy = name.candidacy, None
        assert candidacy is not None
        candidacy.move(cause)
        del self.claimed[name.name]
        for note in name.notes:
            self._setting.say(Tell(candidacy, NoteLost(note.ticket)))
        name.notes = ()
        # Only notes can be in doubt while a name is claimed. Who releases it takes whatever stamp is there (rule 12),
        # and if somebody else has it, none of ours can be applied any more: nothing is left to find out.
        name.doubts = ()
        return candidacy

    def trouble(self) -> None:
        """A renewal was not answered: every lease is in jeopardy, and its deadline decides."""
        for name in self.claimed.values():
            if name.candidacy is not None and name.candidacy.state is State.LEADING:
                name.candidacy.move(Cause.TROUBLE)

    def renewed(self) -> None:
        for name in self.claimed.values():
            if name.candidacy is not None and name.candidacy.state is State.JEOPARDY:
                name.candidacy.move(Cause.RENEWED)

    # -- what is read of it (rule 9)

    def look_at_own(self) -> None:
        """With each renewal, look at the own names too: all of them, or the next few hundred in turn."""
        keys: list[str] = []
        for key in islice(self._next_names(), min(READ_AT_ONCE, len(self.claimed))):
            name = self.claimed[key]
            keys.append(name.key)
            if not name.watched:
                name.watched = True
                self._setting.say(Watch(name.key))
        if keys:
            self._setting.say(Ask(tuple(keys)))

    def _next_names(self) -> Iterator[str]:
        while self.claimed:
            for key in self._round:
                if key in self.claimed:
                    yield key
            self._round = iter(tuple(self.claimed))

    def shows_ours(self, candidacy: Candidacy, record: NameRecord | Foreign | None) -> bool:
        return (
            isinstance(record, NameRecord)
            and record.token == candidacy.token
            and self._sessions.is_mine(record.session)
        )

    def verdict(self, name: Name, record: NameRecord | Foreign | None, *, decided: bool) -> LossReason | None:
        """What it means that the register of a held name shows something else.

        ``decided``: a swap's answer, which tells what *is* there; a read may lag.
        """
        assert name.candidacy is not None
        if name.epoch != self._memory.epoch:
            return LossReason.STORE_FORGOT  # rule 17: not there on the new memory
        if isinstance(record, NameRecord) and record.token > name.candidacy.token:
            return LossReason.SUPERSEDED
        if decided or isinstance(record, Foreign):
            return LossReason.REVOKED
        return None  # a lower token, or none, in a read of the same memory: it lags

    def reassert(self, name: Name, now: Instant) -> None:
        """Write what the name showed last once more, over the stamp it had: the answer tells whether it still does."""
        record = name.record
        assert isinstance(record, NameRecord)
        self._put(name, Kind.TOUCH, record._replace(write=self._setting.new_id()), now)

    # -- the note (rule 12)

    def put_note(self, name: Name, now: Instant) -> None:
        record = name.record
        assert isinstance(record, NameRecord)
        mark, note = self._setting.new_id(), name.notes[0].note
        self._put(name, Kind.NOTE, record._replace(write=mark, note=note, at=now.wall), now)

    def note_answered(self, name: Name, error: Exception | None = None) -> None:
        """The first of its notes was saved, or refused with this error."""
        first, *rest = name.notes
        name.notes = tuple(rest)
        news = NoteSaved(first.ticket, first.note) if error is None else NoteLost(first.ticket, error)
        self._setting.say(Tell(first.candidacy, news))

    # -- the end (rules 11 and 13)

    def release(self, name: Name, now: Instant) -> None:
        """Swap the stamp that is there to released, keeping token and note. Never delete, never without the stamp."""
        record = name.record
        assert isinstance(record, NameRecord)
        # Rule 10: a take that is given back is in doubt no longer. Whatever shows it from now on may be older than this
        # release, and than somebody else's take after it.
        name.doubts = tuple(put for put in name.doubts if put.mark != record.write)
        leaving = name.leaving
        how = "given back" if leaving is None else "yielded" if leaving.asked else "resigned"
        # Rule 12: a release may carry a note. It is that of the term which the record shows, or it stays unsaid.
        if leaving is None:
            note = self._undone(name, record)
        else:
            note = leaving.farewell if leaving.token == record.token else None
        mark = self._setting.new_id()
        self._put(name, Kind.RELEASE, record.released(write=mark, how=how, at=now.wall, note=note), now)

    @staticmethod
    def _undone(name: Name, record: NameRecord) -> bytes | None:
        """The note that was there before the take which ``record`` is, if an errand's note came with that: whoever
        gives back what it never heard of has not done what the note says."""
        return name.undo[1] if name.undo is not None and name.undo[0] == record.write else None

    @staticmethod
    def is_over(name: Name, leaving: Candidacy) -> bool:
        """Whether the register shows the end of that term, and the note that it left."""
        record, note = name.record, leaving.farewell
        if not isinstance(record, NameRecord):
            return note is None
        ended = record.session is None or record.token != leaving.token
        return ended and (note is None or record.note == note)

    def _put(self, name: Name, kind: Kind, record: NameRecord, now: Instant) -> None:
        write = Write(name.key, name.stamp, record.encode())
        name.flight = self._memory.put(kind, write, name.name, now, record=record)
