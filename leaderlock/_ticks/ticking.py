"""One call for a tick: claims it, runs it, and says how it ended. Every decision is one of the rules'."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from contextvars import Token
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from leaderlock._backoff import WaitStrategy
from leaderlock._campaign import Campaigning
from leaderlock._current import enter, leave
from leaderlock._engine import Engine
from leaderlock._lease import Lease
from leaderlock._protocol.candidacy import Why
from leaderlock._ticks.claim import Claim
from leaderlock._ticks.doubts import look_at_clocks, moment
from leaderlock._ticks.held import Held, Plan
from leaderlock._ticks.record import Ending, read_job
from leaderlock._ticks.results import Ran, Skipped, Tick, enter_tick, leave_tick
from leaderlock._ticks.rules import Due, Leave, SkipReason, Want, due, due_at
from leaderlock._ticks.schedule import instant
from leaderlock._ticks.slot import Slot, slot_of
from leaderlock._unrun import UNRUN, refuse_unrun
from leaderlock.errors import BackendUnavailable, CampaignTimeout, LeaseLost, NotLeader, TickSkipped, UsageError

if TYPE_CHECKING:
    from leaderlock._client import Client

__all__ = ["Ticking", "back_off"]

P = ParamSpec("P")
R = TypeVar("R")

BY_HAND_WITHIN: Final = 3600.0
"""How long, in seconds, a run by hand may wait for the run before it, where it queues."""

OBSERVING: Final = 1.2
"""How many of the longest ttls that may take, with all that comes between."""

INSTEAD: Final = "give it a function that runs it to its end, such as with asyncio.run()"

_log: Final = logging.getLogger("leaderlock")


class Ticking:
    """A call for the tick that is due now; made by :meth:`Client.tick`. Costs nothing before it is used.

    ``with client.tick(…) as tick`` runs its body once, on one host, or raises :class:`TickSkipped`; :meth:`run` calls a
    function, and returns what came of it.
    """

    def __init__(self, client: Client, plan: Plan, *, at: datetime | None = None, by_hand: bool = False) -> None:
        self._client = client
        self._plan = plan
        self._at = None if at is None else round(instant(at), 3)
        self._by_hand = by_hand
        self.on_waiting: Callable[[str], object] | None = None
        """Told why it waits, once for each reason, on a thread of leaderlock's."""
        self._entered: list[tuple[Held, Token[Lease | None], Token[Tick | None]]] = []

    def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Ran[R] | Skipped:
        """Call ``function`` if the tick is this caller's to run; with ``retries``, again when it raises.

        Where every tick is promised a run, an unfinished earlier one goes first.

        Raises:
            LeaseLost: it ran, and the lease was lost meanwhile, so others may have run it too.
            BackendUnavailable: whether it is ours cannot be told, as the store does not answer.
            Exception: whatever the function raised last.
        """
        meant = self._meant()
        if meant is None:
            return self._skipped(SkipReason.NOT_DUE, "", None)
        while True:
            held = self.claim(meant)
            if isinstance(held, Skipped):
                return held
            result, attempt = self._call(held, functools.partial(function, *args, **kwargs))
            if held.run.by_hand or held.run.tick == meant.tick:
                return Ran(held.tick.at, held.tick.token, attempt, result)

    def __enter__(self) -> Tick:
        meant = self._meant()
        held = self._skipped(SkipReason.NOT_DUE, "", None) if meant is None else self.claim(meant)
        if isinstance(held, Skipped):
            raise TickSkipped(held)
        try:
            self._entered.append((held, enter(held.tick.lease), enter_tick(held.tick)))
        except BaseException:
            held.finish(Ending.INTERRUPTED, attempt=held.run.attempt, again=True)
            raise
        return held.tick

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._entered:
            raise UsageError(f"the tick of {self._plan.name!r} was left more often than entered: use `with`")
        held, lease_token, tick_token = self._entered.pop()
        leave_tick(tick_token)
        leave(lease_token)
        how = _ending(error)
        # A body cannot be repeated from here: whoever stands by, or calls next, does that.
        again = how is Ending.INTERRUPTED or (how is Ending.FAILED and held.run.attempt <= self._plan.policy.retries)
        self._finish(held, how, error, attempt=held.run.attempt, again=again)

    # -- the claim

    def due_now(self) -> Due | None:
        """For leaderlock's other faces: which tick is meant."""
        return self._meant()

    def _meant(self) -> Due | None:
        now = self._client.engine().clock.now().wall
        schedule, policy = self._plan.schedule, self._plan.policy
        if self._at is not None:
            return due_at(self._at, schedule, policy)
        if self._by_hand or schedule is None:
            return Due(round(now, 3), now + BY_HAND_WITHIN)
        return due(schedule, policy, now)

    def claim(self, meant: Due) -> Held | Skipped:
        """For leaderlock's other faces: take the job's name for that tick, if it is this caller's to run."""
        engine = self._client.engine()
        plan = self._plan
        slot = slot_of(engine, plan.name, plan.schedule)
        too_late = functools.partial(self._too_late, engine, meant)
        reason = slot.enter(meant.tick, queues=plan.policy.queues, too_late=too_late)
        if reason is not None:
            return self._skipped(reason, str(engine.terms.holder), meant)
        try:
            held = self._seek(engine, slot, meant)
        except BaseException:
            slot.leave()
            raise
        if isinstance(held, Skipped):
            slot.leave()
        return held

    def _too_late(self, engine: Engine, meant: Due) -> SkipReason | None:
        now = engine.clock.now().wall
        if now > meant.until:
            return SkipReason.LATE
        schedule = self._plan.schedule
        superseded = not self._by_hand and schedule is not None and schedule.around(now)[0] > meant.tick
        return SkipReason.SUPERSEDED if superseded else None

    def _seek(self, engine: Engine, slot: Slot, meant: Due) -> Held | Skipped:
        plan, schedule = self._plan, self._plan.schedule
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
        try:
            # Beyond the window, for as long as it takes to see that a leader is dead, or to settle a store that may
            # have forgotten one: the next tick's process would have to begin anew (trap D7).
            window = max(0.0, meant.until - engine.clock.now().wall)
            lease = campaign.run(window + OBSERVING * engine.terms.timing.longest)
        except NotLeader:
            return self._left(claim, meant)
        except CampaignTimeout as error:
            waiting = campaign.lease.candidacy.waiting
            if waiting is None:
                raise BackendUnavailable(f"whether {plan.name!r} is to be run cannot be told: {error}") from error
            if waiting.why is not Why.HELD:
                raise
            return self._left(claim, meant)
        finally:
            look_at_clocks(engine, slot, plan, claim)
        try:
            return self._won(engine, slot, claim, lease)
        except BaseException:
            lease.resign(timeout=0)
            raise

    def _won(self, engine: Engine, slot: Slot, claim: Claim, lease: Lease) -> Held:
        record = read_job(lease.note)
        run = record.running
        assert run is not None
        if claim.died is not None:
            _log.warning(
                "%r: the tick of %s was begun by %s, which never said how it ended: it died, or lost its lease",
                lease.name, moment(claim.died.tick), claim.died.host,
            )  # fmt: skip
        held = Held(Tick(lease, run), record, run, slot, engine, self._plan.policy)
        slot.runs(run.tick)
        if self._plan.policy.max_run is not None:
            engine.later(self._plan.policy.max_run, held.cut)
        return held

    def _left(self, claim: Claim, meant: Due) -> Skipped:
        if claim.error is not None:
            raise UsageError(f"{self._plan.name!r} cannot be run as a job: {claim.error}") from claim.error
        running = claim.seen.running
        by = running.host if running is not None else ""
        same = running is not None and running.tick == meant.tick
        left = claim.left or Leave(SkipReason.RUNNING if same else SkipReason.OVERLAP, by)
        return self._skipped(left.reason, left.by, meant)

    def _skipped(self, reason: SkipReason, by: str, meant: Due | None) -> Skipped:
        at = None if meant is None else datetime.fromtimestamp(meant.tick, UTC)
        return Skipped(self._plan.name, reason, by, at)

    # -- the run

    def _call(self, held: Held, work: functools.partial[R]) -> tuple[R, int]:
        """Call the function until it returns, or its retries are used up, and say how it ended."""
        entered = enter(held.tick.lease), enter_tick(held.tick)
        attempt = held.run.attempt
        retries = self._plan.policy.retries
        try:
            while True:
                try:
                    result = work()
                    break
                except Exception as error:
                    if retries <= 0 or not self._pause(held, attempt, error):
                        raise
                    retries, attempt = retries - 1, attempt + 1
            if type(result) in UNRUN:
                refuse_unrun(result, work.func, instead=INSTEAD)
        except BaseException as error:
            how = _ending(error)
            self._finish(held, how, error, attempt=attempt, again=how is Ending.INTERRUPTED)
            raise
        finally:
            leave_tick(entered[1])
            leave(entered[0])
        self._finish(held, Ending.OK, None, attempt=attempt, again=False)
        return result, attempt

    def _pause(self, held: Held, attempt: int, error: Exception) -> bool:
        """Wait before the next attempt; returns whether there is one: inside the window, under the lease."""
        pause = back_off(self._plan.back_off, attempt)
        clock = held.engine.clock
        if isinstance(error, LeaseLost) or clock.now().wall + pause > held.run.until:
            return False
        _log.warning("%r failed and is run again in %.1f s: %r", self._plan.name, pause, error)
        return held.pause(pause)

    def _finish(self, held: Held, how: Ending, error: BaseException | None, *, attempt: int, again: bool) -> None:
        try:
            held.finish(how, attempt=attempt, again=again)
        except (LeaseLost, BackendUnavailable) as lost:
            # The function ran on after the loss, so somebody must be told; but its own error comes first.
            if error is None:
                raise
            if not isinstance(error, LeaseLost):
                error.add_note(f"besides, {lost}")


def _ending(error: BaseException | None) -> Ending:
    match error:
        case None:
            return Ending.OK
        case SystemExit():
            return Ending.FAILED if error.code else Ending.OK
        case Exception():
            return Ending.FAILED
        case _:
            return Ending.INTERRUPTED


def back_off(strategy: WaitStrategy | None, attempt: int) -> float:
    """How many seconds to wait after so many failed attempts."""
    import tenacity  # 40 ms, which only a failed job should pay for

    strategy = strategy or tenacity.wait_random_exponential(multiplier=1, max=60)
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    return max(0.0, float(strategy(state)))
