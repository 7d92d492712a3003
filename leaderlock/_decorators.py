"""``@only_on_leader``: this function runs here only while this process leads."""

from __future__ import annotations

import functools
import inspect
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, cast, overload

from leaderlock._checks import check_one_of
from leaderlock._client import Client
from leaderlock._connect import check_client, default_client, threads_client
from leaderlock._current import enter, leave
from leaderlock._lease import Lease, course_of
from leaderlock._naming import check_name
from leaderlock._protocol.candidacy import LossReason, Lost, News
from leaderlock._tenure import Tenure, tenure_of
from leaderlock._unrun import UNRUN, refuse_unrun
from leaderlock.errors import NotLeader

if TYPE_CHECKING:
    from leaderlock._aio.client import AsyncClient

__all__ = ["EXIT_LOST", "OnLoss", "Otherwise", "only_on_leader"]

P = ParamSpec("P")
R = TypeVar("R")

Otherwise: TypeAlias = Literal["skip", "raise", "wait"]
OnLoss: TypeAlias = Literal["finish", "cancel", "exit"]

EXIT_LOST: Final = 76
"""The exit code of a process that ends because it lost its lease."""

LAST_WORDS: Final = 0.2
"""Seconds that such a process has at most for saying why."""

INSTEAD: Final = "put @only_on_leader beneath what wraps the `async def`, or around what exhausts the generator"

_log: Final = logging.getLogger("leaderlock")


class Skipping(Protocol):
    """What ``otherwise="skip"`` makes of a function: one that may answer ``None``."""

    @overload
    def __call__(
        self, function: Callable[P, Coroutine[Any, Any, R]], /
    ) -> Callable[P, Coroutine[Any, Any, R | None]]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, R | None]: ...


class Keeping(Protocol):
    """What ``"raise"`` and ``"wait"`` make of a function: one of the same type."""

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def only_on_leader(
    name: str,
    *,
    client: Client | AsyncClient | None = None,
    otherwise: Literal["skip"] = "skip",
    on_loss: OnLoss = "finish",
) -> Skipping: ...


@overload
def only_on_leader(
    name: str,
    *,
    client: Client | AsyncClient | None = None,
    otherwise: Literal["raise", "wait"],
    on_loss: OnLoss = "finish",
) -> Keeping: ...


def only_on_leader(
    name: str,
    *,
    client: Client | AsyncClient | None = None,
    otherwise: Otherwise = "skip",
    on_loss: OnLoss = "finish",
) -> Any:
    """Return a decorator under which a function runs only while this process leads ``name``.

    The first call starts the campaign and waits for its first answer; the campaign goes on behind, again after every
    loss, and later calls only compare clocks. Inside, :func:`current` is the lease, with its token. Functions guarded
    by one name share their leadership. Works on functions, methods and coroutine functions.

    Not promised: that the process still leads when the function's next packet arrives. Use the token.

    Args:
        name: what to lead.
        client: from :func:`connect`; without one, the process's own at ``$LEADERLOCK_URL``, opened by the first call.
            For coroutine functions, :func:`leaderlock.aio.connect`'s as well.
        otherwise: for who does not lead: ``"skip"`` returns ``None``, ``"raise"`` raises :class:`NotLeader`, ``"wait"``
            waits until it leads.
        on_loss: when the lease is lost while the function runs: ``"finish"`` lets it, ``"cancel"`` cancels the
            coroutine, which then raises :class:`LeaseLost`, ``"exit"`` ends the process with code 76, at once.

    Raises:
        TypeError: this cannot be guarded: it is not callable, a class, or a generator.
        ValueError: an option that there is not, or ``"cancel"`` on what is not a coroutine function.
    """
    if callable(name):
        raise TypeError("only_on_leader needs to know what to lead: write @only_on_leader('name')")
    check_name(name)
    check_one_of("otherwise", otherwise, "skip", "raise", "wait")
    check_one_of("on_loss", on_loss, "finish", "cancel", "exit")
    check_client(client)
    return _Guard(name, client, otherwise, on_loss).around


class _Guard:
    """One decoration: who must lead what, and what happens if not."""

    def __init__(self, name: str, client: Client | AsyncClient | None, otherwise: Otherwise, on_loss: OnLoss) -> None:
        self._name = name
        self._client = client
        self._otherwise = otherwise
        self._on_loss = on_loss
        self._tenure: Tenure | None = None

    def around(self, function: Any) -> Any:
        if isinstance(function, staticmethod | classmethod):
            method = cast("Any", function)
            return type(method)(self.around(method.__func__))
        if not callable(function) or inspect.isclass(function):
            raise TypeError(f"only_on_leader guards a function, not {function!r}")
        if not inspect.isroutine(function) and inspect.iscoroutinefunction(type(function).__call__):
            raise TypeError(f"only_on_leader cannot guard {function!r}: guard its method __call__ instead")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"only_on_leader cannot guard the generator {function!r}: its body runs after the call")
        if inspect.iscoroutinefunction(function):
            return self._around_coroutine(function)
        if self._on_loss == "cancel":
            raise ValueError(f"on_loss='cancel' needs a coroutine function; {function!r} cannot be stopped: use 'exit'")
        threads_client(self._client, function)
        return self._around_function(function)

    def _around_function(self, function: Callable[P, R]) -> Callable[P, R | None]:
        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
            tenure = self._tenure
            lease = tenure.lease if tenure is not None else None
            if lease is None:
                lease = self._seek()
                if lease is None:
                    return None
            token = enter(lease)
            exits = self._exit_on_loss(lease) if self._on_loss == "exit" else None
            try:
                result = function(*args, **kwargs)
                if type(result) in UNRUN:
                    refuse_unrun(result, function, instead=INSTEAD)
                return result
            finally:
                leave(token)
                if exits is not None:
                    course_of(lease).unlisten(exits)

        return guarded

    def _around_coroutine(
        self, function: Callable[P, Coroutine[Any, Any, R]]
    ) -> Callable[P, Coroutine[Any, Any, R | None]]:
        @functools.wraps(function)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
            tenure = self._tenure
            lease = tenure.lease if tenure is not None else None
            if lease is None:
                lease = await self._seek_async()
                if lease is None:
                    return None
            token = enter(lease)
            exits = self._exit_on_loss(lease) if self._on_loss == "exit" else None
            try:
                if self._on_loss == "cancel":
                    result = await _cancelled_on_loss(lease, functools.partial(function, *args, **kwargs))
                else:
                    result = await function(*args, **kwargs)
                if type(result) in UNRUN:
                    refuse_unrun(result, function, instead=INSTEAD)
                return result
            finally:
                leave(token)
                if exits is not None:
                    course_of(lease).unlisten(exits)

        return guarded

    # -- the way in

    def _begin(self) -> Tenure:
        """From the first call on this process is a candidate, and a forked child another one."""
        client = self._client or default_client()
        if not isinstance(client, Client):
            from leaderlock._aio.client import access_of  # as in _seek_async

            client = access_of(client).open()
        self._tenure = tenure_of(client, self._name)
        return self._tenure

    def _seek(self) -> Lease | None:
        tenure = self._begin()
        tenure.first_answer()
        if self._otherwise == "wait":
            while tenure.lease is None:
                tenure.wait_elected()
        return self._decide(tenure)

    async def _seek_async(self) -> Lease | None:
        import asyncio  # whoever gets here has it; `leaderlock run` and threads should not pay its 40 ms

        loop = asyncio.get_running_loop()
        tenure = await loop.run_in_executor(None, self._begin)
        await loop.run_in_executor(None, tenure.first_answer)
        while self._otherwise == "wait" and tenure.lease is None:
            tenure.refuse_if_over()
            changed = asyncio.Event()

            def wake(changed: asyncio.Event = changed) -> None:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(changed.set)

            stop = tenure.changed.add(wake)
            try:
                if tenure.lease is None:
                    tenure.refuse_if_over()
                    await changed.wait()
            finally:
                stop()
        return self._decide(tenure)

    def _decide(self, tenure: Tenure) -> Lease | None:
        lease = tenure.lease
        if lease is not None or self._otherwise != "raise":
            return lease
        if (trouble := tenure.trouble) is not None:
            raise NotLeader(f"{self._name!r} cannot be led here, so this is not run: {trouble}") from trouble
        why = tenure.why_waiting or f"{self._name!r} is led by another process, or by none"
        raise NotLeader(
            f"this runs only where {self._name!r} is led: {why}; the campaign goes on, so call it again later, or say "
            "otherwise='wait'"
        )

    def _exit_on_loss(self, lease: Lease) -> Callable[[News], None]:
        def hear(news: News) -> None:
            if isinstance(news, Lost):
                self._exit(news.reason)

        course_of(lease).listen(hear)
        if not lease.is_held and lease.lost_reason is not None:
            self._exit(lease.lost_reason)  # lost between the look and the listening
        return hear

    def _exit(self, reason: LossReason) -> None:
        # The last words may hang (a log server, a lock that somebody holds): then the process ends without them.
        with suppress(RuntimeError):
            threading.Timer(LAST_WORDS, os._exit, (EXIT_LOST,)).start()
        _log.critical("the lease of %r was lost (%s): this process ends", self._name, reason.value)
        logging.shutdown()
        os._exit(EXIT_LOST)


async def _cancelled_on_loss(lease: Lease, work: Callable[[], Awaitable[R]]) -> R:
    """Run the work in this task, and cancel it when the lease is lost. Whatever it answers, LeaseLost is what follows
    from a loss, but an error of its own comes first."""
    from leaderlock._aio.cutting import Cutting  # as above

    # Looked at before it begins: a task that is cancelled too early keeps that for the first wait to come.
    lease.check()
    cutting = Cutting(course_of(lease))
    try:
        result = await work()
    except BaseException as error:
        if (lost := cutting.end(error)) is not None:
            raise lost from error
        if isinstance(error, Exception) and not lease.is_held and lease.state != "resigned":
            error.add_note(f"besides, {course_of(lease).loss()}")
        raise
    cutting.end(None)
    if lease.state != "resigned":
        lease.check()
    return result
