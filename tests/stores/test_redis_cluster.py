"""Redis Cluster: the node that keeps the namespace is found, also when that changes."""

import itertools
import threading
import time

import pytest
import redis.cluster
import valkey.cluster

from leaderlock import CampaignTimeout, connect
from leaderlock.backend import ABSENT, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock_redis import from_client, open_backend
from tests.servers.redis import PATIENCE, RedisServer, free_port, open_several, until
from tests.stores.redis_groups import Cluster

TTL = 4.0
TIMEOUT = 5.0
NAMES = (f"cluster-{number}" for number in itertools.count())

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def namespace():
    return next(NAMES)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster"), masters=3) as cluster:
        yield cluster


@pytest.fixture
def opened(namespace):
    backends = []

    def open_one(url, **options):
        backends.append(open_backend(url, **{"namespace": namespace, **options}))
        return backends[-1]

    yield open_one
    for backend in backends:
        backend.close()


def again(call):
    """The first true answer of ``call``, while the store is away."""

    def once():
        try:
            return call()
        except (BackendUnavailable, CampaignTimeout):
            return None

    return until(once, "the store is back")


@pytest.mark.parametrize("which", range(3))
def test_every_node_leads_to_the_one_that_keeps_the_namespace(cluster, opened, namespace, which):
    one = opened(f"redis+cluster://127.0.0.1:{cluster.nodes[which].port}")
    memory = one.read([], timeout=TIMEOUT).memory
    woken = threading.Event()
    one.watch(["name/a"], lambda _: woken.set())
    assert woken.wait(TIMEOUT)
    woken.clear()

    (answer,) = one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)

    assert isinstance(answer, Swapped)
    assert woken.wait(TIMEOUT)
    assert [key for key, _ in one.scan("", timeout=TIMEOUT)] == ["name/a"]
    assert cluster.keeper(namespace).do("EXISTS", f"leaderlock:{{{namespace}}}:name/a") == b":1\r\n"


def test_many_namespaces_lie_on_all_nodes_and_each_elects(cluster, opened):
    keepers = set()

    for number in range(12):
        namespace = f"spread-{number}"
        keepers.add(cluster.keeper(namespace).port)
        with connect(opened(cluster.url, namespace=namespace), ttl=TTL, namespace=namespace) as client:
            client.init()
            assert client.election("job").campaign(timeout=PATIENCE).is_held

    assert len(keepers) == 3


def test_a_namespace_that_moves_to_another_node_is_followed_and_has_another_memory(cluster, opened, namespace):
    one = opened(cluster.url)
    before = one.read([], timeout=TIMEOUT)
    (answer,) = one.swap([Write("name/a", ABSENT, b"x")], before.memory, timeout=TIMEOUT)
    source = cluster.keeper(namespace)
    target = next(node for node in cluster.nodes if node is not source)

    move(cluster, namespace, source, target)
    after = again(lambda: one.read(["name/a"], timeout=TIMEOUT))

    assert cluster.keeper(namespace) is target
    assert (after.seen["name/a"].value, after.seen["name/a"].stamp) == (b"x", answer.stamp)
    assert after.memory != before.memory
    assert after.floor > before.floor


def test_a_search_finds_a_namespace_that_has_moved_to_another_node(cluster, opened, namespace):
    one = opened(cluster.url)
    one.swap([Write("name/a", ABSENT, b"x")], one.read([], timeout=TIMEOUT).memory, timeout=TIMEOUT)
    source = cluster.keeper(namespace)

    move(cluster, namespace, source, next(node for node in cluster.nodes if node is not source))

    assert again(lambda: [key for key, _ in one.scan("name/", timeout=TIMEOUT)]) == ["name/a"]


def move(cluster, namespace, source, target):
    """As redis-cli's reshard does it."""
    place = f"leaderlock:{{{namespace}}}:"
    slot = source.do("CLUSTER", "KEYSLOT", place)[1:].strip().decode()
    target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.identity(source))
    source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.identity(target))
    keys = [f"{place}name/a", place]
    source.do("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", *keys)
    for node in (target, source, *cluster.nodes):
        node.do("CLUSTER", "SETSLOT", slot, "NODE", cluster.identity(target))


def test_a_namespace_on_its_way_is_unavailable_and_nothing_is_half_written(cluster, opened, namespace):
    one = opened(cluster.url)
    memory = one.read([], timeout=TIMEOUT).memory
    source = cluster.keeper(namespace)
    target = next(node for node in cluster.nodes if node is not source)
    slot = source.do("CLUSTER", "KEYSLOT", f"leaderlock:{{{namespace}}}:")[1:].strip().decode()

    target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.identity(source))
    source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.identity(target))
    with pytest.raises(BackendUnavailable):
        one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)
    for node in (source, target):
        node.do("CLUSTER", "SETSLOT", slot, "STABLE")

    assert again(lambda: one.read(["name/a"], timeout=TIMEOUT)).seen["name/a"].value is None


def test_a_search_in_a_namespace_of_which_a_part_has_moved_is_unavailable(cluster, opened, namespace):
    one, place = opened(cluster.url), f"leaderlock:{{{namespace}}}:"
    memory = one.read([], timeout=TIMEOUT).memory
    one.swap([Write(key, ABSENT, b"x") for key in ("name/a", "name/b")], memory, timeout=TIMEOUT)
    source = cluster.keeper(namespace)
    target = next(node for node in cluster.nodes if node is not source)
    slot = source.do("CLUSTER", "KEYSLOT", place)[1:].strip().decode()

    target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.identity(source))
    source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.identity(target))
    source.do("MIGRATE", "127.0.0.1", str(target.port), f"{place}name/a", "0", "5000")
    with pytest.raises(BackendUnavailable, match="cannot answer now"):
        list(one.scan("name/", timeout=TIMEOUT))
    source.do("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "KEYS", place, f"{place}name/b")
    for node in (target, source, *cluster.nodes):
        node.do("CLUSTER", "SETSLOT", slot, "NODE", cluster.identity(target))

    assert again(lambda: sorted(key for key, _ in one.scan("name/", timeout=TIMEOUT))) == ["name/a", "name/b"]


def test_a_replica_that_took_over_is_found_and_there_are_no_two_leaders(tmp_path, opened, namespace):
    with (
        Cluster(tmp_path, masters=3, replicas=3) as cluster,
        connect(opened(cluster.url), ttl=TTL, longest=TTL, namespace=namespace) as first,
        connect(opened(cluster.url), ttl=TTL, longest=TTL, namespace=namespace) as second,
    ):
        old = again(lambda: first.election("job").campaign(timeout=PATIENCE))
        keeper = cluster.keeper(namespace)
        cluster.nodes.remove(keeper)

        keeper.kill()
        until(lambda: cluster.keeper(namespace) in cluster.nodes, "a replica took over")
        if old.is_held:
            again(lambda: old.resign(timeout=TIMEOUT) or True)
        new = again(lambda: second.election("job").campaign(timeout=PATIENCE))

        assert new.is_held
        assert not old.is_held
        assert new.token > old.token


@pytest.mark.parametrize(
    "kind", [redis.cluster.RedisCluster, valkey.cluster.ValkeyCluster], ids=lambda kind: kind.__name__
)
def test_a_clusters_client_lends_what_it_knows(cluster, namespace, kind):
    theirs = kind(host="127.0.0.1", port=cluster.nodes[0].port)

    with connect(from_client(theirs, namespace=namespace), ttl=TTL, namespace=namespace) as client:
        client.init()
        assert client.election("job").campaign(timeout=PATIENCE).is_held
    theirs.close()


def test_a_node_that_is_away_is_passed_over(cluster, opened):
    one = opened(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{cluster.nodes[0].port}")

    assert again(lambda: one.read([], timeout=TIMEOUT).memory)


def test_who_knew_one_node_knows_all_when_that_one_is_gone(tmp_path, opened, namespace):
    with Cluster(tmp_path, masters=3, replicas=3) as cluster:
        keeper = cluster.keeper(namespace)
        one = opened(f"redis+cluster://127.0.0.1:{keeper.port}")
        before = one.read([], timeout=TIMEOUT).memory
        cluster.nodes.remove(keeper)

        keeper.kill()

        assert again(lambda: one.read([], timeout=TIMEOUT).memory) != before


def test_a_keeper_that_falls_silent_costs_one_time_out_once_another_has_taken_over(tmp_path, opened, namespace):
    with Cluster(tmp_path, masters=3, replicas=3) as cluster:
        keeper = cluster.keeper(namespace)
        one = opened(f"redis+cluster://127.0.0.1:{keeper.port}")
        before = one.read([], timeout=TIMEOUT).memory
        open_several(one, keeper)
        cluster.nodes.remove(keeper)

        with keeper.frozen():
            until(lambda: cluster.keeper(namespace) in cluster.nodes, "a replica took over")
            with pytest.raises(BackendUnavailable):
                one.read([], timeout=0.5)

            assert one.read([], timeout=TIMEOUT).memory != before


def test_a_server_without_a_cluster_is_refused(tmp_path, opened):
    with (
        RedisServer(tmp_path).running() as server,
        pytest.raises(BackendRefused, match="leave \\+cluster out"),
    ):
        opened(f"redis+cluster://127.0.0.1:{server.port}").read([], timeout=TIMEOUT)


def test_a_clusters_node_asked_as_a_server_of_its_own_is_refused(cluster, opened):
    with pytest.raises(BackendRefused, match="redis\\+cluster:"):
        opened(f"redis://127.0.0.1:{cluster.nodes[0].port}").read([], timeout=TIMEOUT)


def test_a_cluster_that_lost_a_part_is_unavailable_in_time(tmp_path, opened, namespace):
    with Cluster(tmp_path, masters=3) as cluster:
        one = opened(cluster.url)
        one.read([], timeout=TIMEOUT)
        next(node for node in cluster.nodes if node is not cluster.keeper(namespace)).kill()

        def is_down():
            try:
                return not one.read([], timeout=TIMEOUT)
            except BackendUnavailable as error:
                return "CLUSTERDOWN" in str(error)

        began = time.monotonic()
        assert until(is_down, "the keeper says that the cluster is down")
        assert time.monotonic() - began < PATIENCE
