"""Stores in containers, each test with a namespace of its own, and a table of what became of them."""

from __future__ import annotations

import uuid
from contextlib import ExitStack

import pytest

import leaderlock
import leaderlock_etcd
import leaderlock_redis
import leaderlock_zookeeper
from leaderlock.testing.summary import DECLARED, Summary
from tests.servers.choice import Way, absent
from tests.servers.containers import Nodes
from tests.servers.etcd import EtcdContainers
from tests.servers.redis import RedisContainer
from tests.servers.stores import way_to
from tests.servers.zookeeper import ZooKeeperContainers

OPEN = {
    "Redis": lambda: RedisContainer("redis"),
    "Valkey": lambda: RedisContainer("valkey"),
    "ZooKeeper": ZooKeeperContainers,
    "Etcd": EtcdContainers,
}
DRIVERS = {
    "redis": leaderlock_redis.open_backend,
    "zk": leaderlock_zookeeper.open_backend,
    "etcd": leaderlock_etcd.open_backend,
}
LONGEST = 12.0


class Sabotage(Summary):
    """The tests of this directory as a table: what held a column's store under it."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        test, _, parameters = report.nodeid.rpartition("::")[2].partition("[")
        store = next((name for name in parameters.rstrip("]").split("-") if name in OPEN), "")
        if store and report.nodeid.startswith("tests/containers/") and (report.when == "call" or not report.passed):
            self.judge(report, store=store, test=test)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.pluginmanager.hasplugin("leaderlock-summary"):
        config.pluginmanager.register(Sabotage("under sabotage, by store"), "leaderlock-sabotage")


@pytest.fixture(scope="module")
def all_nodes():
    """The containers of a store, by its name; each is looked for once."""
    found: dict[str, Nodes] = {}

    def of(store: str) -> Nodes:
        way = way_to(store.lower())
        if way is not Way.CONTAINERS:
            absent("containers", f"{store} is had by {way}" if isinstance(way, Way) else way)
        if store not in found:
            found[store] = OPEN[store]()
        return found[store]

    return of


@pytest.fixture
def nodes(all_nodes, request):
    """The store that the test is parametrized with, whole, and for this test alone."""
    nodes = all_nodes(request.param)
    with nodes.turn():
        yield nodes


@pytest.fixture
def members(nodes):
    """The same, of a store that is one only together."""
    if len(nodes.services) == 1:
        pytest.skip(f"{DECLARED}members: one server is all there is, and has no quorum to lose")
    return nodes


@pytest.fixture
def namespace(nodes):
    """Fresh, and initialised: nobody waits for an unknown past to run out."""
    name = f"sabotage-{uuid.uuid4().hex[:12]}"
    with leaderlock.connect(nodes.url, namespace=name, ttl=LONGEST, longest=LONGEST) as client:
        client.init()
    return name


@pytest.fixture
def connect(nodes, namespace):
    """Opens a client, of all nodes or of the URL given."""
    with ExitStack() as stack:
        yield lambda url=nodes.url, *, ttl=LONGEST: stack.enter_context(
            leaderlock.connect(url, namespace=namespace, ttl=ttl, longest=LONGEST)
        )


@pytest.fixture
def backend(nodes, namespace):
    """Opens a driver, of all nodes or of the URL given."""
    with ExitStack() as stack:

        def open_one(url=nodes.url):
            opened = DRIVERS[url.partition(":")[0]](url, namespace=namespace)
            stack.callback(opened.close)
            return opened

        yield open_one
