"""One call for a tick, in asyncio: the same claim, the same rules, and waits that are awaited."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from leaderlock._aio.bell import LoopBell, await_news, weakly
from leaderlock._aio.campaign import IN_LOOP, in_loop, seek
from leaderlock._aio.cutting import Cutting
from leaderlock._aio.election import OnLoss
from leaderlock._aio.lease import AsyncLease
from leaderlock._course import tell_loss
from leaderlock._engine import Engine
from leaderlock._thread import even_if_collected
from leaderlock._ticks.claiming import Claiming, ending
from leaderlock._ticks.held import Held
from leaderlock._ticks.plan import Plan
from leaderlock._ticks.record import Ending
from leaderlock._ticks.results import TOO_LONG, Entered, Ran, Skipped, Tick, enter_tick, leave_tick
from leaderlock._ticks.rules import Due, SkipReason
from leaderlock._ticks.slot import Slot, Turn
from leaderlock._ticks.ticking import next_pause
from leaderlock._unrun import check_plain, is_coroutine_function
from leaderlock.errors import CampaignTimeout, LeaseLost, NotLeader, TickSkipped

__all__ = ["AsyncTicking"]

P = ParamSpec("P")
R = TypeVar("R")

_log: Final = logging.getLogger("leaderlock")


class _Run(NamedTuple):
    """A tick that runs in this task."""

    held: Held
    entered: Entered
    cutting: Cutting | None


class AsyncTicking:
    """A call for the tick that is due now; made by :meth:`AsyncClient.tick`. Costs nothing before it is used.

    ``async with client.tick(…) as tick`` runs its body once, on one host, or raises :class:`TickSkipped`; :meth:`run`
    awaits a coroutine function, and returns what came of it.
    """

    def __init__(
        self,
        engine: Callable[[], Awaitable[Engine]],
        plan: Plan,
        *,
        at: datetime | None = None,
        by_hand: bool = False,
        on_loss: OnLoss = "finish",
    ) -> None:
        self._engine = engine
        self._claiming = Claiming(plan, at=at, by_hand=by_hand)
        self._on_loss = on_loss
        self._runs: list[_Run] = []
        self.on_waiting: Callable[[str], object] | None = None
        """A plain function, told in this event loop why it waits, once for each reason."""

    async def run(
        self, function: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Ran[R] | Skipped:
        """Await ``function`` if the tick is this caller's to run; with ``retries``, again when it raises.

        Where every tick is promised a run, an unfinished earlier one goes first. Cancelled, the run is recorded as
        interrupted, and left to whoever stands by.

        Raises:
            TypeError: it is no coroutine function: it would block the event loop.
            LeaseLost: it ran, and the lease was lost meanwhile, so others may have run it too.
            BackendUnavailable: whether it is ours cannot be told, as the store does not answer.
            Exception: whatever the function raised last.
        """
        if not is_coroutine_function(function):
            raise TypeError(f"run() awaits a coroutine function, not {function!r}: it would block the event loop")
        engine = await self._engine()
        meant = self._claiming.meant(engine)
        if meant is None:
            return self._claiming.skipped(SkipReason.NOT_DUE)
        while True:
            held = await self._claim(engine, meant)
            if isinstance(held, Skipped):
                return held
            result = await self._call(held, functools.partial(function, *args, **kwargs))
            if held.run.by_hand or held.run.tick == meant.tick:
                return Ran(held.tick.at, held.tick.token, held.tick.attempt, result)

    async def __aenter__(self) -> Tick:
        engine = await self._engine()
        meant = self._claiming.meant(engine)
        held = self._claiming.skipped(SkipReason.NOT_DUE) if meant is None else await self._claim(engine, meant)
        if isinstance(held, Skipped):
            raise TickSkipped(held)
        self._runs.append(self._enter(held))
        return held.tick

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run = self._runs.pop()  # the only one: two calls of one process never run a job at a time
        how = ending(error)
        lost = self._leave(run, error)
        await self._finish(run.held, how, lost or error, again=self._claiming.again(run.held, how))
        if lost is not None:
            raise lost from error

    # -- the claim

    async def _claim(self, engine: Engine, meant: Due) -> Held | Skipped:
        if self.on_waiting is not None:
            check_plain("on_waiting", self.on_waiting, instead=IN_LOOP)
            self._claiming.on_waiting = in_loop(self.on_waiting)
        slot = self._claiming.slot(engine)
        reason = await self._take_turn(engine, slot, meant)
        if reason is not None:
            return self._claiming.skipped(reason, str(engine.terms.holder), meant)
        try:
            held = await self._seek(engine, slot, meant)
        except BaseException:
            slot.leave()
            raise
        if isinstance(held, Skipped):
            slot.leave()
        return held

    async def _take_turn(self, engine: Engine, slot: Slot, meant: Due) -> SkipReason | None:
        answers: list[Turn | SkipReason] = []

        def is_answered() -> bool:
            answer = self._claiming.turn(engine, slot, meant)
            if answer is not Turn.NOT_YET:
                answers.append(answer)
            return bool(answers)

        bell = LoopBell(engine)
        stop = slot.changed.add(weakly(bell.ring))
        try:
            if not await bell.wait_for(is_answered, None):
                engine.refuse()
        except BaseException:
            if Turn.MINE in answers:
                slot.leave()  # it came, and the task was cancelled before it knew
            raise
        finally:
            stop()
        return answers[0] if isinstance(answers[0], SkipReason) else None

    async def _seek(self, engine: Engine, slot: Slot, meant: Due) -> Held | Skipped:
        seeking = self._claiming.seek(engine, meant)
        try:
            until = engine.clock.boot() + seeking.within
            course = await seek(seeking.campaign, seeking.within, until)
        except (NotLeader, CampaignTimeout) as error:
            return self._claiming.not_won(seeking, meant, error)
        finally:
            self._claiming.look_at_clocks(engine, slot, seeking.claim)
        try:
            return self._claiming.won(engine, slot, seeking)
        except BaseException:
            engine.post(course.farewell())
            raise

    # -- the run

    def _enter(self, held: Held) -> _Run:
        # Nothing was awaited since the tick was claimed, so nobody was cancelled who would have to let it go.
        tick = held.tick
        entered = enter_tick(tick)
        if self._on_loss == "finish":
            return _Run(held, entered, None)
        course = held.course
        cutting = Cutting(course, why=lambda: course.loss().reason if tick.overran is None else TOO_LONG)
        held.on_cut = weakly(cutting.cut)
        if tick.overran is not None:
            cutting.cut()  # it came before
        return _Run(held, entered, cutting)

    def _leave(self, run: _Run, error: BaseException | None) -> LeaseLost | None:
        """Act under it no more; returns what its loss has made of ``error``, if it did."""
        leave_tick(run.entered)
        return None if run.cutting is None else run.cutting.end(error)

    async def _call(self, held: Held, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Await the function until it returns, or its retries are used up, and say how it ended."""
        run = self._enter(held)
        retries = held.plan.policy.retries
        try:
            while True:
                try:
                    result = await work()
                    break
                except Exception as error:
                    pause = next_pause(held, error) if retries > 0 else None
                    if pause is None or not await _pause(held, pause):
                        raise
                    retries -= 1
                    held.begin_again()
        except BaseException as error:
            how = ending(error)
            lost = self._leave(run, error)
            await self._finish(held, how, lost or error, again=how is Ending.INTERRUPTED)
            if lost is not None:
                raise lost from error
            raise
        self._leave(run, None)
        await self._finish(held, Ending.OK, None, again=False)
        return result

    async def _finish(self, held: Held, how: Ending, error: BaseException | None, *, again: bool) -> None:
        """Say how it ended, and free the job's name, in one write; the asyncio twin of :meth:`Held.finish`."""
        course = held.course
        held.is_over = True
        try:
            held.tick.check()
            farewell = held.farewell(how, again=again)
            if error is not None and not isinstance(error, Exception):
                # Cancelled, or its generator is closed: the claim ends here as well, and the store is told behind.
                even_if_collected(error, course.engine.post, course.farewell(farewell))
            elif not await AsyncLease(course).resign(note=farewell):
                _log.warning("the store has not acknowledged yet how %r ended (%s)", held.tick.name, how.value)
        except LeaseLost as lost:
            tell_loss(lost, error)
        finally:
            held.leave(error)


async def _pause(held: Held, seconds: float) -> bool:
    """Wait for so long, under the lease; returns whether it is still held then."""
    course = held.course
    await await_news(course, lambda: not course.candidacy.leads, course.engine.clock.boot() + seconds)
    return held.tick.is_held
