"""The fence around an ASGI application."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

from leaderlock.fences._http import REFUSALS, SAFE, TOKEN, Problem, checked_methods, problem_of, token_of

__all__ = ["AsgiFence"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADER = TOKEN.lower().encode()


class AsgiFence:
    """An ASGI application that never works for a stale leader, in any of this host's worker processes.

    Requests bring their token in the header ``Fencing-Token``. A lower one than was admitted before is answered with
    412. A higher one waits until all requests under lower ones have ended, for at most ``timeout`` seconds; then the
    answer is 503. A request has ended when the application's coroutine has: background tasks of Starlette are part of
    it. A websocket may bring a token too, and is at work for as long as it is open.

    Requests by the methods in ``without_token`` are let through without one, and not fenced then; others get 428.

    Not promised: anything against work that goes on after the coroutine's end; anything among several hosts. For
    asyncio; other event loops are not supported.

    Raises:
        ValueError, TypeError: as :class:`~leaderlock.fences.gate.Gate` does; or ``without_token`` holds no methods.
    """

    def __init__(
        self,
        app: Application,
        path: str | os.PathLike[str],
        *,
        timeout: float = 10.0,
        without_token: Collection[str] = SAFE,
    ) -> None:
        from leaderlock.fences.gate import Gate  # here, so that clients need no flock

        self._app = app
        self._gate = Gate(path, timeout=timeout)
        self._without_token = checked_methods(without_token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        async with AsyncExitStack() as work:
            problem = await self._problem(scope, work)
            if problem is None:
                await self._app(scope, receive, send)
                return
        await _answer(problem, scope, send)

    async def _problem(self, scope: Scope, work: AsyncExitStack) -> Problem | None:
        """What keeps the request out. If it is let in, ``work`` is to be closed at its end."""
        method = scope.get("method", "GET")  # a websocket begins as a GET
        values = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == _HEADER]
        token = token_of(method, values, without_token=self._without_token)
        if isinstance(token, int):
            try:
                await work.enter_async_context(self._gate.admitted(token))
            except REFUSALS as error:
                return problem_of(error)
            return None
        return token


async def _answer(problem: Problem, scope: Scope, send: Send) -> None:
    prefix = scope["type"]
    if prefix == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": problem.title})  # before accept: a 403
        return
    headers, body = problem.answer(scope.get("method", "GET"))
    if prefix == "websocket":
        prefix = "websocket.http"
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": f"{prefix}.response.start", "status": problem.status.value, "headers": raw})
    await send({"type": f"{prefix}.response.body", "body": body})
