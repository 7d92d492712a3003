"""What gRPC's and etcd's errors mean to a caller, and what to do about each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from leaderlock.errors import BackendError, BackendRefused, BackendUnavailable, OutcomeUnknown
from leaderlock_etcd._grpc import CallFailed

__all__ = ["error_of", "is_about_token", "is_refusal"]

# Codes that the server, or a proxy, gives before anything is proposed to the cluster. All others are unknown: etcd
# says UNAVAILABLE for "leader changed" and "request timed out", and gRPC for a connection that broke while waiting.
_REFUSALS: Final[Mapping[str, str]] = {
    "UNAUTHENTICATED": "the server does not know us; put user:password@ into the URL",
    "PERMISSION_DENIED": "this user may not; grant it a role that has readwrite on the prefix",
    "INVALID_ARGUMENT": "the server does not take this request",
    "UNIMPLEMENTED": "this is not etcd's version 3 interface; look at host and port",
}
_WORDS: Final[Mapping[str, str]] = {
    "user name is empty": "the server wants to know who asks; put user:password@ into the URL",
    "authentication failed": "the user or the password is wrong",
    "too many operations": "the server allows fewer operations a transaction than we need; raise --max-txn-ops to 128",
    "request is too large": "the server allows smaller requests than we need; raise --max-request-bytes to 1572864",
}
_NO_SPACE: Final = "database space exceeded"
_ROOM: Final = "the database has reached its quota; compact, defragment, and disarm the alarm (etcdctl alarm disarm)"


def is_refusal(failed: CallFailed) -> bool:
    """Whether the server said no, so that another server would, too."""
    return failed.code in _REFUSALS or _NO_SPACE in failed.details


def is_about_token(failed: CallFailed) -> bool:
    """Whether a fresh token may help: this one is unknown (expired, a restart), outdated, or was not given."""
    return failed.code == "UNAUTHENTICATED" or (
        failed.code == "INVALID_ARGUMENT"
        and ("revision of auth store is old" in failed.details or "user name is empty" in failed.details)
    )


def error_of(failed: CallFailed, shown: str, *, is_write: bool) -> BackendError:
    """The error that a caller gets. A read that brought no answer has changed nothing, wherever it ended."""
    said = f"{failed.code}: {failed.details}"
    if _NO_SPACE in failed.details:
        # Of a write it is no clear no: the one that crosses the quota is applied, and then told this.
        kind = OutcomeUnknown if is_write and failed.was_sent else BackendRefused
        return kind(f"{shown}: {_ROOM} ({said})")
    if failed.code in _REFUSALS:
        advice = next((text for words, text in _WORDS.items() if words in failed.details), _REFUSALS[failed.code])
        return BackendRefused(f"{shown}: {advice} ({said})")
    if is_write and failed.was_sent:
        return OutcomeUnknown(f"{shown}: no answer, so the write may have been applied; read it again ({said})")
    return BackendUnavailable(f"{shown}: no answer; is etcd there, and has it a leader?{_hint(failed, shown)} ({said})")


def _hint(failed: CallFailed, shown: str) -> str:
    if failed.code != "UNAVAILABLE":
        return ""
    if shown.startswith("etcds:"):
        return " TLS? look at ca=, cert= and key=, and at the dates and the names in the server's certificate"
    if any(words in failed.details for words in ("refused", "resolution", "etcdserver", "unreachable")):
        return ""
    return " TLS? a server that wants it is etcds://"
