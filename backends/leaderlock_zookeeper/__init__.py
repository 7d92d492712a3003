"""leaderlock on ZooKeeper, over kazoo: several hosts, an ensemble that keeps what it acknowledged."""

from leaderlock_zookeeper._backend import ZooKeeperBackend, from_client, open_backend

__all__ = ["ZooKeeperBackend", "from_client", "open_backend"]
