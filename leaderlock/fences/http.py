"""HTTP: a service that refuses a stale leader's requests, and the leader's side of that.

In the service, on the host where it works, :class:`AsgiFence` or :class:`WsgiFence` goes around the application (or
around the part of it that only leaders use). In the leader, a request takes :func:`fencing_headers`, and its response
goes through :func:`raise_for_stale`, with whatever library. A new leader sends a request before it relies on what it
read, even if that is a GET: the token that comes along is its stamp.

Not promised: anything about several hosts, which share no watermark: let the token go into the database that they share
(a fence in its transaction). For such a service :func:`fencing_token` reads the request's header, and
:func:`stale_response` is what it answers when that fence refuses. The token must come from those who are allowed to
lead: a stranger's high one shuts all leaders out, so put the fence behind what checks who asks.
"""

from __future__ import annotations

from leaderlock.errors import StaleToken
from leaderlock.fences._asgi import AsgiFence
from leaderlock.fences._http import HIGHEST, TOKEN, problem_of
from leaderlock.fences._token import MAX_TOKEN, check_token, refused, token_in
from leaderlock.fences._wsgi import WsgiFence

__all__ = ["AsgiFence", "WsgiFence", "fencing_headers", "fencing_token", "raise_for_stale", "stale_response"]


def fencing_headers(token: int) -> dict[str, str]:
    """The headers that a request under this token, which is ``lease.token``, takes along."""
    return {TOKEN: str(check_token(token))}


def fencing_token(header: str | None) -> int:
    """The token of a request with this value of the header ``Fencing-Token``, for a service that fences by itself.

    Raises:
        ValueError: it has none (``None``), or one that is malformed: that is the client's mistake, a 400.
    """
    token = None if header is None else token_in(header)
    if token is None:
        raise ValueError(f"the header {TOKEN} holds a token, a decimal from 1 to {MAX_TOKEN}, and not {header!r}")
    return token


def stale_response(error: StaleToken) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body that tell a client of a fence's refusal, so that :func:`raise_for_stale` knows it."""
    problem = problem_of(error)
    headers, body = problem.answer("POST")
    return problem.status.value, dict(headers), body


def raise_for_stale(response: object) -> None:
    """Raise ``StaleToken`` if the response is a fence's refusal; every other response is left alone.

    For the responses of requests, httpx, aiohttp, urllib3 and urllib, whose ``HTTPError`` is one. Nothing is read but
    status and headers. Another's 412, as for ``If-Match``, is none of ours.

    Raises:
        TypeError: this is no response; perhaps a coroutine that was not awaited.
    """
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    headers = getattr(response, "headers", None)
    if not isinstance(status, int) or headers is None:
        raise TypeError(f"a response has headers, and a status_code or a status, unlike {response!r}")
    token, highest = token_in(str(headers.get(TOKEN))), token_in(str(headers.get(HIGHEST)))
    if status == 412 and token is not None and highest is not None:
        raise refused(token, highest=highest, resource="the service")
