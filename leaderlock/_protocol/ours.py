"""What becomes of all leases when this client's own session turns: it opens, is answered or not, is lost, or ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from leaderlock._protocol.candidacy import LossReason
from leaderlock._protocol.cleaning import Cleaning
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import Failure, Put, RenewNow, Retry
from leaderlock._protocol.holding import Holding
from leaderlock._protocol.memory import Memory
from leaderlock._protocol.names import Names
from leaderlock._protocol.records import session_key
from leaderlock._protocol.session import VERIFY, Sessions
from leaderlock._protocol.setting import Setting
from leaderlock.backend import Answer, Conflict, Seen

__all__ = ["REOPEN", "Ours"]

REOPEN: Final = ("reopen",)
"""The timer after which campaigns try again to open a session or to settle the memory."""


class Ours:
    """This client's session, and all that stands on it."""

    def __init__(
        self,
        setting: Setting,
        memory: Memory,
        sessions: Sessions,
        *,
        names: Names,
        holding: Holding,
        cleaning: Cleaning,
    ) -> None:
        self._setting = setting
        self._memory = memory
        self._sessions = sessions
        self._names = names
        self._holding = holding
        self._cleaning = cleaning
        self._reopenings = 0
        self._offset: float | None = None
        self._sent_before: Put | None = None
        """The renewal that was under way when the machine became suspect: its answer proves nothing."""
        self.is_suspect = False
        """Whether this machine may have stood still, and no renewal has been answered since."""
        self.is_closing = False

    # -- the clock

    def let_go(self, now: Instant) -> None:
        """A deadline that has passed is never revived (rule 2): whatever comes next finds the session given up."""
        mine = self._sessions.current
        offset, before = now.boot - now.raw, self._offset
        self._offset = offset
        if mine is None or not mine.opened or mine.standing.until.is_ahead(now):
            return
        if before is not None and offset - before > 1.0:
            self.lose(LossReason.SUSPENDED, now)
        else:
            self.lose(LossReason.STORE_UNREACHABLE if mine.failures else LossReason.EXPIRED, now)

    def lose(self, reason: LossReason, now: Instant) -> None:
        """The session is over, and all leases with it."""
        mine = self._sessions.current
        self._sessions.give_up(known_ended=reason is LossReason.REVOKED, is_lost=True)
        if mine is not None:
            self._sessions.close_retired(mine.id, now)
        self._names.session_lost(reason, now)
        self._names.advance_wanted(now)

    # -- answers

    def renew_now(self, event: RenewNow, now: Instant) -> None:
        if event.suspect:
            self.is_suspect = True
            self._sent_before = self._sessions.current.renewing if self._sessions.current else None
        self._sessions.renew(now)

    def answered(self, put: Put, answer: Answer, now: Instant) -> None:
        """An open or a renewal was answered."""
        mine = self._sessions.current
        was_open = mine is not None and mine.opened
        in_trouble = mine is not None and mine.failures > 0
        renewed = mine is not None and mine.renewing is put and not isinstance(answer, Conflict)
        if isinstance(answer, Conflict) and self._sessions.is_mine(put.owner):
            for request in self._sessions.requests_in(answer.seen):
                self._names.requested(request, now)
        lost = self._sessions.answered(put, answer, now)
        if lost is not None:
            self.lose(lost, now)
            return
        if in_trouble and mine is not None and not mine.failures:
            self._holding.renewed()
        if renewed and self.is_suspect:
            self._clear_suspicion(put, now)
        if not was_open and mine is not None and mine.opened:
            self._reopenings = 0
            self._cleaning.start(now)
            self._names.advance_wanted(now)

    def _clear_suspicion(self, put: Put, now: Instant) -> None:
        if put is self._sent_before:
            self._sessions.renew(now)
        else:
            self.is_suspect = False

    def unanswered(self, put: Put, failure: Failure, error: Exception, now: Instant) -> None:
        """An open or a renewal had no answer."""
        mine = self._sessions.current
        self._sessions.unanswered(put, failure, error)
        if self._sessions.current is not mine:
            # An open was abandoned: another id after a pause, and this one is closed as soon as the store answers.
            self._sessions.close_retired(put.owner, now)
            self._names.session_abandoned(now)
            self.reopen()
        elif mine is not None and mine.opened:
            self._holding.trouble()

    def reopen(self) -> None:
        """Try again after a pause."""
        self._reopenings += 1
        self._setting.say(Retry(REOPEN, self._reopenings))

    def verify(self, seen: Mapping[str, Seen], now: Instant) -> None:
        """Rule 17: tick off what was read of the present memory."""
        mine = self._sessions.current
        if mine is None or mine.stands_on == self._memory.epoch:
            return
        lost = self._sessions.verified(seen, seen.get(session_key(mine.id)), now)
        if lost is not None:
            self.lose(lost, now)
        elif mine.stands_on == self._memory.epoch:
            self._names.advance_wanted(now)

    def unread(self, keys: Sequence[str]) -> None:
        """Rule 17: of what is to be verified, some was not read."""
        mine = self._sessions.current
        if mine is not None and not mine.to_verify.isdisjoint(keys):
            mine.failures += 1
            self._setting.say(Retry(VERIFY, mine.failures))

    # -- the end

    def close(self, now: Instant) -> None:
        """Rule 5: no new take, all claims end, then one write frees all names; or, if none is left, none remains."""
        if self.is_closing:
            return
        self.is_closing = True
        delete = self._names.is_quiet()
        self._names.close(now)
        mine = self._sessions.current
        if mine is not None:
            delete = delete and self._sessions.stands(mine.id, self._memory.epoch, now)
            self._sessions.give_up(known_ended=False, delete=delete)
            self._sessions.close_retired(mine.id, now)
        self._names.session_abandoned(now)

    @property
    def has_closed(self) -> bool:
        """Whether it was closed, and the store has acknowledged the end of each of its sessions."""
        return self.is_closing and not self._sessions.retired
