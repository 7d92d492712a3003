"""The names that this client wants, holds, or must give back: what was seen of them, and what is done next.

Each name has at most one write under way, and :meth:`Names.advance` decides what the next one is. It looks at what was
last seen and at what is wanted, never at how one came there, so that a lost answer, a cancelled campaign and an orphan
found by chance all end in the same few lines.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from leaderlock._protocol.candidacy import (
    Asked,
    Candidacy,
    Cause,
    LossReason,
    NoteLost,
    Released,
    Waiting,
    Why,
    Withdrawn,
)
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import Disarm, Failure, Kind, Put, Refused, Retry, SaveNote, Tell, Unwatch, Warn
from leaderlock._protocol.holding import Holding
from leaderlock._protocol.memory import Memory
from leaderlock._protocol.name import Name
from leaderlock._protocol.records import Request
from leaderlock._protocol.session import Sessions
from leaderlock._protocol.setting import Setting
from leaderlock._protocol.showing import Showing
from leaderlock._protocol.taking import Taking
from leaderlock.backend import Answer, Conflict, Seen

__all__ = ["Names"]

REMEMBERED: Final = 1_000
"""How many names that nobody here wants any more keep their last stamp, which is the first guess of the next take."""


class Names:
    """Every name of this client's, by its name."""

    def __init__(self, setting: Setting, memory: Memory, sessions: Sessions, taking: Taking, holding: Holding) -> None:
        self._setting = setting
        self._memory = memory
        self._sessions = sessions
        self._taking = taking
        self._holding = holding
        self._showing = Showing(setting, memory, sessions, taking, holding)
        self._busy: dict[str, Name] = {}
        self._idle: dict[str, Name] = {}

    # -- what the faces ask

    def campaign(self, candidacy: Candidacy, now: Instant) -> None:
        name = self._get(candidacy.name)
        if name.candidacy is not None:
            doing = "leads" if name.candidacy.leads else "campaigns for"
            raise Refused(
                f"this client already {doing} {candidacy.name!r}: use that lease, wait for its end, "
                "or give the second candidate a client of its own"
            )
        candidacy.move(Cause.CAMPAIGN)
        name.candidacy = candidacy
        name.seen_since, name.looked_at = False, None
        name.failures, name.asking = 0, False
        self._taking.wanted[name.name] = name
        self.advance(name, now)

    def withdraw(self, candidacy: Candidacy, now: Instant) -> None:
        """Give up a campaign. One that was won a moment ago is resigned, and its errand's note taken back."""
        if candidacy.leads:
            self.resign(candidacy, now, note=candidacy.undo)
        elif candidacy.campaigns:
            name = self._busy[candidacy.name]
            self._taking.end(name, Cause.WITHDRAW, Withdrawn())
            self.advance(name, now)

    def resign(self, candidacy: Candidacy, now: Instant, *, note: bytes | None = None) -> None:
        name = self._busy.get(candidacy.name)
        if not candidacy.leads or name is None:
            if name is None or name.leaving is not candidacy:  # else it is told when the store has acknowledged it
                self._setting.say(Tell(candidacy, Released(acknowledged=False)))
            return
        candidacy.farewell = note
        name.leaving = self._holding.end(name, Cause.RESIGN)
        self.advance(name, now)

    def save_note(self, event: SaveNote, now: Instant) -> None:
        if not event.candidacy.leads:
            self._setting.say(Tell(event.candidacy, NoteLost(event.ticket)))
            return
        name = self._busy[event.candidacy.name]
        name.notes = (*name.notes, event)
        self.advance(name, now)

    def requested(self, request: Request, now: Instant) -> None:
        """Rule 13: somebody asks this client to yield a name, as held by the very term that the request saw."""
        name = self._holding.claimed.get(request.name)
        candidacy = None if name is None else name.candidacy
        if name is None or candidacy is None or candidacy.token != request.token:
            return
        again, candidacy.asked = candidacy.asked, True
        if candidacy.yields:
            self._holding.lose(name, LossReason.YIELDED)
            name.leaving = candidacy
            self.advance(name, now)
        elif not again:
            self._setting.say(Tell(candidacy, Asked()))

    # -- what the store says

    def read(self, keys: dict[str, Seen], floor: int, now: Instant, *, sent: Instant) -> None:
        """Names that a read on the present memory showed."""
        for key, seen in keys.items():
            name = self._get(key)
            name.asking, name.looked_at = False, now
            if not name.is_stranded:
                name.failures = 0
            self._showing.saw(name, seen, floor if seen.value is None else 0, now, sent=sent)
        for key in keys:
            self.advance(self._get(key), now)

    def unread(self, key: str, failure: Failure, error: Exception) -> None:
        name = self._busy.get(key)
        if name is None or not name.asking:
            return
        name.asking = False
        if failure is Failure.REFUSED and name.is_wanted:
            self._taking.fail(name, error)
        self.try_again(name, error)

    def answered(self, put: Put, answer: Answer, now: Instant) -> None:
        """A swap of a name was answered."""
        name = self._busy.get(put.owner)
        if name is None or name.flight is not put:
            return
        name.flight = None
        name.failures = 0
        name.contradicted = False
        # Rule 9: an answer counts only while no newer memory has been seen; that one is looked at first.
        if put.epoch == self._memory.epoch:
            if isinstance(answer, Conflict):
                self._showing.saw(name, answer.seen, 0, now, decided=True)
            else:
                self._showing.done(name, put, answer.stamp, now)
        self.advance(name, now)

    def unanswered(self, put: Put, failure: Failure, error: Exception, now: Instant) -> None:
        """A swap of a name had no answer: what may have been applied stays in doubt until a swap decides."""
        name = self._busy.get(put.owner)
        if name is None or name.flight is not put:
            return  # told twice: an interrupted caller cannot know whether its answer was still delivered
        name.flight = None
        if put.epoch != self._memory.epoch:
            self.advance(name, now)
            return
        if failure is Failure.UNKNOWN and self._showing.matters(name, put):
            name.doubts = (*name.doubts, put)
        if failure is Failure.REFUSED:
            if put.kind is Kind.TAKE and name.is_wanted:
                self._taking.fail(name, error)
            elif put.kind is Kind.NOTE and name.notes:
                # An earlier attempt that is in doubt may have saved it, or may yet: only then "lost" would be a lie.
                if not name.doubts:
                    self._holding.note_answered(name, error)
            else:
                self._setting.say(Warn(f"the store refused a write about {name.name!r}: {error}"))
        name.is_stranded = failure is Failure.MEMORY_GONE
        self.try_again(name, None if name.is_stranded else error)

    def try_again(self, name: Name, error: Exception | None) -> None:
        """Try again after a pause. ``error``: why there was no answer; ``None``: there was one."""
        name.failures += 1
        self._setting.say(Retry(name.timer, name.failures))
        if error is not None:
            self._taking.tell_waiting(name, Waiting(Why.UNREACHABLE, str(error)))

    # -- what is done next

    def advance(self, name: Name, now: Instant, *, look: bool = False) -> None:
        """The next step for this name. ``look``: a campaign that can only wait looks at the store again."""
        if name.flight is not None or name.is_stranded:
            return
        known = 0 < name.epoch == self._memory.epoch
        if name.is_claimed:
            if name.notes and known:
                self._holding.put_note(name, now)
            elif name.contradicted and known:
                self._holding.reassert(name, now)
        elif known and self._sessions.is_mine(name.shown_session):
            # Rules 11 and 13: it shows our session and nobody here claims it: released, whatever brought that about.
            self._holding.release(name, now)
        elif name.doubts and not name.is_wanted and name.take_in_doubt:
            self._taking.touch(name, now)
        else:
            if name.leaving is not None:
                self._left(name, name.leaving, known=known)
            if name.is_wanted:
                self._taking.pursue(name, now, look=look)
            if not name.is_wanted and name.take_in_doubt:
                self._taking.touch(name, now)  # denied or failed just now, with a take still in doubt (rule 10)
            elif not name.is_wanted:
                self._rest(name)

    def _left(self, name: Name, leaving: Candidacy, *, known: bool) -> None:
        # On a memory that was not looked at yet nothing is known to be released, unless the session is gone with all.
        if known or self._sessions.current is None:
            name.leaving = None
            self._setting.say(Tell(leaving, Released(known and self._holding.is_over(name, leaving))))
        elif not name.asking:
            self._taking.ask(name)

    def advance_wanted(self, now: Instant, but: Container[str] = ()) -> None:
        """Something that all campaigns wait for has changed: the session, or the settling of the memory."""
        for name in tuple(self._taking.wanted.values()):
            if name.name not in but:
                self.advance(name, now)

    def session_seen(self, session: str, now: Instant) -> None:
        for name in self._taking.waiting_for(session):
            self.advance(name, now)

    def fired(self, key: str, now: Instant) -> None:
        """The name's timer."""
        name = self._busy.get(key)
        if name is not None:
            name.is_stranded = False
            self.advance(name, now, look=True)

    def woken(self, key: str, seen: Seen | None, now: Instant) -> None:
        """Something may have happened to the name: look, or take a free one by what was ``seen`` of it already."""
        name = self._busy.get(key)
        if name is None or not (name.is_wanted or name.is_claimed):
            return
        if seen is None:
            self._taking.ask(name)
        else:
            self._showing.saw(name, seen, 0, now)
            self.advance(name, now)

    # -- the session, the memory, the end

    def session_lost(self, reason: LossReason, now: Instant) -> None:
        """Losing the session loses all of its leases at once, each with its own news."""
        lost = tuple(self._holding.claimed.values())
        for name in lost:
            self._holding.lose(name, reason)
        self.session_abandoned(now)
        for name in lost:
            self.advance(name, now)

    def session_abandoned(self, now: Instant) -> None:
        """What a session that is given up may still take late is freed by closing it: nothing of it stays in doubt."""
        for name in tuple(self._busy.values()):
            if name.doubts or name.leaving is not None:
                name.doubts = ()
                self.advance(name, now)

    def memory_changed(self) -> None:
        """Rules 8 and 17: what was read on another memory is forgotten, a take still unknown is dropped."""
        for name in self._busy.values():
            name.doubts = ()
            name.is_stranded = False
            if name.leaving is not None:
                self._taking.ask(name)

    def is_quiet(self) -> bool:
        """Whether no name can show the present session any more (rule 5: then it may be deleted)."""
        return not any(name.flight or name.doubts or name.leaving or name.is_claimed for name in self._busy.values())

    def close(self, now: Instant) -> None:
        """No new take starts; all claims end."""
        for name in tuple(self._taking.wanted.values()):
            if name.candidacy is not None:
                self.withdraw(name.candidacy, now)
        for name in tuple(self._holding.claimed.values()):
            self._holding.lose(name, LossReason.CLOSED)

    # -- which names are kept in mind

    def _get(self, key: str) -> Name:
        name = self._busy.get(key)
        if name is None:
            name = self._idle.pop(key, None) or Name(key)
            self._busy[key] = name
        return name

    def _rest(self, name: Name) -> None:
        """Drop what a name needs only while somebody here wants or holds it."""
        self._taking.leave(name)
        if name.doubts or name.leaving is not None:
            return
        name.undo = None
        if name.watched:
            name.watched = False
            self._setting.say(Unwatch(name.key))
        self._setting.say(Disarm(name.timer))
        self._busy.pop(name.name, None)
        self._idle[name.name] = name
        if len(self._idle) > REMEMBERED:
            del self._idle[next(iter(self._idle))]
