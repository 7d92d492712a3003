"""What a token is in a request, and how a refusal is answered: what both middlewares share.

A refusal is a ``problem+json`` (RFC 9457). What the client needs to know of a 412 is in two headers as well, so that it
can tell ours from others' without reading a body.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from leaderlock.errors import StaleToken
from leaderlock.fences._token import MAX_TOKEN, FenceBusy, WatermarkLost, token_in

__all__ = ["HIGHEST", "REFUSALS", "SAFE", "TOKEN", "Problem", "checked_methods", "problem_of", "token_of"]

TOKEN: Final = "Fencing-Token"
HIGHEST: Final = "Fencing-Highest"
SAFE: Final = ("GET", "HEAD", "OPTIONS")
REFUSALS: Final = (StaleToken, FenceBusy, WatermarkLost)

_log: Final = logging.getLogger("leaderlock")


@dataclass(frozen=True, slots=True)
class Problem:
    """An answer that is given in the application's place."""

    status: HTTPStatus
    kind: str
    title: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    numbers: dict[str, int] = field(default_factory=dict[str, int])

    def answer(self, method: str) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body."""
        told = {"type": f"urn:leaderlock:{self.kind}", "title": self.title, "status": self.status.value}
        body = json.dumps({**told, "detail": self.detail, **self.numbers}).encode()
        own = {
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            "Cache-Control": "no-store",
        }
        return [*own.items(), *self.headers.items()], b"" if method == "HEAD" else body


def token_of(method: str, values: Sequence[str], *, without_token: Collection[str]) -> int | Problem | None:
    """The token of a request with these values of the header; None if it is let through without."""
    if not values:
        return None if method in without_token else _missing(method)
    token = token_in(values[0]) if len(values) == 1 else None
    return _malformed() if token is None else token


def checked_methods(methods: Collection[str]) -> frozenset[str]:
    """The methods, which are spelt as in a request."""
    if isinstance(methods, str) or not all(isinstance(method, str) for method in methods):
        raise TypeError(f"without_token is a collection of methods, such as {SAFE}, not {methods!r}")
    return frozenset(method.upper() for method in methods)


def problem_of(error: StaleToken | FenceBusy | WatermarkLost) -> Problem:
    """How a gate's refusal is answered. The error's own words name files of this host, and stay here."""
    match error:
        case StaleToken(token=token, highest=highest):
            return Problem(
                HTTPStatus.PRECONDITION_FAILED,
                "stale-token",
                "A newer leader has been here",
                f"token {token} was refused, as {highest} has been admitted: stop",
                headers={TOKEN: str(token), HIGHEST: str(highest)},
                numbers={"token": token, "highest": highest},
            )
        case FenceBusy():
            return Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "fence-busy",
                "Requests under another token are still running",
                "nothing was admitted; send the request again",
                headers={"Retry-After": "1"},
            )
        case WatermarkLost():
            _log.error("%s", error)
            return Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "watermark-lost",
                "The watermark is lost",
                "nothing is admitted until the service's operator lets the fence adopt the current leader's token; "
                "its log says how",
            )


def _missing(method: str) -> Problem:
    return Problem(
        HTTPStatus.PRECONDITION_REQUIRED,
        "token-missing",
        "A fencing token is required",
        f"a {method} needs the header {TOKEN}, with the token of the lease under which it is sent",
    )


def _malformed() -> Problem:
    return Problem(
        HTTPStatus.BAD_REQUEST,
        "token-malformed",
        "The fencing token is malformed",
        f"{TOKEN} is sent once, as a decimal from 1 to {MAX_TOKEN}",
    )
