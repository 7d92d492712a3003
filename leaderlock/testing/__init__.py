"""What users and authors of drivers test with: a store in memory, a clock moved by hand, faults on demand."""

from leaderlock.testing._manual import ManualClock
from leaderlock.testing._memory import MemoryBackend, MemoryStore, Snapshot, open_backend

__all__ = ["ManualClock", "MemoryBackend", "MemoryStore", "Snapshot", "open_backend"]
