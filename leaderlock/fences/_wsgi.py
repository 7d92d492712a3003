"""The fence around a WSGI application."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from leaderlock.fences._http import REFUSALS, SAFE, TOKEN, Problem, checked_methods, problem_of, token_of

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["WsgiFence"]

_VARIABLE = "HTTP_" + TOKEN.upper().replace("-", "_")


class WsgiFence:
    """A WSGI application that never works for a stale leader, in any of this host's worker processes.

    Requests bring their token in the header ``Fencing-Token``. A lower one than was admitted before is answered with
    412. A higher one waits until all requests under lower ones have ended, for at most ``timeout`` seconds; then the
    answer is 503. A request has ended when the server has closed its response.

    Requests by the methods in ``without_token`` are let through without one, and not fenced then; others get 428.

    Not promised: anything against work that goes on after that; anything among several hosts.

    Raises:
        ValueError, TypeError: as :class:`~leaderlock.fences.gate.Gate` does; or ``without_token`` holds no methods.
    """

    def __init__(
        self,
        app: WSGIApplication,
        path: str | os.PathLike[str],
        *,
        timeout: float = 10.0,
        without_token: Collection[str] = SAFE,
    ) -> None:
        from leaderlock.fences.gate import Gate  # here, so that clients need no flock

        self._app = app
        self._gate = Gate(path, timeout=timeout)
        self._without_token = checked_methods(without_token)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        with ExitStack() as work:
            problem = self._problem(environ, work)
            if problem is None:
                return _Response(self._app(environ, start_response), work.pop_all())
        headers, body = problem.answer(environ["REQUEST_METHOD"])
        start_response(f"{problem.status.value} {problem.status.phrase}", headers)
        return [body]

    def _problem(self, environ: WSGIEnvironment, work: ExitStack) -> Problem | None:
        """What keeps the request out. If it is let in, ``work`` is to be closed at its end."""
        # A header that is sent twice comes here joined by a comma, which is in no token.
        values = [environ[_VARIABLE]] if _VARIABLE in environ else []
        token = token_of(environ["REQUEST_METHOD"], values, without_token=self._without_token)
        if isinstance(token, int):
            try:
                work.enter_context(self._gate.admitted(token))
            except REFUSALS as error:
                return problem_of(error)
            return None
        return token


class _Response:
    """The application's response; the work ends when the server closes it."""

    def __init__(self, body: Iterable[bytes], work: ExitStack) -> None:
        self._body = body
        self._work = work

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        with self._work:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
