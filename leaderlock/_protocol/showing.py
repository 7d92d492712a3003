"""What a register's content means for a name: a look that lags, a take or a note found again, a claim contradicted.

Reads and swaps' answers come here; what is done next is decided by :mod:`leaderlock._protocol.names`.
"""

from __future__ import annotations

from leaderlock._protocol.candidacy import Candidacy
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import Kind, Put
from leaderlock._protocol.holding import Holding
from leaderlock._protocol.memory import Memory
from leaderlock._protocol.name import Name
from leaderlock._protocol.reading import read_name
from leaderlock._protocol.records import Foreign, NameRecord
from leaderlock._protocol.session import Sessions
from leaderlock._protocol.setting import Setting
from leaderlock._protocol.taking import Taking
from leaderlock.backend import Seen, Stamp

__all__ = ["Showing"]


class Showing:
    """Takes over what was seen of a name, where it may be believed."""

    def __init__(self, setting: Setting, memory: Memory, sessions: Sessions, taking: Taking, holding: Holding) -> None:
        self._setting = setting
        self._memory = memory
        self._sessions = sessions
        self._taking = taking
        self._holding = holding

    def saw(
        self, name: Name, seen: Seen, floor: int, now: Instant, *, decided: bool = False, sent: Instant | None = None
    ) -> None:
        """A register's content: of a read that left at ``sent``, of a watch, or (``decided``) of a swap's answer, which
        cannot lag."""
        record = read_name(seen.value)
        if self._believe_take(name, record, now):
            assert isinstance(record, NameRecord)
            assert name.candidacy is not None
            name.show(record, seen.stamp, now, floor=0, epoch=self._memory.epoch)
            name.doubts = ()
            self._elect(name, name.candidacy, record)
            return
        if not decided and self._lags(name, record, now):
            self._doubt(name, sent)
            return
        if name.is_claimed and name.candidacy is not None:
            if self._holding.shows_ours(name.candidacy, record):
                # While the note is being tried again, its answer says whether it is saved: once, not twice.
                if name.notes and name.flight is None and name.recognise(record, Kind.NOTE):
                    self._holding.note_answered(name)
                    name.doubts = ()
            else:
                verdict = self._holding.verdict(name, record, decided=decided)
                if verdict is None:
                    self._doubt(name, sent)
                    return
                self._holding.lose(name, verdict)
        name.show(record, seen.stamp, now, floor=floor, epoch=self._memory.epoch)
        if decided:
            name.resolve(seen.stamp)

    @staticmethod
    def _doubt(name: Name, sent: Instant | None) -> None:
        """A read is not believed. It may lag, or what it denies was taken away without a word (rule 9)."""
        if name.is_claimed and sent is not None and name.seen_at is not None and sent.boot > name.seen_at.boot:
            name.contradicted = True

    def _lags(self, name: Name, record: NameRecord | Foreign | None, now: Instant) -> bool:
        """Whether a read shows less than is known: on one memory tokens only rise, and no name that shows a session of
        ours is deleted. Believing it would end a release that is still to be repeated (rule 11).

        What is known of others is held against it only for a while: a store that lost writes without a word would else
        be asked for ever for what it no longer has. The next swap finds out.
        """
        known = name.record
        if name.epoch != self._memory.epoch or not isinstance(known, NameRecord):
            return False
        is_ours = self._sessions.is_mine(known.session)
        if record is None:
            return is_ours
        shows_less = isinstance(record, NameRecord) and record.token < known.token
        return shows_less and (is_ours or self._taking.is_fresh(name, now))

    def _believe_take(self, name: Name, record: NameRecord | Foreign | None, now: Instant) -> bool:
        """Rule 10: our take in doubt, found in the register, counts while its session has been valid without a gap
        since sending and no more than a ttl has passed. (A session that was ever given up has another id.)"""
        put = name.recognise(record, Kind.TAKE)
        if put is None or not self._elects(name, put):
            return False
        fresh = not self._setting.timing.wait_out(put.sent, self._setting.timing.ttl).has_passed(now)
        return fresh and put.epoch == self._memory.epoch and self._sessions.stands(put.session, put.epoch, now)

    def done(self, name: Name, put: Put, stamp: Stamp, now: Instant) -> None:
        name.doubts = ()
        name.show(put.record, stamp, now, floor=0, epoch=put.epoch)
        match put.kind:
            case Kind.TAKE:
                # Rule 8: held iff at this moment the session that the record names is valid and stands on the memory
                # that the take was sent on. Else the name shows a session of ours that claims nothing: given back.
                if self._elects(name, put) and self._sessions.stands(put.session, put.epoch, now):
                    assert name.candidacy is not None
                    assert put.record is not None
                    self._elect(name, name.candidacy, put.record)
            case Kind.NOTE if name.notes and name.is_claimed:
                self._holding.note_answered(name)
            case _:
                pass

    @staticmethod
    def _elects(name: Name, take: Put) -> bool:
        """Whether somebody wants the name whom that take may elect: it may be of a campaign that was withdrawn, and
        another one's since. What an errand wrote in the note is nobody else's (rule 12)."""
        candidacy = name.candidacy
        return candidacy is not None and candidacy.campaigns and candidacy.errand is take.errand

    def matters(self, name: Name, put: Put) -> bool:
        """Whether its outcome has to be found out. A take for a session that was given up meanwhile is not: closing
        that session frees whatever it takes. Nor is a note of a term that has ended."""
        match put.kind:
            case Kind.TAKE:
                return self._sessions.is_mine(put.session)
            case Kind.NOTE:
                return bool(name.notes)
            case _:
                return False

    def _elect(self, name: Name, candidacy: Candidacy, record: NameRecord) -> None:
        self._taking.leave(name)
        self._holding.elect(name, candidacy, record)
