"""The ZooKeeper driver keeps the contract."""

import threading
from contextlib import closing

import pytest
from kazoo.client import KazooClient

from leaderlock.testing import BackendContract
from leaderlock_zookeeper import from_client, open_backend
from leaderlock_zookeeper._paths import Layout
from tests.servers import stores


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with stores.zookeeper(tmp_path_factory.mktemp("zookeeper")) as server:
        yield server


@pytest.fixture(autouse=True)
def turn(server):
    with stores.turn(server):
        yield


@pytest.fixture
def shell(server, turn):
    """A client of a person who looks with other tools."""
    client = KazooClient(server.hosts)
    client.start(timeout=20)
    with closing(client):
        yield client
        client.stop()


class TestZooKeeper(BackendContract):
    @pytest.fixture
    def make_backend(self, server):
        return lambda namespace: open_backend(server.url, namespace=namespace)

    @pytest.fixture
    def restart_store(self, server):
        def restart() -> None:
            server.kill()
            server.start()

        return restart

    @pytest.fixture
    def layout(self, namespace):
        return Layout("/leaderlock", namespace)

    @pytest.fixture
    def register(self, shell, layout):
        """The path of a key of the namespace's current life."""
        return lambda key: layout.register(shell.get(layout.pointer)[0].decode(), key)

    @pytest.fixture
    def wipe_store(self, shell, layout):
        return lambda: shell.delete(layout.pointer, recursive=True)

    @pytest.fixture
    def delete_by_hand(self, shell, register):
        return lambda key: shell.delete(register(key))

    @pytest.fixture
    def overwrite_by_hand(self, shell, register):
        return lambda key, value: shell.set(register(key), value)

    @pytest.fixture
    def outage(self, server):
        return server.outage

    @pytest.fixture
    def freeze(self, server):
        return server.frozen


class TestZooKeeperClientHandedIn(TestZooKeeper):
    """The same on the session of one client that somebody else has started, and stops."""

    @pytest.fixture
    def lent(self, server, turn):
        client = KazooClient(server.hosts, timeout=4.0, connection_retry={"max_tries": -1, "max_delay": 1.0})
        client.start(timeout=20)
        yield client
        client.stop()
        client.close()

    @pytest.fixture
    def make_backend(self, lent):
        return lambda namespace: from_client(lent, namespace=namespace)

    def test_a_closed_client_leaves_no_thread_and_no_descriptor_behind(self, open_backend, lent):
        # Descriptors cannot be counted here: kazoo opens and closes one whenever it waits for its socket.
        threads, backend = threading.active_count(), open_backend()
        backend.watch(["name/a"], lambda _: None)
        backend.read(["name/a"], timeout=10)

        backend.close()

        assert threading.active_count() == threads
        assert not lent.state_listeners
        assert lent.exists("/leaderlock")
