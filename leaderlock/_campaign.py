"""Waiting for an election: one campaign, or many at once, from the first request to the outcome."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress

from leaderlock._bell import Bell
from leaderlock._calls import INTERRUPTED
from leaderlock._closed import closed
from leaderlock._course import Course
from leaderlock._engine import Engine
from leaderlock._handed import EVERYTHING
from leaderlock._journal import describe
from leaderlock._lease import Lease
from leaderlock._protocol.candidacy import Denied, Elected, Errand, Failed, News, Waiting, Why, Withdrawn
from leaderlock._protocol.events import Campaign, Withdraw
from leaderlock._thread import apart, hand_over
from leaderlock._unrun import check_plain
from leaderlock.errors import BackendUnavailable, CampaignTimeout, LeaderLockError, NotLeader

__all__ = ["Campaigning", "Campaigns", "campaign_all"]


class Campaigning:
    """One campaign, from its first request to its one outcome."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        patient: bool,
        on_waiting: Callable[[str], object] | None,
        errand: Errand | None = None,
    ) -> None:
        if on_waiting is not None:
            check_plain("on_waiting", on_waiting)
        self._engine = engine
        self.is_patient = patient
        """Whether it waits for a live leader to go (rule 14)."""
        self._on_waiting = on_waiting
        self._outcome: Elected | Denied | Failed | Withdrawn | None = None
        self._silent_since: float | None = None
        self.course = Course(engine, name, patient=patient, listener=self._hear, errand=errand)

    def run(self, timeout: float | None, enter: Callable[[Lease], Lease] = lambda lease: lease) -> Lease:
        """Returns the lease; ``enter`` is what begins under it: if that is interrupted, nobody leads."""
        course = self.course
        try:
            until = None if timeout is None else self._engine.clock.boot() + timeout
            self._engine.here.drive(Campaign([course.candidacy]), course.name, timeout)
            course.wait_for(self.is_over, until, attending=True)
            return enter(Lease(self.conclude(timeout)))
        except BaseException:
            try:
                self.withdraw()
            except BaseException:  # Ctrl-C again
                hand_over(apart, (self.withdraw,))
                raise
            raise

    def conclude(self, timeout: float | None) -> Course:
        """When it is over, or out of time: what stands behind the lease, or what the caller is owed instead."""
        course = self.course
        course.unlisten(self._hear)
        match self._outcome:
            case Elected():
                return course
            case Denied(_, who):
                by = f"somebody else, {who}" if who else "somebody else"
                raise NotLeader(f"{course.name!r} is led by {by}: do not act; try again later, or wait (wait=True)")
            case Failed(error):
                raise error
            case _:
                raise self._give_up(timeout)

    def withdraw(self) -> None:
        """Ctrl-C, or a cancelled task: a campaign nobody waits for must not win."""
        with suppress(LeaderLockError):
            self._engine.post(Withdraw(self.course.candidacy))

    def _give_up(self, timeout: float | None) -> Exception | SystemExit:
        self._engine.post(Withdraw(self.course.candidacy))
        if self._engine.is_closed or isinstance(self._outcome, Withdrawn):
            return closed(f"the client was closed during the campaign for {self.course.name!r}")
        waiting = self.course.candidacy.waiting
        why = describe(self._engine.clock, waiting) if waiting is not None else "the store has not answered yet"
        if waiting is not None and waiting.why is Why.UNREACHABLE and not self.is_patient:
            return BackendUnavailable(f"whether anybody leads {self.course.name!r} cannot be told: {why}")
        error = CampaignTimeout(f"not elected for {self.course.name!r} within {timeout or 0:g} s: {why}")
        if waiting is not None and waiting.why is Why.UNREACHABLE:
            error.__cause__ = BackendUnavailable(waiting.detail)
        return error

    def _hear(self, news: News) -> None:
        match news:
            case Elected() | Denied() | Failed() | Withdrawn():
                self._outcome = news
            case Waiting(Why.UNREACHABLE, detail) if detail.startswith(INTERRUPTED):
                pass  # whoever waited here was called away: there is nobody to tell, and nothing of the store's
            case Waiting():
                self._silent_since = self._engine.clock.boot() if news.why is Why.UNREACHABLE else None
                if self._on_waiting is not None:
                    told, text = self._on_waiting, describe(self._engine.clock, news)
                    self._engine.callbacks.call(lambda: told(text))
            case _:
                pass

    def is_over(self) -> bool:
        """Whether there is an outcome; or the store is silent for longer than who does not wait bears."""
        if self._outcome is not None:
            return True
        since = self._silent_since
        if self.is_patient or since is None:
            return False
        return self._engine.clock.boot() - since > self._engine.terms.timing.ttl


def campaign_all(engine: Engine, names: list[str], *, patient: bool, timeout: float | None) -> dict[str, Lease]:
    """Seek all of these names; see :meth:`leaderlock.Client.campaign_all`."""
    over = Bell()
    campaigns = Campaigns(engine, names, patient=patient, over=over.ring)
    until = None if timeout is None else engine.clock.boot() + timeout
    try:
        engine.here.drive(campaigns.event, EVERYTHING, timeout)
        engine.here.wait_for(over, campaigns.is_over, until)
        return {name: Lease(course) for name, course in campaigns.conclude().items()}
    except BaseException:
        try:
            campaigns.withdraw()
        except BaseException:  # Ctrl-C again
            hand_over(apart, (campaigns.withdraw,))
            raise
        raise


class Campaigns:
    """Many campaigns in one step, from their first request to their outcomes. Calls ``over`` when they are over."""

    def __init__(self, engine: Engine, names: list[str], *, patient: bool, over: Callable[[], object]) -> None:
        self._engine = engine
        self._over = over
        self._open = set(names)
        self._failures: list[Exception] = []
        self._is_withdrawn = False
        self._courses = {
            name: Course(engine, name, patient=patient, listener=functools.partial(self._hear, name)) for name in names
        }
        self.event = Campaign([course.candidacy for course in self._courses.values()])

    def is_over(self) -> bool:
        return not self._open or bool(self._failures)

    def are_waiting(self) -> bool:
        """Whether it is known of each that has no outcome why it waits."""
        return all(self._courses[name].candidacy.waiting is not None for name in self._open.copy())

    def conclude(self) -> dict[str, Course]:
        """When they are over, or out of time: what stands behind the leases that were won, by name."""
        if self._failures:
            raise self._failures[0]
        is_closing = self._is_withdrawn  # not by whoever waits here, who does it below: the client is being closed
        for name in self._open.copy():  # in one step of C, with the GIL and without: others hear of outcomes meanwhile
            self._engine.post(Withdraw(self._courses[name].candidacy))
        if is_closing or self._engine.is_closed:
            raise closed("the client was closed during its campaigns")
        return {name: course for name, course in self._courses.items() if course.candidacy.leads}

    def withdraw(self) -> None:
        """Give up all of them, also those that were won a moment ago."""
        for course in self._courses.values():
            self._engine.post(Withdraw(course.candidacy))

    def _hear(self, name: str, news: News) -> None:
        if isinstance(news, Elected | Denied | Failed | Withdrawn):
            if isinstance(news, Failed):
                self._failures.append(news.error)
            self._is_withdrawn |= isinstance(news, Withdrawn)
            self._open.discard(name)
            if self.is_over():
                self._over()
