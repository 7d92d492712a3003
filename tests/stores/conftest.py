"""Servers that several files use; and what a shared test asserts is shown when it fails."""

import pytest

from tests.servers.zookeeper import Server, free_ports

pytest.register_assert_rewrite("tests.stores.sabotage")


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("zookeeper") / "data", free_ports(1)[0])
    server.start()
    yield server
    server.kill()
