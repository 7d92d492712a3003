"""leaderlock on Redis or Valkey: one server, the master that Sentinel knows, or a cluster."""

from leaderlock_redis._backend import RedisBackend, from_client, open_backend

__all__ = ["RedisBackend", "from_client", "open_backend"]
