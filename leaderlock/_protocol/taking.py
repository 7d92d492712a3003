"""How a name is won: waiting for its holder to go, taking it, and walking away (rules 8, 10 and 14)."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from leaderlock._protocol.candidacy import Candidacy, Cause, Denied, Failed, News, Waiting, Why, Wish
from leaderlock._protocol.clocks import Deadline, Instant
from leaderlock._protocol.events import Arm, Ask, Kind, Tell, Unwatch, Warn, Watch
from leaderlock._protocol.memory import Memory
from leaderlock._protocol.name import Name
from leaderlock._protocol.records import MAX_TOKEN, SETTLED, Foreign, NameRecord, session_key
from leaderlock._protocol.rivals import Rivals
from leaderlock._protocol.session import Sessions
from leaderlock._protocol.setting import Setting
from leaderlock.backend import Write
from leaderlock.errors import BackendRefused

__all__ = ["Taking"]

LOOK_EVERY: Final = 0.4
"""The share of a ttl after which a candidate looks again without having been woken: a little more than a holder takes
between renewals, so that where watches work each of these wakes it, and it reads no more often than that."""
LOOK_AT_LEAST: Final = 0.8
"""The share of a ttl after which a candidate looks at the name itself, however often its holder is seen to move: each
third time that one renews. What a watch should have told of the name may have been lost."""


class Taking:
    """The steps of a campaign. Every one of them is decided anew from what was last seen."""

    def __init__(self, setting: Setting, memory: Memory, rivals: Rivals, sessions: Sessions) -> None:
        self._setting = setting
        self._memory = memory
        self._rivals = rivals
        self._sessions = sessions
        self.wanted: dict[str, Name] = {}
        """The names that somebody here campaigns for."""
        self._waiters: defaultdict[str, dict[Name, None]] = defaultdict(dict)
        """By session, the names that it holds and somebody here wants, in the order in which they began to wait."""

    def ask(self, name: Name) -> None:
        """Look at the name again, and at whatever decides whether it may be taken."""
        keys = [name.key]
        if name.rival is not None:
            keys.append(session_key(name.rival))
        if not self._memory.settled or self._memory.refusal is not None:
            keys.append(SETTLED)
        name.asking = True
        self._setting.say(Ask(tuple(keys), owner=name.name))

    def pursue(self, name: Name, now: Instant, *, look: bool) -> None:
        """The next step of a campaign. ``look``: if it can only wait, it looks again first."""
        candidacy = name.candidacy
        assert candidacy is not None
        if not self.is_fresh(name, now):
            self._look(name)
        elif self._memory.refusal is not None:
            if name.looked_at is not None:
                self.fail(name, self._memory.refusal)
            else:
                self._look(name)  # it may have been settled anew, or that look may have lagged
        elif not self._memory.settled:
            if not self._memory.pursue(now):
                return  # the answer under way is every campaign's next step
            if name.shown_session is not None:
                # Observed already, so that a holder that died with the old memory is not waited for a second time.
                self._watch(name, name.shown_session)
                hopeless = not candidacy.patient and self._rivals.looks_alive(name.shown_session, now)
                if hopeless and candidacy.errand is None:
                    self._deny(name, name.shown_session)  # rule 14: at once here, too
                    return
            self._wait(name, now, Waiting(Why.UNSETTLED, "", until=self._memory.settles_at))
        elif isinstance(name.record, Foreign):
            self._cannot_read(name, candidacy, f"the register of {name.name!r}", name.record.why, now)
        elif name.record is not None and name.record.session is not None:
            self._contend(name, candidacy, name.record, name.record.session, now)
        else:
            self._take(name, candidacy, now)
            return
        if look and name.is_wanted and not name.asking and name.rival not in self._rivals.being_buried:
            self.ask(name)

    def is_fresh(self, name: Name, now: Instant) -> bool:
        """Whether what is known of a name may still be built on: seen on this memory, and not long ago.

        A name may be deleted a day after it was last written (rule 19). Then ABSENT comes back, in some stores other
        stamps too, and an old floor is no floor; so nothing rests on a look that is anywhere near that old.
        """
        if name.epoch != self._memory.epoch or name.seen_at is None:
            return False
        return Deadline.after(name.seen_at, self._setting.timing.longest).is_ahead(now)

    def _look(self, name: Name) -> None:
        if not name.asking:
            self.ask(name)

    # -- a name that somebody holds

    def _contend(self, name: Name, candidacy: Candidacy, record: NameRecord, rival: str, now: Instant) -> None:
        if candidacy.errand is not None:
            wish = candidacy.errand.wish(record.note, now)
            if wish is Wish.LEAVE:
                self._leave_it(name, rival, now)
                return
            candidacy.patient = wish is Wish.WAIT
        self._watch(name, rival)
        known = self._rivals.get(rival)
        if known is None:
            self._look(name)
        elif known.ended:
            self._take(name, candidacy, now)
        elif self._rivals.is_buriable(rival, now):
            self._rivals.bury(rival, now)
        elif not candidacy.patient and self._rivals.looks_alive(rival, now):
            # Rule 14: who will not wait for a live leader is told so at once. One that shows no life is observed.
            self._deny(name, rival)
        elif isinstance(known.record, Foreign):
            self._cannot_read(name, candidacy, f"the session of who leads {name.name!r}", known.record.why, now)
        else:
            self._wait(name, now, Waiting(Why.HELD, self._who(rival), rival, known.decides_at(self._setting)))

    def _leave_it(self, name: Name, rival: str, now: Instant) -> None:
        """The note says that there is nothing to do; if it was seen before that was asked, look again."""
        if name.seen_since:
            self._deny(name, rival)
        elif name.looked_at is None:
            self._look(name)
        else:
            # That look lagged: not at once again.
            self._wait(name, now, Waiting(Why.HELD, self._who(rival), rival))

    def _cannot_read(self, name: Name, candidacy: Candidacy, what: str, why: str, now: Instant) -> None:
        """Neither free nor ours, and nobody here can tell for how long: who will not wait is told at once."""
        detail = f"{what} cannot be read: {why}"
        if candidacy.patient and candidacy.errand is None:
            self._wait(name, now, Waiting(Why.FOREIGN, detail))
        else:
            self.fail(name, BackendRefused(detail))

    def _deny(self, name: Name, rival: str) -> None:
        self.end(name, Cause.DENIED, Denied(rival, self._who(rival)))

    def _who(self, rival: str) -> str:
        """Who leads, for people to read."""
        if rival in self._sessions.retired:
            return "an earlier session of this very client, which is being closed"
        return self._rivals.who(rival)

    def _wait(self, name: Name, now: Instant, waiting: Waiting) -> None:
        """Wait for the earliest of a wake-up, the end of the observation, and the next look."""
        ttl = self._setting.timing.ttl
        if name.looked_at is None or Deadline.after(name.looked_at, ttl * LOOK_AT_LEAST).has_passed(now):
            # Every other wake puts off the timer below. Nothing but a look at the name may put off the look at it.
            self._look(name)
        look = Deadline.after(now, ttl * LOOK_EVERY)
        patiently = waiting.until is not None and waiting.until.to_wait(now) < look.to_wait(now)
        until = waiting.until if patiently and waiting.until is not None else look
        self._setting.say(Arm(name.timer, until, patiently=patiently))
        self.tell_waiting(name, waiting)

    def tell_waiting(self, name: Name, waiting: Waiting) -> None:
        candidacy = name.candidacy
        if candidacy is None or not candidacy.campaigns:
            return
        before = candidacy.waiting
        if before is not None and before.why is Why.UNREACHABLE is not waiting.why and name.failures:
            return  # the store is still silent: what was seen before that is no news
        candidacy.waiting = waiting
        if before is None or (before.why, before.session) != (waiting.why, waiting.session):
            self._setting.say(Tell(candidacy, waiting))
            if waiting.why is Why.FOREIGN:
                self._setting.say(Warn(waiting.detail))

    def _watch(self, name: Name, rival: str) -> None:
        """Watch the name and the one session that holds it, and look afterwards: before, nobody would have told."""
        if rival != name.rival:
            self._unwatch_rival(name)
            name.rival = rival
            if not self._waiters[rival]:
                self._setting.say(Watch(session_key(rival)))
            self._waiters[rival][name] = None
        if not name.watched:
            name.watched = True
            self._setting.say(Watch(name.key))
            self.ask(name)  # also where an answer is under way: it may show what was before

    def _unwatch_rival(self, name: Name) -> None:
        rival, name.rival = name.rival, None
        if rival is None:
            return
        waiters = self._waiters[rival]
        waiters.pop(name, None)
        if not waiters:
            del self._waiters[rival]
            self._rivals.rest(rival)
            self._setting.say(Unwatch(session_key(rival)))

    def leave(self, name: Name) -> None:
        """Nobody here waits for this name any more."""
        self.wanted.pop(name.name, None)
        self._unwatch_rival(name)
        if not self.wanted:
            self._memory.rest()

    def waiting_for(self, session: str) -> tuple[Name, ...]:
        """The names that this session holds and somebody here wants."""
        return tuple(self._waiters.get(session, ()))

    # -- a name that is free

    def _take(self, name: Name, candidacy: Candidacy, now: Instant) -> None:
        """Rule 8: swap the stamp seen to ours, with a token above every earlier one."""
        base = name.record if isinstance(name.record, NameRecord) else None
        if base is None and not name.floor:
            self._look(name)  # only an answer that shows it absent brings the floor that belongs to that
            return
        floor = self._memory.floor if base is not None else name.floor
        token = max(base.token + 1 if base is not None else 0, floor)
        if token > MAX_TOKEN:
            damaged = "the store's clock or this register is damaged"
            self.fail(name, BackendRefused(f"the token of {name.name!r} would exceed 2**53 - 1: {damaged}"))
            return
        note = None
        if candidacy.errand is not None:
            # Rule 12: made from the note under the very stamp that the take expects, so nobody's note is overwritten.
            note = candidacy.errand.compose(base.note if base is not None else b"", token, now)
            if note is None:
                self._leave_it(name, base.session or "" if base is not None else "", now)
                return
        mine = self._sessions.for_take(now)
        if mine is None:
            return  # its open or its verification is under way, and ends in another step of every campaign
        before, until = self._rivals.ending(name.shown_session or "")
        record = (base or NameRecord("", None, 0)).taken(
            write=self._setting.new_id(),
            session=mine.id,
            token=token,
            holder=self._setting.holder_line,
            at=now.wall,
            before=before,
            until=until,
            note=note,
        )
        mine.try_name(name.name)
        write = Write(name.key, name.stamp, record.encode())
        name.flight = self._memory.put(
            Kind.TAKE, write, name.name, now, record=record, base=base, floor=name.floor, errand=candidacy.errand
        )
        name.undo = None if note is None else (record.write, base.note if base is not None else b"")

    def touch(self, name: Name, now: Instant) -> None:
        """Rule 10: move the stamp that a take in doubt expects, so that it can never be applied late.

        No other stamp is touched: moving a live holder's would only make its release conflict.
        """
        take = name.take_in_doubt
        assert take is not None
        mark = self._setting.new_id()
        if take.base is None:
            record = NameRecord(mark, None, take.floor, at=now.wall)
        else:
            record = take.base._replace(write=mark)
        write = Write(name.key, take.write.expected, record.encode())
        name.flight = self._memory.put(Kind.TOUCH, write, name.name, now, record=record)

    def fail(self, name: Name, error: Exception) -> None:
        self.end(name, Cause.FAILED, Failed(error))

    def end(self, name: Name, cause: Cause, news: News) -> None:
        """The campaign is over, and has not been won."""
        candidacy, name.candidacy = name.candidacy, None
        assert candidacy is not None
        candidacy.move(cause)
        self._setting.say(Tell(candidacy, news))
