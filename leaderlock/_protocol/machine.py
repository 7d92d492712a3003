"""The machine: one client's whole protocol. Events in, effects out, and nothing else.

:meth:`Machine.handle` is the only door. It first lets go of what the clock has ended, so that every rule below it finds
a session that is valid or none, and then hands the event to the chapter that it belongs to.
"""

from __future__ import annotations

from leaderlock._protocol.candidacy import NOBODY, Standing
from leaderlock._protocol.cleaning import CLEAN, Cleaning
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import (
    Answered,
    Ask,
    Campaign,
    Close,
    Closed,
    Effect,
    Event,
    Failure,
    Fired,
    Kind,
    Put,
    Refused,
    RenewNow,
    Resign,
    SaveNote,
    Scanned,
    Unanswered,
    Unread,
    Viewed,
    Withdraw,
    Woken,
)
from leaderlock._protocol.holding import Holding
from leaderlock._protocol.memory import SETTLE, Admission, Memory, TimeTold
from leaderlock._protocol.names import Names
from leaderlock._protocol.ours import REOPEN, Ours
from leaderlock._protocol.records import NAMES, SESSIONS, SETTLED
from leaderlock._protocol.rivals import Rivals
from leaderlock._protocol.session import DEADLINE, RENEW, VERIFY, Sessions
from leaderlock._protocol.setting import Setting
from leaderlock._protocol.taking import Taking
from leaderlock.backend import Answer, Conflict, Seen, Swapped
from leaderlock.errors import OutcomeUnknown

__all__ = ["Machine"]


class Machine:
    """One client: one session, any number of names. Not thread-safe; whoever calls it holds one lock around it."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._say = setting.say
        self._memory = Memory(setting)
        self._rivals = Rivals(setting, self._memory)
        self._sessions = Sessions(setting, self._memory)
        self._taking = Taking(setting, self._memory, self._rivals, self._sessions)
        self._holding = Holding(setting, self._memory, self._sessions)
        self._names = Names(setting, self._memory, self._sessions, self._taking, self._holding)
        self._cleaning = Cleaning(setting, self._memory)
        self._ours = Ours(
            setting, self._memory, self._sessions, names=self._names, holding=self._holding, cleaning=self._cleaning
        )

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """What follows from this event at this moment, in the order in which it is to be done.

        Raises:
            Refused: the event is not taken; what follows from the moment alone is left for :meth:`drain`.
        """
        self._ours.let_go(now)
        match event:
            case Viewed():
                self._viewed(event, now)
            case Answered():
                for put, answer in zip(event.puts, event.answers, strict=True):
                    self._answered(put, answer, now)
            case Unanswered():
                for put in event.puts:
                    self._unanswered(put, event.failure, event.error, now)
                if event.failure is Failure.MEMORY_GONE:
                    self._say(Ask((SETTLED,), lane=event.puts[0].lane))
            case Fired():
                self._fired(event, now)
            case Woken():
                self._woken(event, now)
            case Unread():
                self._unread(event)
            case Scanned():
                self._sessions.scanned(event)
                self._cleaning.scanned(event, now)
            case _:
                self._asked(event, now)
        if self._ours.has_closed:
            self._say(Closed())
        return self.drain()

    def drain(self) -> list[Effect]:
        """The effects that have not been carried out yet: what is left when :meth:`handle` raised."""
        effects, self._setting.effects = self._setting.effects, []
        return effects

    def _asked(self, event: Event, now: Instant) -> None:
        match event:
            case Campaign(candidacies):
                if self._ours.is_closing:
                    raise Refused("this client is closed: open another with connect()")
                for candidacy in candidacies:
                    self._names.campaign(candidacy, now)
            case Withdraw(candidacy):
                self._names.withdraw(candidacy, now)
            case Resign(candidacy, note):
                self._names.resign(candidacy, now, note=note)
            case SaveNote():
                self._names.save_note(event, now)
            case RenewNow():
                self._ours.renew_now(event, now)
            case Close():
                self._ours.close(now)
            case _:
                raise TypeError(f"no such event: {event!r}")

    # -- timers

    def _fired(self, event: Fired, now: Instant) -> None:
        match event.timer:
            case ("name", str(name)):
                self._names.fired(name, now)
            case ("close", str(session)):
                self._sessions.close_retired(session, now)
            case _ if event.timer == RENEW:
                self._sessions.renew(now)
                self._holding.look_at_own()
            case _ if event.timer == VERIFY:
                self._sessions.verify()
            case _ if event.timer in (SETTLE, REOPEN):
                self._names.advance_wanted(now)
            case _ if event.timer == CLEAN:
                self._cleaning.fired(now)
            case _ if event.timer == DEADLINE:
                pass  # looked at already, before every event
            case _:
                raise TypeError(f"no such timer: {event.timer!r}")

    # -- reads

    def _viewed(self, event: Viewed, now: Instant) -> None:
        view = event.view
        admission = self._memory.admit(view, event.sent, now)
        if admission is Admission.STALE:
            self._say(Ask(tuple(view.seen)))
            return
        if admission is Admission.BEHIND:
            behind = OutcomeUnknown("the store showed what it was before it changed its memory: a replica stays behind")
            self._unread(Unread(tuple(view.seen), Failure.UNKNOWN, behind))
            return
        if admission is Admission.CHANGED:
            self._memory_changed(now)
        was_settled = self._memory.settled
        names: dict[str, Seen] = {}
        sessions: dict[str, Seen] = {}
        for key, seen in view.seen.items():
            if key.startswith(NAMES):
                names[key[len(NAMES) :]] = seen
            elif key.startswith(SESSIONS):
                sessions[key[len(SESSIONS) :]] = seen
            else:
                self._memory.look(seen)
        # Everything is noted before anything is done about it: a name that was released is not taken by its old stamp.
        for session, seen in sessions.items():
            if self._taking.waiting_for(session):
                self._rivals.saw(session, seen, now)
        self._names.read(names, view.floor, now, sent=event.sent)
        for session, seen in sessions.items():
            self._session_seen(session, seen, now)
        self._ours.verify(view.seen, now)
        if admission is Admission.CHANGED or (SETTLED in view.seen and not was_settled):
            self._names.advance_wanted(now, but=names)

    def _session_seen(self, session: str, seen: Seen, now: Instant) -> None:
        if self._sessions.is_mine(session):
            for request in self._sessions.requests_in(seen):
                self._names.requested(request, now)
        self._names.session_seen(session, now)

    def _memory_changed(self, now: Instant) -> None:
        self._rivals.forget_all()
        self._cleaning.forget_all()
        self._names.memory_changed()
        self._sessions.memory_changed(self._holding.claimed)

    def _unread(self, event: Unread) -> None:
        self._ours.unread(event.keys)
        if SETTLED in event.keys and not self._memory.settled:
            self._ours.reopen()
        for key in event.keys:
            if key.startswith(NAMES):
                self._names.unread(key[len(NAMES) :], event.failure, event.error)

    def _woken(self, event: Woken, now: Instant) -> None:
        key, shown = event.key, event.shown
        if not key.startswith(NAMES):
            self._say(Ask((key,)))
        elif shown is not None and self._memory.epoch and shown.memory == self._memory.id:
            # Rule 8: what was seen on another memory is forgotten, and this may have come late. So it is taken for what
            # a lagging read of this very memory shows, or else for a hint.
            self._names.woken(key[len(NAMES) :], shown.seen[key], now)
        else:
            self._names.woken(key[len(NAMES) :], None, now)

    # -- swaps

    def _answered(self, put: Put, answer: Answer, now: Instant) -> None:
        if isinstance(answer, Conflict) and answer.seen.stamp == put.write.expected:
            # It denies what it shows: nothing is known by it, and the next attempt belongs to the back-off.
            denial = OutcomeUnknown(f"a write of {put.write.key!r} was refused for the very stamp that it expects")
            self._unanswered(put, Failure.UNKNOWN, denial, now)
            return
        if isinstance(answer, Swapped):
            self._memory.wrote(answer.stamp, put.sent, now)
        same = put.epoch == self._memory.epoch and put.memory == self._memory.id
        match put.kind:
            case Kind.OPEN | Kind.RENEW:
                self._ours.answered(put, answer, now)
            case Kind.CLOSE:
                self._sessions.closed(put, answer, now)
                if put.owner not in self._sessions.retired:
                    self._closed(put, answer, now)
            case Kind.BURY if same:
                self._rivals.answered(put, answer, now)
                self._names.session_seen(put.owner, now)
                if not self._taking.waiting_for(put.owner):
                    self._rivals.rest(put.owner)
            case Kind.SETTLE if same:
                self._memory.answered(put, answer)
                self._names.advance_wanted(now)
            case Kind.BURY | Kind.SETTLE:
                pass
            case Kind.CLEAN:
                self._cleaning.answered(put)
            case _:
                self._names.answered(put, answer, now)

    def _closed(self, put: Put, answer: Answer, now: Instant) -> None:
        """A session of ours has ended: whoever waits for it here may go on."""
        ended = answer.seen if isinstance(answer, Conflict) else Seen(put.write.value, answer.stamp)
        if put.epoch == self._memory.epoch and self._taking.waiting_for(put.owner):
            self._rivals.saw(put.owner, ended, now)
            self._names.session_seen(put.owner, now)

    def _unanswered(self, put: Put, failure: Failure, error: Exception, now: Instant) -> None:
        match put.kind:
            case Kind.OPEN | Kind.RENEW:
                self._ours.unanswered(put, failure, error, now)
            case Kind.CLOSE:
                self._sessions.not_closed(put)
            case Kind.BURY:
                self._rivals.unanswered(put)
                for name in self._taking.waiting_for(put.owner):
                    self._names.try_again(name, None)
            case Kind.SETTLE:
                if put.epoch == self._memory.epoch:
                    self._memory.unanswered()
                self._ours.reopen()
            case Kind.CLEAN:
                self._cleaning.answered(put)
            case _:
                self._names.unanswered(put, failure, error, now)

    # -- what is seen from outside

    @property
    def has_closed(self) -> bool:
        """Whether it was closed, and the store has acknowledged the end of each of its sessions."""
        return self._ours.has_closed

    @property
    def standing(self) -> Standing:
        """Until when the present session is valid, as all of its leases see it."""
        mine = self._sessions.current
        return mine.standing if mine is not None else NOBODY

    @property
    def memory(self) -> tuple[str, int]:
        """The store's memory as last seen, and how often it changed: for tests and reports."""
        return self._memory.id, self._memory.epoch

    @property
    def time_told(self) -> TimeTold:
        """What the store's answers say of its clock, if it has one."""
        return self._memory.floor_seen, self._memory.stamp_given

    @property
    def is_suspect(self) -> bool:
        """Whether this machine may have stood still, and no renewal has been answered since."""
        return self._ours.is_suspect
