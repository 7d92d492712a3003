"""leaderlock on Redis or Valkey: one master, over TCP, TLS or a Unix socket."""

from leaderlock_redis._backend import RedisBackend, from_client, open_backend

__all__ = ["RedisBackend", "from_client", "open_backend"]
