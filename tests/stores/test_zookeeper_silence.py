"""Servers that are away, or fall silent while they are asked without a pause.

kazoo takes each request for a ping, and sends none.
"""

import itertools
import random
import time
from contextlib import ExitStack, closing, contextmanager

import pytest
from kazoo.client import KazooClient

from leaderlock import BackendUnavailable
from leaderlock.testing import TcpProxy, Towards
from leaderlock_zookeeper import from_client, open_backend
from tests.servers.loopback import host_away
from tests.servers.zookeeper import PATIENCE

SESSION = 4.0
names = itertools.count()


@pytest.fixture
def ways(zookeeper):
    """Two ways to one server, as if they were two servers."""
    with ExitStack() as stack:
        yield [stack.enter_context(TcpProxy("127.0.0.1", zookeeper.port)) for _ in range(2)]


@pytest.fixture
def hosts(ways):
    return ",".join(f"127.0.0.1:{way.port}" for way in ways)


@pytest.fixture
def namespace():
    return f"silence-{next(names)}"


@contextmanager
def lent(hosts, namespace):
    owner = KazooClient(hosts, timeout=SESSION, connection_retry={"max_tries": -1, "max_delay": 0.5})
    owner.start(timeout=PATIENCE)
    try:
        with closing(from_client(owner, namespace=namespace)) as backend:
            yield backend
    finally:
        owner.stop()
        owner.close()


@contextmanager
def owned(hosts, namespace):
    with closing(open_backend(f"zk://{hosts}", namespace=namespace)) as backend:
        yield backend


def taken(ways):
    """The way that carries the one connection."""
    return max(ways, key=lambda way: way.carried(Towards.SERVER))


def time_to_an_answer(backend):
    """How long it takes, asked without a pause, each time for less than kazoo waits before it pings."""
    begun = time.monotonic()
    while time.monotonic() < begun + PATIENCE:
        try:
            backend.read((), timeout=0.3)
        except BackendUnavailable:
            continue
        return time.monotonic() - begun
    return PATIENCE


@pytest.mark.parametrize("opened", [owned, lent])
def test_a_silent_server_is_left_in_time_however_much_is_asked_of_it(ways, hosts, namespace, opened):
    with opened(hosts, namespace) as backend:
        backend.read((), timeout=PATIENCE)
        with taken(ways).black_hole():
            took = time_to_an_answer(backend)

    # Two thirds of the session; then perhaps a knock at the silent one first, which may take half of it.
    assert took < SESSION * (2 / 3 + 1 / 2) + 2.0


def test_a_server_that_answers_late_but_answers_is_not_left(ways, hosts, namespace):
    with owned(hosts, namespace) as backend:
        backend.read((), timeout=PATIENCE)
        way, other = taken(ways), next(way for way in ways if way is not taken(ways))
        before = other.carried(Towards.SERVER)
        with way.slow(0.6):
            until = time.monotonic() + 2 * SESSION
            while time.monotonic() < until:
                try:
                    backend.read((), timeout=0.3)
                except BackendUnavailable:
                    continue
        backend.read((), timeout=PATIENCE)

        assert other.carried(Towards.SERVER) == before


def test_a_first_call_is_answered_though_the_first_server_that_is_tried_is_away(zookeeper, namespace, monkeypatch):
    monkeypatch.setattr(random, "shuffle", lambda servers: None)  # kazoo takes them in any order
    ttl = 15.0

    with host_away() as port, owned(f"127.0.0.1:{port},127.0.0.1:{zookeeper.port}", namespace) as backend:
        assert backend.read((), timeout=ttl / 4).memory
