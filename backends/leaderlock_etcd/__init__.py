"""leaderlock on etcd 3.4 or later: registers are keys, and every write is one transaction."""

from leaderlock_etcd._open import from_client, open_backend

__all__ = ["from_client", "open_backend"]
