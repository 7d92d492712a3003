"""``@once_per_tick``: this function runs once for each tick, on one host."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from leaderlock._backoff import WaitStrategy
from leaderlock._client import Client, engine_of
from leaderlock._connect import check_client, default_client, threads_client
from leaderlock._engine import Engine
from leaderlock._ticks.plan import Plan, plan_of
from leaderlock._ticks.results import Ran, Skipped
from leaderlock._ticks.rules import Misfire, Overlap, Policy, Runs
from leaderlock._ticks.schedule import Schedule, When
from leaderlock._ticks.ticking import Ticking
from leaderlock._unrun import is_coroutine_function

if TYPE_CHECKING:
    from leaderlock._aio.client import AsyncClient

__all__ = ["once_per_tick"]

P = ParamSpec("P")
R = TypeVar("R")


def once_per_tick(
    schedule: Schedule | When,
    *,
    name: str,
    client: Client | AsyncClient | None = None,
    zone: str | tzinfo | None = None,
    runs: Runs = "at-most-once",
    overlap: Overlap | None = None,
    misfire: Misfire = "skip",
    tolerance: float | None = None,
    window: float | None = None,
    hold_for: float = 0.0,
    max_run: float | None = None,
    retries: int = 0,
    back_off: WaitStrategy | None = None,
) -> Ticked:
    """Return a decorator under which a function runs once for each tick of ``schedule``, whoever calls it how often.

    It does not call the function: cron, a scheduler or a loop does, on every host. A call returns :class:`Ran`, with
    the function's result, or :class:`Skipped`, which is false and says why. Inside, :func:`current_tick` is the tick,
    and :func:`current` its lease, with the token. Works on functions, and on coroutine functions, which are awaited.

    Not promised: that it runs exactly once; choose which side to err on with ``runs``.

    Args:
        schedule: a :class:`Schedule`, or what makes one.
        name: what the job is called: the same on all hosts, and no other job's (nor any other election's).
        client: from :func:`connect`; without one, the process's own at ``$LEADERLOCK_URL``, opened by the first call.
            For coroutine functions, :func:`leaderlock.aio.connect`'s as well.
        zone: the time zone in which a cron expression is read; UTC if not given.
        runs: ``"at-most-once"`` marks a tick before it is run, ``"at-least-once"`` after: then a tick whose runner died
            is run again by another host, under a higher token, as long as its window lasts.
        overlap: while an earlier tick still runs, ``"skip"`` this one, or ``"queue"`` it (one at a time; a later tick
            takes its place). By default, at-most-once skips and at-least-once queues.
        misfire: a call that is near no tick runs none (``"skip"``), or the newest that was missed (``"run"``).
        tolerance: how far, in seconds, a call may be from its tick; half an interval, at most 300, if not given.
        window: for how many seconds after its instant a tick may be started: late, again, or after it was queued.
            Until the next tick, if not given.
        hold_for: the least number of seconds between two starts.
        max_run: after how many seconds the lease is given up, so that ``current_tick().check()`` raises.
        retries: how often the function is called again when it raises, with pauses, inside the window.
        back_off: a ``tenacity.wait_*`` object that says how long those pauses are.

    Raises:
        TypeError, ValueError: the schedule, the name or an option cannot work; the text says what can.
    """
    plan = plan_of(
        schedule,
        name,
        zone=zone,
        policy=Policy(
            runs=runs,
            overlap=overlap,
            misfire=misfire,
            tolerance=tolerance,
            window=window,
            hold_for=hold_for,
            max_run=max_run,
            retries=retries,
        ),
        back_off=back_off,
    )
    check_client(client)

    def decorate(function: Any) -> Any:
        _check_function(function)
        if is_coroutine_function(function):
            return _around_coroutine(function, client, plan)
        return _around_function(function, threads_client(client, function), plan)

    return decorate


class Ticked(Protocol):
    """What :func:`once_per_tick` makes of a function: one that says what came of the tick."""

    # The two overlap, as a coroutine is a result too; the first that fits is meant.
    @overload
    def __call__(  # type: ignore[overload-overlap]
        self,  # pyright: ignore[reportOverlappingOverload]
        function: Callable[P, Coroutine[Any, Any, R]],
        /,
    ) -> Callable[P, Coroutine[Any, Any, Ran[R] | Skipped]]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, Ran[R] | Skipped]: ...


def _around_function(function: Callable[P, R], client: Client | None, plan: Plan) -> Callable[P, Ran[R] | Skipped]:
    @functools.wraps(function)
    def ticked(*args: P.args, **kwargs: P.kwargs) -> Ran[R] | Skipped:
        return Ticking(lambda: engine_of(client or default_client()), plan).run(function, *args, **kwargs)

    return ticked


def _around_coroutine(
    function: Callable[P, Coroutine[Any, Any, R]], client: Client | AsyncClient | None, plan: Plan
) -> Callable[P, Coroutine[Any, Any, Ran[R] | Skipped]]:
    async def engine() -> Engine:
        if client is not None and not isinstance(client, Client):
            from leaderlock._aio.client import access_of

            return await access_of(client).engine()
        import asyncio  # whoever gets here has it

        def opened(client: Client | None = client) -> Engine:
            return engine_of(client or default_client())

        return await asyncio.to_thread(opened)  # the first call opens the store

    @functools.wraps(function)
    async def ticked(*args: P.args, **kwargs: P.kwargs) -> Ran[R] | Skipped:
        from leaderlock._aio.ticking import AsyncTicking

        return await AsyncTicking(engine, plan).run(function, *args, **kwargs)

    return ticked


def _check_function(function: Any) -> None:
    if not callable(function) or inspect.isclass(function) or isinstance(function, staticmethod | classmethod):
        raise TypeError(f"once_per_tick runs a function, not {function!r}")
    called: Any = function if inspect.isroutine(function) else type(function).__call__
    if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
        raise TypeError(f"once_per_tick cannot run the generator {function!r}: its body runs after the call")
