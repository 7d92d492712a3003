"""HTTP: a service that refuses a stale leader's requests, and the leader's side of that.

In the service, on the host where it works, :class:`AsgiFence` or :class:`WsgiFence` goes around the application (or
around the part of it that only leaders use). In the leader, a request takes :func:`fencing_headers`, and its response
goes through :func:`raise_for_stale`, with whatever library. A new leader sends a request before it relies on what it
read, even if that is a GET: the token that comes along is its stamp.

Not promised: anything about several hosts, which share no watermark: let the token go into the database that they share
(a fence in its transaction). The token must come from those who are allowed to lead: a stranger's high one shuts all
leaders out, so put the fence behind what checks who asks.
"""

from __future__ import annotations

from typing import Protocol

from leaderlock.errors import StaleToken
from leaderlock.fences._asgi import AsgiFence
from leaderlock.fences._http import HIGHEST, TOKEN, token_in
from leaderlock.fences._token import check_token
from leaderlock.fences._wsgi import WsgiFence

__all__ = ["AsgiFence", "WsgiFence", "fencing_headers", "raise_for_stale"]


def fencing_headers(token: int) -> dict[str, str]:
    """The headers that a request under this token, which is ``lease.token``, takes along."""
    return {TOKEN: str(check_token(token))}


def raise_for_stale(response: Response) -> None:
    """Raise ``StaleToken`` if the response is a fence's refusal; every other response is left alone.

    For the responses of requests, httpx, aiohttp, urllib3 and urllib, whose ``HTTPError`` is one. Nothing is read but
    status and headers. Another's 412, as for ``If-Match``, is none of ours.
    """
    status = getattr(response, "status_code", None) or getattr(response, "status", None)
    if not isinstance(status, int):
        raise TypeError(f"a response has a status or a status_code, unlike {response!r}")
    token, highest = (token_in(str(response.headers.get(name))) for name in (TOKEN, HIGHEST))
    if status == 412 and token is not None and highest is not None:
        raise StaleToken(
            f"token {token} was refused by the service, as it has admitted {highest}: a newer leader has been there; "
            "stop",
            token=token,
            highest=highest,
        )


class Headers(Protocol):
    def get(self, name: str, /) -> object: ...


class Response(Protocol):
    @property
    def headers(self) -> Headers: ...
