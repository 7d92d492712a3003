"""The lease under which the running code acts."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from leaderlock._lease import Lease

__all__ = ["current", "enter", "leave"]

_current: Final[ContextVar[Lease | None]] = ContextVar("leaderlock.current", default=None)


def current() -> Lease | None:
    """The lease under which this code runs: inside ``with election``, or inside a guarded function.

    ``None`` elsewhere. The innermost, if there are several. It may have been lost since: ``current().check()``. Threads
    that this code starts, or those of a pool that it hands work to, are elsewhere: give them the lease.
    """
    return _current.get()


enter: Final[Callable[[Lease], Token[Lease | None]]] = _current.set
"""For leaderlock's faces: from here on the code acts under this lease; the answer is for :func:`leave`."""


def leave(token: Token[Any]) -> None:
    """Act again under what was current before, whatever variable this is of."""
    try:
        token.var.reset(token)
    except ValueError:  # left in another context than it was entered in, as generators and some test runners do
        token.var.set(None if token.old_value is Token.MISSING else token.old_value)
