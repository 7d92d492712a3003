"""What users and authors of drivers test with: a store in memory, a clock moved by hand, faults, a proxy, a contract.

Only :class:`BackendContract` needs pytest, and is imported when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leaderlock.testing._faulty import Call, Fault, FaultyBackend, Injection
from leaderlock.testing._manual import ManualClock
from leaderlock.testing._memory import MemoryBackend, MemoryStore, Snapshot, open_backend
from leaderlock.testing._proxy import TcpProxy, Towards

if TYPE_CHECKING:
    from leaderlock.testing.contract import BackendContract

__all__ = [
    "BackendContract",
    "Call",
    "Fault",
    "FaultyBackend",
    "Injection",
    "ManualClock",
    "MemoryBackend",
    "MemoryStore",
    "Snapshot",
    "TcpProxy",
    "Towards",
    "open_backend",
]


def __getattr__(name: str) -> object:
    if name != "BackendContract":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import sys

    import pytest

    if "leaderlock.testing.contract" not in sys.modules:
        # Before the import, so that a broken promise shows the values that were compared.
        pytest.register_assert_rewrite("leaderlock.testing.contract")
    from leaderlock.testing.contract import BackendContract

    return BackendContract
