"""leaderlock on a SQLite file: for processes of one host, with nothing to install or to run."""

from leaderlock_sqlite._backend import SqliteBackend, open_backend

__all__ = ["SqliteBackend", "open_backend"]
