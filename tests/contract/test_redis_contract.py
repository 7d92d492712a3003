"""The Redis driver keeps the contract: on Redis and on Valkey, by Sentinel, in a cluster, and with clients lent."""

import pytest
import redis

from leaderlock.testing import BackendContract
from leaderlock_redis import from_client, open_backend
from tests.servers import stores
from tests.servers.loopback import until
from tests.stores.redis_groups import Cluster, Group

# Saved when it is stopped in good order, so that nothing is lost in an outage; by a kill it loses everything since.
FORGETFUL = ("--save", "3600", "1")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory):
    with stores.redis(tmp_path_factory.mktemp("redis"), *FORGETFUL) as server:
        yield server


@pytest.fixture(scope="module")
def durable(tmp_path_factory):
    with stores.redis(tmp_path_factory.mktemp("redis"), *DURABLE) as server:
        yield server


@pytest.fixture(scope="module")
def forgetful_valkey(tmp_path_factory):
    with stores.redis(tmp_path_factory.mktemp("valkey"), *FORGETFUL, store="valkey") as server:
        yield server


@pytest.fixture(scope="module")
def durable_valkey(tmp_path_factory):
    with stores.redis(tmp_path_factory.mktemp("valkey"), *DURABLE, store="valkey") as server:
        yield server


class OnAServer(BackendContract):
    """The hooks; each class below is one kind of server."""

    durability = "memory"

    @pytest.fixture(autouse=True)
    def turn(self, server):
        with stores.turn(server):
            yield

    @pytest.fixture
    def make_backend(self, server):
        return lambda namespace: open_backend(server.url, namespace=namespace, durability=self.durability)

    @pytest.fixture
    def restart_store(self, server):
        def restart() -> None:
            server.kill()
            server.start()

        return restart

    @pytest.fixture
    def wipe_store(self, server, namespace):
        return lambda: server.wipe(namespace)

    @pytest.fixture
    def delete_by_hand(self, server, namespace):
        return lambda key: server.do("DEL", f"leaderlock:{{{namespace}}}:{key}")

    @pytest.fixture
    def overwrite_by_hand(self, server, namespace):
        def overwrite(key: str, value: bytes) -> None:
            place = f"leaderlock:{{{namespace}}}:{key}"
            server.do("HSET", place, "value", value)
            server.do("HINCRBY", place, "stamp", "1")

        return overwrite

    @pytest.fixture
    def outage(self, server):
        return server.outage

    @pytest.fixture
    def freeze(self, server):
        return server.frozen


class TestRedis(OnAServer):
    @pytest.fixture
    def server(self, forgetful):
        return forgetful


class TestRedisOnDisk(OnAServer):
    durability = "disk"

    @pytest.fixture
    def server(self, durable):
        return durable


class TestValkey(OnAServer):
    @pytest.fixture
    def server(self, forgetful_valkey):
        return forgetful_valkey


class TestValkeyOnDisk(OnAServer):
    durability = "disk"

    @pytest.fixture
    def server(self, durable_valkey):
        return durable_valkey


class TestRedisClientHandedIn(OnAServer):
    """With the settings of a client that decodes, retries and pools; none of which is used."""

    @pytest.fixture
    def server(self, forgetful):
        return forgetful

    @pytest.fixture
    def make_backend(self, server):
        client = redis.Redis.from_url(server.url, decode_responses=True, health_check_interval=1)
        return lambda namespace: from_client(client, namespace=namespace)


class TestValkeyClientHandedIn(TestRedisClientHandedIn):
    @pytest.fixture
    def make_backend(self, server):
        valkey = pytest.importorskip("valkey")
        client = valkey.Valkey.from_url(server.url, decode_responses=True, health_check_interval=1)
        return lambda namespace: from_client(client, namespace=namespace)


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    # Nobody can take over from the one server: what fails over is tested in tests/stores.
    with Group(tmp_path_factory.mktemp("group"), "--save", "3600", "1", replicas=0, sentinels=1) as group:
        yield group


class TestRedisBySentinel(OnAServer):
    @pytest.fixture
    def server(self, group):
        return group.servers[0]

    @pytest.fixture
    def make_backend(self, group):
        return lambda namespace: open_backend(group.url, namespace=namespace)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), "--save", "3600", "1", masters=1) as cluster:
        yield cluster


class TestRedisCluster(OnAServer):
    @pytest.fixture
    def server(self, cluster):
        return cluster.nodes[0]

    @pytest.fixture
    def make_backend(self, cluster):
        return lambda namespace: open_backend(cluster.url, namespace=namespace)

    @pytest.fixture
    def restart_store(self, server, cluster):
        def restart() -> None:
            server.kill()
            server.start()
            # A node that comes back waits a moment before it takes writes.
            until(lambda: cluster.is_ok(server), "the cluster is whole")

        return restart
