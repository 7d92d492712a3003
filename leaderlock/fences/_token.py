"""What a token is to a fence, and which tokens it admits: the one place for all fences."""

from __future__ import annotations

import re
from typing import Final

from leaderlock.errors import LeaderLockError, StaleToken

__all__ = ["MAX_TOKEN", "FenceBusy", "WatermarkLost", "admit", "check_token", "refused", "token_in"]

MAX_TOKEN: Final = 2**53 - 1
"""The greatest token: they pass through JSON, Lua and JavaScript, which count in doubles."""


_DECIMAL: Final = re.compile(r"[1-9][0-9]{0,15}")


class WatermarkLost(LeaderLockError):
    """The fence cannot tell what it has admitted, and therefore admits nothing; the message says what to do."""


class FenceBusy(LeaderLockError, TimeoutError):
    """Other writers held the resource for the whole time given; nothing was admitted and nothing written."""


def check_token(token: object) -> int:
    """The token, if it is one.

    Nothing is converted: a token that comes as text or as a float has passed through something that may have changed
    it, and text compares otherwise than numbers do.
    """
    if isinstance(token, bool) or not isinstance(token, int):
        raise TypeError(f"a token is an int, as in lease.token, not {type(token).__name__}")
    if not 1 <= token <= MAX_TOKEN:
        raise ValueError(f"a token is between 1 and 2**53 - 1, not {token}")
    return token


def token_in(text: str) -> int | None:
    """The token that is written so; None if that is not a plain decimal of one."""
    return int(text) if _DECIMAL.fullmatch(text) and int(text) <= MAX_TOKEN else None


def admit(token: int, *, highest: int, resource: str) -> int:
    """The watermark after ``token`` was admitted; raises ``StaleToken`` if it is not.

    An equal token is admitted: it is the holder's second write.
    """
    if token < highest:
        raise refused(token, highest=highest, resource=resource)
    return token


def refused(token: int, *, highest: int, resource: str) -> StaleToken:
    """What is raised for a token that is not admitted."""
    return StaleToken(
        f"{resource} refused token {token}, as it has admitted {highest}: a newer leader has been there; stop",
        token=token,
        highest=highest,
    )
