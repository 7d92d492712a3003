"""The etcd driver keeps the contract."""

import pytest

from leaderlock.testing import BackendContract
from leaderlock_etcd import open_backend
from tests.servers import stores


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with stores.etcd(tmp_path_factory.mktemp("etcd")) as server:
        yield server


class TestEtcd(BackendContract):
    @pytest.fixture(autouse=True)
    def turn(self, server):
        with stores.turn(server):
            yield

    @pytest.fixture
    def make_backend(self, server):
        return lambda namespace: open_backend(f"{server.url}/tests", namespace=namespace)

    @pytest.fixture
    def restart_store(self, server):
        # With SIGKILL: what was acknowledged is on the disk.
        def restart() -> None:
            server.kill()
            server.start()

        return restart

    @pytest.fixture
    def wipe_store(self, server):
        return server.wipe

    @pytest.fixture
    def delete_by_hand(self, server, namespace):
        return lambda key: server.delete(f"/tests/{namespace}/{key}".encode())

    @pytest.fixture
    def overwrite_by_hand(self, server, namespace):
        return lambda key, value: server.put(f"/tests/{namespace}/{key}".encode(), value)

    @pytest.fixture
    def outage(self, server):
        return server.outage

    @pytest.fixture
    def freeze(self, server):
        return server.frozen


class TestEtcdNamespaceWipedByHand(TestEtcd):
    """The same, where wiping means that somebody deleted the namespace's keys, and revisions go on."""

    @pytest.fixture
    def wipe_store(self, server, namespace):
        return lambda: server.delete(f"/tests/{namespace}/".encode(), f"/tests/{namespace}0".encode())
