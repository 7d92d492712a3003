"""One call for a tick: claims it, runs it, and says how it ended. Every decision is one of the rules'."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

from leaderlock._course import tell_loss
from leaderlock._engine import Engine
from leaderlock._ticks.calling import Calling
from leaderlock._ticks.claiming import Claiming, ending
from leaderlock._ticks.held import Held
from leaderlock._ticks.plan import Plan
from leaderlock._ticks.record import Ending
from leaderlock._ticks.results import Entered, Ran, Skipped, Tick, enter_tick, leave_tick
from leaderlock._ticks.rules import SkipReason
from leaderlock._unrun import UNRUN, refuse_unrun
from leaderlock.errors import BackendUnavailable, LeaseLost, TickSkipped, UsageError

__all__ = ["Ticking", "calling_of", "next_pause"]

P = ParamSpec("P")
R = TypeVar("R")

INSTEAD: Final = "give it a function that runs it to its end, such as with asyncio.run()"

_log: Final = logging.getLogger("leaderlock")


class Ticking:
    """A call for the tick that is due now; made by :meth:`Client.tick`. Costs nothing before it is used.

    ``with client.tick(…) as tick`` runs its body once, on one host, or raises :class:`TickSkipped`; :meth:`run` calls a
    function, and returns what came of it.
    """

    def __init__(
        self, engine: Callable[[], Engine], plan: Plan, *, at: datetime | None = None, by_hand: bool = False
    ) -> None:
        self._claiming = Claiming(plan, at=at, by_hand=by_hand)
        self._calling = Calling(engine, self._claiming)
        self._entered: list[tuple[Held, Entered]] = []

    @property
    def on_waiting(self) -> Callable[[str], object] | None:
        """Told why it waits, once for each reason, on a thread of leaderlock's."""
        return self._claiming.on_waiting

    @on_waiting.setter
    def on_waiting(self, callback: Callable[[str], object] | None) -> None:
        self._claiming.on_waiting = callback

    def run(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Ran[R] | Skipped:
        """Call ``function`` if the tick is this caller's to run; with ``retries``, again when it raises.

        Where every tick is promised a run, an unfinished earlier one goes first.

        Raises:
            LeaseLost: it ran, and the lease was lost meanwhile, so others may have run it too.
            BackendUnavailable: whether it is ours cannot be told, as the store does not answer.
            Exception: whatever the function raised last.
        """
        meant = self._calling.meant()
        if meant is None:
            return self._claiming.skipped(SkipReason.NOT_DUE)
        while True:
            held = self._calling.claim(meant)
            if isinstance(held, Skipped):
                return held
            result = self._call(held, functools.partial(function, *args, **kwargs))
            if held.run.by_hand or held.run.tick == meant.tick:
                return Ran(held.tick.at, held.tick.token, held.tick.attempt, result)

    def __enter__(self) -> Tick:
        meant = self._calling.meant()
        held = self._claiming.skipped(SkipReason.NOT_DUE) if meant is None else self._calling.claim(meant)
        if isinstance(held, Skipped):
            raise TickSkipped(held)
        try:
            self._entered.append((held, enter_tick(held.tick)))
        except BaseException:
            held.finish(Ending.INTERRUPTED, again=True)
            raise
        return held.tick

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._entered:
            raise UsageError(f"the tick of {self._claiming.plan.name!r} was left more often than entered: use `with`")
        held, entered = self._entered.pop()
        leave_tick(entered)
        how = ending(error)
        self._finish(held, how, error, again=self._claiming.again(held, how))

    def _call(self, held: Held, work: functools.partial[R]) -> R:
        """Call the function until it returns, or its retries are used up, and say how it ended."""
        entered = enter_tick(held.tick)
        retries = held.plan.policy.retries
        try:
            while True:
                try:
                    result = work()
                    break
                except Exception as error:
                    pause = next_pause(held, error) if retries > 0 else None
                    if pause is None or not held.pause(pause):
                        raise
                    retries -= 1
                    held.begin_again()
            if type(result) in UNRUN:
                refuse_unrun(result, work.func, instead=INSTEAD)
        except BaseException as error:
            how = ending(error)
            self._finish(held, how, error, again=how is Ending.INTERRUPTED)
            raise
        finally:
            leave_tick(entered)
        self._finish(held, Ending.OK, None, again=False)
        return result

    def _finish(self, held: Held, how: Ending, error: BaseException | None, *, again: bool) -> None:
        try:
            held.finish(how, again=again, left_by=error)
        except (LeaseLost, BackendUnavailable) as lost:
            tell_loss(lost, error)


def calling_of(ticking: Ticking) -> Calling:
    """For leaderlock's own: what claims the tick, for who runs it in his own way."""
    return ticking._calling  # pyright: ignore[reportPrivateUsage] - this is the one way in


def next_pause(held: Held, error: Exception) -> float | None:
    """Seconds to wait before the next attempt; ``None``: there is none inside the window, or the lease is lost."""
    pause = None if isinstance(error, LeaseLost) else held.next_pause()
    if pause is not None:
        _log.warning("%r failed and is run again in %.1f s: %r", held.tick.name, pause, error)
    return pause
