"""Every server store behind a network that sabotages it."""

from __future__ import annotations

import pytest

import leaderlock_etcd
import leaderlock_redis
import leaderlock_zookeeper
from tests.servers.etcd import EtcdServer
from tests.servers.redis import RedisServer, until
from tests.servers.zookeeper import Server as ZooKeeperServer
from tests.servers.zookeeper import free_ports
from tests.stores.sabotage import Sabotage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")).running() as server:
        yield server.port


@pytest.fixture(scope="module")
def replicated_port(tmp_path_factory):
    master = RedisServer(tmp_path_factory.mktemp("redis"), "--repl-diskless-sync-delay", "0")
    with master.running():
        replica = RedisServer(tmp_path_factory.mktemp("replica"), "--replicaof", "127.0.0.1", str(master.port))
        with replica.running():
            until(lambda: b"state=online" in master.do("INFO", "replication"), "the replica follows")
            yield master.port


@pytest.fixture(scope="module")
def etcd_port(tmp_path_factory):
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server.port
    server.kill()


@pytest.fixture(scope="module")
def zookeeper_port(tmp_path_factory):
    server = ZooKeeperServer(tmp_path_factory.mktemp("zookeeper") / "data", free_ports(1)[0])
    server.start()
    yield server.port
    server.kill()


class TestRedis(Sabotage):
    @pytest.fixture
    def port(self, redis_port):
        return redis_port

    @pytest.fixture
    def open_at(self):
        return lambda port, namespace: leaderlock_redis.open_backend(f"redis://127.0.0.1:{port}", namespace=namespace)


class TestRedisWithAReplica(TestRedis):
    """Each write has two answers there: what became of it, and how many replicas have it."""

    @pytest.fixture
    def port(self, replicated_port):
        return replicated_port

    @pytest.fixture
    def open_at(self):
        return lambda port, namespace: leaderlock_redis.open_backend(
            f"redis://127.0.0.1:{port}", namespace=namespace, durability="replicas:1"
        )


class TestEtcd(Sabotage):
    @pytest.fixture
    def port(self, etcd_port):
        return etcd_port

    @pytest.fixture
    def open_at(self):
        return lambda port, namespace: leaderlock_etcd.open_backend(f"etcd://127.0.0.1:{port}", namespace=namespace)


class TestZooKeeper(Sabotage):
    @pytest.fixture
    def port(self, zookeeper_port):
        return zookeeper_port

    @pytest.fixture
    def open_at(self):
        return lambda port, namespace: leaderlock_zookeeper.open_backend(f"zk://127.0.0.1:{port}", namespace=namespace)
