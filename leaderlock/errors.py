"""The errors, split by what the caller should do.

::

    LeaderLockError
    ├── NotLeader                 stop: somebody else leads
    │   ├── LeaseLost             stop now: you led, and no longer do (``.reason`` says why)
    │   └── TickSkipped           do nothing: this tick is not yours to run (``.skipped`` says why)
    ├── CampaignTimeout           try later: not elected within the time given (also a TimeoutError)
    ├── StaleToken                stop: the resource has seen a newer leader
    ├── UsageError                fix the program: used after close, in a forked child, twice at once
    └── BackendError              the store
        ├── BackendUnavailable    try later: it did not answer, and the request was never sent
        │   └── OutcomeUnknown    look first: the request may have been applied, now or later
        ├── BackendRefused        fix the store or its settings: it said no before doing anything
        ├── BackendNotInstalled   fix the environment: a package is missing
        └── MemoryGone            between drivers and the core: the store is not the one it was

Bad arguments are ``ValueError`` or ``TypeError``, raised at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderlock._ticks.results import Skipped

__all__ = [
    "BackendError",
    "BackendNotInstalled",
    "BackendRefused",
    "BackendUnavailable",
    "CampaignTimeout",
    "LeaderLockError",
    "LeaseLost",
    "MemoryGone",
    "NotLeader",
    "OutcomeUnknown",
    "StaleToken",
    "TickSkipped",
    "UsageError",
]


class LeaderLockError(Exception):
    """The root of every error that leaderlock raises on its own account."""

    def __reduce__(self) -> tuple[object, ...]:
        # To another process as it is: `__init__`, which Python would call there with the text alone, may ask for more.
        return _made, (type(self), *self.args), self.__dict__


def _made(kind: type[LeaderLockError], *args: object) -> LeaderLockError:
    return kind.__new__(kind, *args)


class NotLeader(LeaderLockError):
    """Somebody else leads, or nobody does; this caller does not, and must not act."""


class LeaseLost(NotLeader):
    """The caller led and no longer does; a fence should refuse what it does from here on.

    ``reason`` is one of :class:`leaderlock.LossReason`'s values, as a word.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class TickSkipped(NotLeader):
    """There is nothing to run: ``.skipped`` says why. Raised by ``with client.tick(…)``, so that no body runs twice."""

    def __init__(self, skipped: Skipped) -> None:
        super().__init__(str(skipped))
        self.skipped = skipped


class CampaignTimeout(LeaderLockError, TimeoutError):
    """The campaign was not won within its time; it has been withdrawn, and cannot win later."""


class StaleToken(LeaderLockError):
    """A fence refused a write, because it has admitted a higher token: a newer leader has been there."""

    def __init__(self, message: str, *, token: int, highest: int) -> None:
        super().__init__(message)
        self.token = token
        self.highest = highest


class UsageError(LeaderLockError, RuntimeError):
    """The program used an object at a moment when it cannot work; the message says what to do instead."""


class BackendError(LeaderLockError):
    """Something went wrong with the store or on the way to it."""


class BackendUnavailable(BackendError):
    """The store did not answer, and (unless this is an :class:`OutcomeUnknown`) the request never left."""


class OutcomeUnknown(BackendUnavailable):
    """The request may have been applied, may be applied later, or never: an exception is not a no."""


class BackendRefused(BackendError):
    """The store said no before it did anything: credentials, permissions, space, settings."""


class BackendNotInstalled(BackendError):
    """The driver or the client library that this URL needs is not installed."""


class MemoryGone(BackendError):
    """The store remembers something other than it did (restart, failover, wipe); the write was not applied."""
