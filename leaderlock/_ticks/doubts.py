"""What people should look at: clocks that are wrong, and jobs that share a name."""

from __future__ import annotations

import logging
from typing import Final

from leaderlock._engine import Engine
from leaderlock._ticks.claim import Claim
from leaderlock._ticks.plan import Plan
from leaderlock._ticks.schedule import moment
from leaderlock._ticks.skew import ahead_of_store
from leaderlock._ticks.slot import Slot

__all__ = ["look_at_clocks"]

_log: Final = logging.getLogger("leaderlock")


def look_at_clocks(engine: Engine, slot: Slot, plan: Plan, claim: Claim) -> None:
    """Warn, once each, of what makes this host mean other ticks than the others do."""
    schedule = plan.schedule
    if schedule is None:
        return
    now = engine.clock.now().wall
    before, after = schedule.around(now)
    tolerance = (after - before) / 2 if plan.policy.tolerance is None else plan.policy.tolerance
    ahead = ahead_of_store(engine.backend.traits.store, engine.time_told())
    if abs(ahead) > tolerance:
        way = "ahead of" if ahead > 0 else "behind"
        _warn_once(
            slot,
            "store",
            f"this host's clock is {abs(ahead):.1f} s {way} the store's, which is more than the tolerance of "
            f"{plan.name!r} ({tolerance:g} s): it means other ticks than the other hosts do, so set it",
        )
    newest = claim.seen.newest
    if newest > after + tolerance:
        _warn_once(
            slot,
            "newest",
            f"{plan.name!r} was run for the tick of {moment(newest).isoformat()}, which is {newest - now:.0f} s ahead "
            "of this host's clock: one host's clock is wrong. Until then nothing is run; when the clocks are right, "
            f"`leaderlock resume {plan.name}` forgets that tick",
        )
    if claim.seen.schedule and (claim.seen.schedule, claim.seen.zone) != (schedule.text, schedule.zone):
        _warn_once(
            slot,
            "schedule",
            f"{plan.name!r} last ran at {claim.seen.schedule} ({claim.seen.zone}), and is called at {schedule} here: "
            "if these are two jobs, give one of them another name",
        )


def _warn_once(slot: Slot, what: str, text: str) -> None:
    if what not in slot.warned:
        slot.warned.add(what)
        _log.warning("%s", text)
