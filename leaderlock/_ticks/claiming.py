"""What a call for a tick decides before and after it waits: which tick is meant, and what the campaign for it brought.

Nothing here waits, so that a thread and a task can each do that in its own way.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, NamedTuple

from leaderlock._campaign import Campaigning
from leaderlock._engine import Engine
from leaderlock._lease import Lease
from leaderlock._protocol.candidacy import Why
from leaderlock._ticks.claim import Claim
from leaderlock._ticks.doubts import look_at_clocks
from leaderlock._ticks.held import Held
from leaderlock._ticks.plan import Plan
from leaderlock._ticks.record import Ending, read_job
from leaderlock._ticks.results import Skipped, Tick
from leaderlock._ticks.rules import Due, Leave, SkipReason, Want, due, due_at
from leaderlock._ticks.schedule import instant, moment
from leaderlock._ticks.slot import Slot, Turn, slot_of
from leaderlock.errors import BackendUnavailable, CampaignTimeout, NotLeader, UsageError

__all__ = ["Claiming", "Seeking", "ending"]

BY_HAND_WITHIN: Final = 3600.0
"""How long, in seconds, a run by hand may wait for the run before it, where it queues."""

OBSERVING: Final = 1.2
"""How many of the longest ttls that may take, with all that comes between."""

_log: Final = logging.getLogger("leaderlock")


class Seeking(NamedTuple):
    """A campaign for one tick."""

    campaign: Campaigning
    claim: Claim
    within: float
    """How long, in seconds, it may take."""


class Claiming:
    """One who calls for a job's tick; ``at``: for that very one, ``by_hand``: for none, the job is to be run now."""

    def __init__(self, plan: Plan, *, at: datetime | None, by_hand: bool) -> None:
        self.plan = plan
        self._at = None if at is None else round(instant(at), 3)
        self._by_hand = by_hand
        self.on_waiting: Callable[[str], object] | None = None

    def meant(self, engine: Engine) -> Due | None:
        """Which tick is meant; ``None``: none is near."""
        now = engine.clock.now().wall
        schedule, policy = self.plan.schedule, self.plan.policy
        if self._at is not None:
            return due_at(self._at, schedule, policy)
        if self._by_hand or schedule is None:
            return Due(round(now, 3), now + BY_HAND_WITHIN)
        return due(schedule, policy, now)

    def slot(self, engine: Engine) -> Slot:
        return slot_of(engine, self.plan.name, self.plan.schedule)

    def turn(self, engine: Engine, slot: Slot, meant: Due) -> Turn | SkipReason:
        """Whether this caller may seek that tick now, or has to wait for another one of this process, or why not."""
        too_late = functools.partial(self._too_late, engine, meant)
        return slot.try_enter(meant.tick, queues=self.plan.policy.queues, too_late=too_late)

    def _too_late(self, engine: Engine, meant: Due) -> SkipReason | None:
        now = engine.clock.now().wall
        if now > meant.until:
            return SkipReason.LATE
        schedule = self.plan.schedule
        superseded = not self._by_hand and schedule is not None and schedule.around(now)[0] > meant.tick
        return SkipReason.SUPERSEDED if superseded else None

    def seek(self, engine: Engine, meant: Due) -> Seeking:
        """The campaign that decides who runs that tick."""
        plan, schedule = self.plan, self.plan.schedule
        want = Want(
            tick=meant.tick,
            until=meant.until,
            policy=plan.policy,
            host=str(engine.terms.holder),
            schedule=schedule.text if schedule is not None else "",
            zone=schedule.zone if schedule is not None else "",
            by_hand=self._by_hand,
        )
        claim = Claim(schedule, want)
        campaign = Campaigning(engine, plan.name, patient=False, on_waiting=self.on_waiting, errand=claim)
        # Beyond the window, for as long as it takes to see that a leader is dead, or to settle a store that may have
        # forgotten one: the next tick's process would have to begin anew.
        window = max(0.0, meant.until - engine.clock.now().wall)
        return Seeking(campaign, claim, window + OBSERVING * engine.terms.timing.longest)

    def look_at_clocks(self, engine: Engine, slot: Slot, claim: Claim) -> None:
        """After a campaign, whatever it brought: warn of clocks that are wrong."""
        look_at_clocks(engine, slot, self.plan, claim)

    def won(self, engine: Engine, slot: Slot, seeking: Seeking) -> Held:
        course, claim = seeking.campaign.course, seeking.claim
        record = read_job(course.note)
        run = record.running
        assert run is not None
        if claim.died is not None:
            _log.warning(
                "%r: the tick of %s was begun by %s, which never said how it ended: it died, or lost its lease",
                course.name, moment(claim.died.tick).isoformat(), claim.died.host,
            )  # fmt: skip
        held = Held(Tick(Lease(course), run), course, record, slot, self.plan)
        slot.runs(run.tick)
        if self.plan.policy.max_run is not None:
            held.spare = engine.later(self.plan.policy.max_run, held.cut)
        return held

    def not_won(self, seeking: Seeking, meant: Due, error: NotLeader | CampaignTimeout) -> Skipped:
        """Why it is skipped; or raises where that cannot be told."""
        if isinstance(error, CampaignTimeout):
            waiting = seeking.campaign.course.candidacy.waiting
            if waiting is None:
                raise BackendUnavailable(f"whether {self.plan.name!r} is to be run cannot be told: {error}") from error
            if waiting.why is not Why.HELD:
                raise error
        return self._left(seeking.claim, meant)

    def _left(self, claim: Claim, meant: Due) -> Skipped:
        if claim.error is not None:
            raise UsageError(f"{self.plan.name!r} cannot be run as a job: {claim.error}") from claim.error
        running = claim.seen.running
        by = running.host if running is not None else ""
        same = running is not None and running.tick == meant.tick
        left = claim.left or Leave(SkipReason.RUNNING if same else SkipReason.OVERLAP, by)
        return self.skipped(left.reason, left.by, meant)

    def skipped(self, reason: SkipReason, by: str = "", meant: Due | None = None) -> Skipped:
        return Skipped(self.plan.name, reason, by, None if meant is None else moment(meant.tick))

    def again(self, held: Held, how: Ending) -> bool:
        """Whether a body that ended so is left to whoever stands by, or calls next: it cannot be repeated from here."""
        return how is Ending.INTERRUPTED or (how is Ending.FAILED and held.run.attempt <= self.plan.policy.retries)


def ending(error: BaseException | None) -> Ending:
    """How a run ended that raised this, or nothing."""
    match error:
        case None:
            return Ending.OK
        case SystemExit():
            return Ending.FAILED if error.code else Ending.OK
        case Exception():
            return Ending.FAILED
        case _:
            return Ending.INTERRUPTED
