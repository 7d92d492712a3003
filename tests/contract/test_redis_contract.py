"""The Redis driver keeps the contract, on a server of its own."""

import pytest

from leaderlock.testing import BackendContract
from leaderlock_redis import open_backend
from tests.contract.redis_server import RedisServer


@pytest.fixture(scope="module")
def forgetful(tmp_path_factory):
    # Saved when it is stopped in good order, so that nothing is lost in an outage; by a kill it loses everything since.
    with RedisServer(tmp_path_factory.mktemp("redis"), "--save", "3600", "1").running() as server:
        yield server


@pytest.fixture(scope="module")
def durable(tmp_path_factory):
    directory = tmp_path_factory.mktemp("redis")
    with RedisServer(directory, "--appendonly", "yes", "--appendfsync", "always").running() as server:
        yield server


class OnAServer(BackendContract):
    """The hooks; each class below is one kind of server."""

    durability = "memory"

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
    def wipe_store(self, server):
        return lambda: server.do("FLUSHALL")

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
