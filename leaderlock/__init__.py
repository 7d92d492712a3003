"""Leader leases with fencing tokens: many copies run, exactly one acts.

``connect(url)`` gives a :class:`Client`; ``with client.election("name") as lease:`` leads; ``lease.token`` is what a
resource needs in order to refuse an old leader. See ``docs/guarantees.md`` for what is promised, and what is not.
``leaderlock.aio`` is the same for asyncio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from leaderlock._aio.client import AsyncClient
    from leaderlock._aio.election import AsyncElection
    from leaderlock._aio.lease import AsyncLease
    from leaderlock._aio.ticking import AsyncTicking
    from leaderlock._client import Client
    from leaderlock._connect import connect
    from leaderlock._current import current
    from leaderlock._decorators import only_on_leader
    from leaderlock._election import Election
    from leaderlock._lease import Lease
    from leaderlock._observe import Session, Status, Term
    from leaderlock._protocol.candidacy import LossReason
    from leaderlock._protocol.clocks import Deadline
    from leaderlock._protocol.records import Holder, Stint
    from leaderlock._ticks.decorator import once_per_tick
    from leaderlock._ticks.job import Job, Outcome
    from leaderlock._ticks.record import Ending
    from leaderlock._ticks.results import Ran, Skipped, Tick, current_tick
    from leaderlock._ticks.rules import SkipReason
    from leaderlock._ticks.schedule import Schedule
    from leaderlock._ticks.ticking import Ticking
    from leaderlock.backend import ABSENT, DELETE, Backend, Conflict, Seen, Swapped, Traits, View, Write
    from leaderlock.errors import (
        BackendError,
        BackendNotInstalled,
        BackendRefused,
        BackendUnavailable,
        CampaignTimeout,
        LeaderLockError,
        LeaseLost,
        MemoryGone,
        NotLeader,
        OutcomeUnknown,
        StaleToken,
        TickSkipped,
        UsageError,
    )

__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "DELETE",
    "AsyncClient",
    "AsyncElection",
    "AsyncLease",
    "AsyncTicking",
    "Backend",
    "BackendError",
    "BackendNotInstalled",
    "BackendRefused",
    "BackendUnavailable",
    "CampaignTimeout",
    "Client",
    "Conflict",
    "Deadline",
    "Election",
    "Ending",
    "Holder",
    "Job",
    "LeaderLockError",
    "Lease",
    "LeaseLost",
    "LossReason",
    "MemoryGone",
    "NotLeader",
    "Outcome",
    "OutcomeUnknown",
    "Ran",
    "Schedule",
    "Seen",
    "Session",
    "SkipReason",
    "Skipped",
    "StaleToken",
    "Status",
    "Stint",
    "Swapped",
    "Term",
    "Tick",
    "TickSkipped",
    "Ticking",
    "Traits",
    "UsageError",
    "View",
    "Write",
    "connect",
    "current",
    "current_tick",
    "once_per_tick",
    "only_on_leader",
]

# Each name is fetched from its home when it is first used: a program that imports leaderlock and has nothing to lead
# does not pay for the engine, and the guardian of `leaderlock run` is forked before all that is loaded.
_HOMES: Final = {
    "_aio.client": ("AsyncClient",),
    "_aio.election": ("AsyncElection",),
    "_aio.lease": ("AsyncLease",),
    "_aio.ticking": ("AsyncTicking",),
    "_client": ("Client",),
    "_election": ("Election",),
    "_connect": ("connect",),
    "_current": ("current",),
    "_decorators": ("only_on_leader",),
    "_lease": ("Lease",),
    "_observe": (
        "Session",
        "Status",
        "Term",
    ),
    "_protocol.candidacy": ("LossReason",),
    "_protocol.clocks": ("Deadline",),
    "_protocol.records": (
        "Holder",
        "Stint",
    ),
    "_ticks.decorator": ("once_per_tick",),
    "_ticks.job": (
        "Job",
        "Outcome",
    ),
    "_ticks.record": ("Ending",),
    "_ticks.results": (
        "Ran",
        "Skipped",
        "Tick",
        "current_tick",
    ),
    "_ticks.rules": ("SkipReason",),
    "_ticks.schedule": ("Schedule",),
    "_ticks.ticking": ("Ticking",),
    "backend": (
        "ABSENT",
        "DELETE",
        "Backend",
        "Conflict",
        "Seen",
        "Swapped",
        "Traits",
        "View",
        "Write",
    ),
    "errors": (
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
    ),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"leaderlock.{home}"), name)
            return value
    raise AttributeError(f"module 'leaderlock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
