"""What ``doctor`` finds on ZooKeeper servers that deserve it."""

from __future__ import annotations

import itertools
import time
from contextlib import closing
from dataclasses import replace

import pytest
from kazoo.client import KazooClient

from leaderlock.diagnosis import Level
from leaderlock_zookeeper import from_client, open_backend
from leaderlock_zookeeper._doctor import Facts, Server, judge, server_of
from tests.servers.zookeeper import Ensemble, free_ports
from tests.servers.zookeeper import Server as Process
from tests.stores.examined import by_code, diagnosis, exceptions, worst

NAMES = (f"doctor-{number}" for number in itertools.count())

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    ensemble = Ensemble(tmp_path_factory.mktemp("ensemble"))
    try:
        ensemble.start()
        yield ensemble
    finally:
        ensemble.kill()


@pytest.fixture
def namespace():
    return next(NAMES)


def look(url, namespace, **terms):
    return diagnosis(open_backend(url, namespace=namespace), **terms)


def test_one_server_alone_is_a_warning(zookeeper, namespace):
    found = look(f"zk://{zookeeper.address}", namespace)

    assert worst(found) == {"standalone"}
    assert exceptions(found) == {"P3", "P5"}
    assert {"no-tls", "no-auth", "session", "trusted-disks", "unused"} <= set(by_code(found))
    assert "ZooKeeper 3." in by_code(found)["standalone"].text


def test_three_servers_are_well(ensemble, namespace):
    found = look(f"zk://{ensemble.hosts}", namespace)

    assert worst(found) == set()
    assert "3 servers, of which 1 may be away" in by_code(found)["ensemble"].text
    assert exceptions(found) == {"P3"}, "where the disks lie"


def test_two_servers_are_no_better_than_one(tmp_path, namespace):
    ports = free_ports(6)
    peers = tuple(f"server.{at + 1}=127.0.0.1:{ports[3 * at + 1]}:{ports[3 * at + 2]}" for at in range(2))
    two = [Process(tmp_path / str(at), ports[3 * at], number=at + 1, peers=peers) for at in range(2)]
    try:
        for server in two:
            server.launch()
        for server in two:
            server.wait()
        found = look("zk://" + ",".join(server.address for server in two), namespace)
    finally:
        for server in two:
            server.kill()

    assert worst(found) == {"no-spare"}


def test_one_named_of_three_is_a_warning(ensemble, namespace):
    found = look(f"zk://{ensemble.servers[1].address}", namespace)

    assert worst(found) == {"few-named"}


def test_a_server_that_is_away_is_a_warning(ensemble, namespace):
    look(f"zk://{ensemble.hosts}", namespace)
    leader = ensemble.leader
    gone = next(server for server in ensemble.servers if server is not leader)
    with gone.outage():
        found = look(f"zk://{ensemble.hosts}", namespace)

    assert worst(found) == {"server-away"}
    assert gone.address in by_code(found)["server-away"].text


def test_no_quorum_is_an_error_and_said_so(ensemble, namespace):
    look(f"zk://{ensemble.hosts}", namespace)
    gone, left = ensemble.servers[:2], ensemble.servers[2]
    for server in gone:
        server.kill()
    try:
        until = time.monotonic() + 30
        while left.mode():
            assert time.monotonic() < until, "it still serves"
            time.sleep(0.05)
        found = look(f"zk://{ensemble.hosts}", namespace, ttl=8.0)
    finally:
        for server in gone:
            server.launch()
        for server in gone:
            server.wait()

    assert worst(found) == {"unreachable", "no-quorum"}


def test_nobody_there_is_an_error(namespace):
    found = look(f"zk://127.0.0.1:{free_ports(1)[0]}", namespace, ttl=8.0)

    assert "unreachable" in worst(found)
    assert "no-quorum" not in worst(found)
    assert found.level is Level.ERROR


def test_nodes_open_to_everybody_under_a_user_are_a_warning(zookeeper, namespace):
    look(f"zk://{zookeeper.address}", namespace)

    found = look(f"zk://ann:secret@{zookeeper.address}", namespace)

    assert worst(found) == {"standalone", "open-nodes"}


def test_nodes_of_this_user_alone_are_well(zookeeper, namespace):
    url = f"zk://ann:secret@{zookeeper.address}/{namespace}"
    look(url, namespace)

    found = look(url, namespace)

    assert worst(found) == {"standalone"}
    assert not {"no-auth", "open-nodes"} & set(by_code(found))


def test_nodes_of_another_user_are_an_error(zookeeper, namespace):
    look(f"zk://ann:secret@{zookeeper.address}/{namespace}", namespace)

    found = look(f"zk://bob:secret@{zookeeper.address}/{namespace}", namespace)

    assert worst(found) >= {"refused"}
    assert "may not do that" in by_code(found)["refused"].text


def test_tokens_drawn_from_a_clock_that_was_ahead_are_a_warning(zookeeper, namespace):
    look(f"zk://{zookeeper.address}", namespace)
    shell = KazooClient(zookeeper.address)
    shell.start(timeout=20)
    with closing(shell):
        pointer = f"/leaderlock/{namespace}"
        shell.set(f"{pointer}/{shell.get(pointer)[0].decode()}", b"%d" % int((time.time() + 3600) * 1e6))
        shell.stop()

    found = look(f"zk://{zookeeper.address}", namespace)

    assert worst(found) == {"standalone", "floor-ahead"}


def test_a_client_that_was_lent_is_examined_and_left_alone(zookeeper, namespace):
    lent = KazooClient(zookeeper.address)
    lent.start(timeout=20)
    with closing(lent):
        found = diagnosis(from_client(lent, namespace=namespace))

        assert lent.connected
        lent.stop()
    assert worst(found) == {"standalone"}


FACTS = Facts(
    servers=tuple(Server(f"h{number}:2181", "follower", "3.9.2") for number in range(3)),
    participants=3,
    uses_tls=True,
    has_login=True,
    is_open=False,
)


def judged(**changed):
    return {finding.code: finding for finding in judge(replace(FACTS, **changed))}


def test_all_is_well():
    assert {finding.level for finding in judged().values()} == {Level.OK, Level.NOTE}


def test_a_list_that_is_hidden_is_a_note():
    assert judged(participants=None)["ensemble-hidden"].level is Level.NOTE


def test_several_versions_are_a_note():
    mixed = (Server("a", "leader", "3.9.2"), Server("b", "follower", "3.8.0"))

    assert judged(servers=mixed)["versions"].level is Level.NOTE


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("Zookeeper version: 3.8.0-5, built on\nMode: leader\nNode count: 5\n", "leader"),
        ("This ZooKeeper instance is not currently serving requests\n", "idle"),
        ("srvr is not executed because it is not in the whitelist.\n", "hidden"),
        ("", "hidden"),
    ],
)
def test_what_a_server_answers_is_understood(answer, state):
    assert server_of("h", answer).state == state
