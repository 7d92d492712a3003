"""What went wrong with Redis, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from leaderlock.errors import BackendError, BackendRefused, BackendUnavailable, OutcomeUnknown
from leaderlock_redis._wire import ServerError

__all__ = ["ACL", "connecting_failed", "refusal"]

ACL: Final = (
    "ACL SETUSER <user> ~leaderlock:* &leaderlock:* +eval +info +time +hset +hmget +hscan +hdel +del +publish"
    " +subscribe +wait +ping +select"
)
"""The rights that the driver needs; ``durability="disk"`` needs ``+config|get +waitaof`` too."""

_RIGHTS: Final = (
    f"this user's rights do not suffice; as an administrator: {ACL}, and for durability='disk' +config|get +waitaof"
)

_REFUSALS: Final[Mapping[str, str]] = {
    "NOAUTH": "it wants a password, and the URL has none; put it there: redis://user:password@host",
    "WRONGPASS": "user name or password are wrong",
    "NOPERM": _RIGHTS,
    "OOM": "its memory is full, and nothing was written; raise maxmemory, or make room",
    "READONLY": "it is a replica, and only a master can be asked; name the master",
    "MISCONF": "it cannot save to its disk, and so takes no writes; look at its log",
    "NOREPLICAS": "it has fewer replicas than min-replicas-to-write asks for, and so takes no writes",
    "WRONGTYPE": "another program's data has one of our keys, of another type; delete that key, or use another"
    " namespace",
}
"""Codes of errors that say no before anything is done, and will say it again until somebody acts."""

_BUSY: Final = frozenset({"LOADING", "BUSY", "MASTERDOWN", "TRYAGAIN", "ASK", "CLUSTERDOWN", "MOVED"})
"""Codes of errors that say "not now", before anything is done."""

_MOVED_ON: Final = "non local key"
"""What a node of a cluster says, without a code, of a register that has moved on while the mark is still here."""

_RIGHTLESS_SCRIPT: Final = ("user executing the script", "ACL failure in script")
"""What Redis 7.0 and 8.0 say of a right that is missing inside a script, where it has no code of its own."""

# Redis 6 wraps the error of a command inside a script in one of its own.
_CODE: Final = re.compile(r"\b(" + "|".join([*_REFUSALS, *_BUSY]) + r")\b")

# Redis-py and valkey-py have each a tree of their own, with the same names.
_REFUSED_CLASSES: Final = frozenset({"AuthenticationError", "AuthorizationError", "NoPermissionError", "ResponseError"})
_FOREIGN_CLASSES: Final = frozenset({"Garbled", "InvalidResponse", "ProtocolError"})


def refusal(error: ServerError, place: str, *, wrote: bool) -> BackendError:
    """What an error reply means; ``wrote``: the request may have been half-way through its writes."""
    text = str(error)
    found = _CODE.search(text)
    code = found[1] if found else "NOPERM" if any(sign in text for sign in _RIGHTLESS_SCRIPT) else ""
    if code in _BUSY or (_MOVED_ON in text and not wrote):
        return BackendUnavailable(f"{place}: the server cannot answer now ({text})")
    # A right that goes missing between two commands of a script leaves the first one done.
    if wrote and (not code or (code == "NOPERM" and "script" in text)):
        return OutcomeUnknown(f"{place}: the write failed, perhaps half-way ({text})")
    return BackendRefused(f"{place}: {_REFUSALS.get(code, 'the server refuses')} ({text})")


def connecting_failed(error: Exception, place: str) -> BackendError:
    """What an error of the client library means while it connects, when no request has been sent."""
    names = {kind.__name__ for kind in type(error).__mro__}
    detail = f"{type(error).__name__}: {error}"
    if names & _FOREIGN_CLASSES:
        return BackendRefused(f"{place}: this is not a Redis server; look at host and port ({detail})")
    if names & _REFUSED_CLASSES:
        return BackendRefused(
            f"{place}: the server refuses this client; look at user name, password and rights ({detail})"
        )
    if "CERTIFICATE_VERIFY_FAILED" in detail:
        return BackendRefused(
            f"{place}: its certificate is not accepted; look at its dates, at the names in it, and whether ssl_ca_certs"
            f" has who signed it ({detail})"
        )
    return BackendUnavailable(f"{place}: no connection{_hint(detail, place)} ({detail})")


def _hint(detail: str, place: str) -> str:
    """What may be the matter where the other side was reached, and broke off or fell silent in the greeting."""
    if place.startswith("rediss") and any(sign in detail for sign in ("SSL", "ssl", "Timeout", "closed", "reset")):
        return "; TLS? a server without it is redis://, one that asks for a certificate needs ssl_certfile, ssl_keyfile"
    if any(sign in detail for sign in ("closed", "reset")):
        return "; is it Redis, and without TLS? with it the URL begins with rediss://"
    return ""
