"""What kazoo's errors mean to a caller."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from leaderlock.errors import BackendRefused, BackendUnavailable, OutcomeUnknown
from leaderlock_zookeeper._kazoo import exceptions, timed_out

__all__ = ["looking", "refusal_of", "writing"]

_REFUSALS: Final = {
    exceptions.NoAuthError: "these credentials may not do that; grant them all rights on the namespace's nodes",
    exceptions.InvalidACLError: "the server does not accept these rights; look at the client's default_acl",
    exceptions.NotReadOnlyCallError: "the server has no quorum and only answers reads; do not use read_only clients",
    exceptions.UnimplementedError: "the server does not know this request; it needs ZooKeeper 3.4 or later",
    exceptions.NotEmptyError: "somebody has put nodes under a register; remove them",
    exceptions.QuotaExceededError: "the quota on these nodes is reached, and the server enforces it; raise it",
}
"""Answers that the server gave instead of doing anything."""


def refusal_of(error: BaseException, place: str) -> BackendRefused | None:
    """The error as a refusal, if it is one."""
    words = _REFUSALS.get(type(error))
    return BackendRefused(f"{place}: refused; {words} ({type(error).__name__})") if words else None


@contextmanager
def looking(place: str) -> Generator[None]:
    """Says of a read that failed what is true: nothing was asked to change."""
    try:
        yield
    except exceptions.AuthFailedError as error:
        raise BackendRefused(f"{place}: the credentials were not accepted; mend them, then try again") from error
    except (exceptions.KazooException, timed_out) as error:
        raise refusal_of(error, place) or BackendUnavailable(f"{place}: no answer ({_told(error)})") from error


@contextmanager
def writing(place: str) -> Generator[None]:
    """Says of writes that failed after the first was handed to kazoo what is true: in doubt, unknown."""
    try:
        yield
    # Also a connection that is said to be closed: kazoo says so when it cannot wake its own thread, after it has put
    # the request into its queue. And failed credentials: the last of a queue, part of which may have been sent.
    except (exceptions.KazooException, timed_out) as error:
        words = f"the answer to a write is missing ({_told(error)}); it may have been applied, or still be; read it"
        raise refusal_of(error, place) or OutcomeUnknown(f"{place}: {words}") from error


def _told(error: BaseException) -> str:
    words = str(error)
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
