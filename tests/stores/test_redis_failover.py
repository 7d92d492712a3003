"""Redis servers under Sentinel: whoever answers as an old master is left, and there are no two leaders."""

import itertools
import time
from contextlib import contextmanager

import pytest
import redis.sentinel
import valkey.sentinel

from leaderlock import CampaignTimeout, connect
from leaderlock.backend import ABSENT, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable, MemoryGone, OutcomeUnknown
from leaderlock_redis import from_client, open_backend
from tests.servers.redis import PATIENCE, free_port, until
from tests.stores.redis_groups import NAME, Group

TTL = 4.0
TIMEOUT = 3.0
NAMES = (f"failover-{number}" for number in itertools.count())

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def namespace():
    return next(NAMES)


@pytest.fixture
def group(tmp_path):
    with Group(tmp_path) as group:
        yield group


@pytest.fixture(scope="module")
def lasting(tmp_path_factory):
    """One for tests that leave it as it was."""
    with Group(tmp_path_factory.mktemp("group")) as group:
        yield group


@pytest.fixture
def backend(namespace):
    opened = []

    def open_one(url, **options):
        opened.append(open_backend(url, namespace=namespace, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def client(backend, namespace):
    opened = []

    def open_one(url, **options):
        opened.append(connect(backend(url, **options), ttl=TTL, longest=TTL, namespace=namespace))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def again(call):
    """The first true answer of ``call``, while the store is away."""

    def once():
        try:
            return call()
        except (BackendUnavailable, CampaignTimeout):
            return None

    return until(once, "the store is back")


def lead(client):
    return again(lambda: client.election("job").campaign(timeout=PATIENCE))


@contextmanager
def missing_it_all(group):
    """The replica hears nothing of what is written meanwhile; the master dies at the end."""
    master, replica = group.servers
    with replica.frozen():
        # What was on its way would still be in the socket when the replica wakes up.
        master.do("CLIENT", "KILL", "TYPE", "replica")
        yield
        master.kill()
    until(lambda: group.has_moved(master), "the replica was appointed")


def the_other(group):
    return next(server for server in group.servers if server.port == group.sentinels[0].master())


def test_a_leader_whose_records_survived_keeps_its_lease_through_a_failover(group, client):
    lease = lead(client(group.url))

    group.fail_over()
    renewed = time.monotonic() + 2 * TTL
    until(lambda: time.monotonic() > renewed or not lease.is_held, "two terms' worth of renewals")

    assert lease.is_held


def test_after_a_killed_master_there_are_no_two_leaders_and_higher_tokens(group, client):
    first, second = client(group.url), client(group.url)
    old = lead(first)

    group.servers[0].kill()
    until(lambda: group.has_moved(group.servers[0]), "another master was appointed")
    kept = old.is_held
    if kept:
        old.resign(timeout=TIMEOUT)
    new = lead(second)

    assert new.is_held
    assert not old.is_held
    assert new.token > old.token


def test_a_failover_to_a_replica_that_missed_the_last_grants_has_no_two_leaders_and_higher_tokens(group, client):
    first, second = client(group.url), client(group.url)
    lead(first).resign(timeout=TIMEOUT)

    with missing_it_all(group):
        lost = lead(first)
    new = lead(second)
    overlapped = lost.is_held and new.is_held

    assert not overlapped
    assert new.token > lost.token


def test_an_acknowledged_write_that_the_new_master_missed_is_noticed_as_another_memory(group, backend):
    one = backend(group.url)
    memory = one.read([], timeout=TIMEOUT).memory

    with missing_it_all(group):
        (answer,) = one.swap([Write("name/a", ABSENT, b"lost")], memory, timeout=TIMEOUT)
    with pytest.raises(MemoryGone):
        again(lambda: one.swap([Write("name/b", ABSENT, b"x")], memory, timeout=TIMEOUT))
    after = one.read(["name/a"], timeout=TIMEOUT)

    assert isinstance(answer, Swapped)
    assert after.seen["name/a"].value is None
    assert after.memory != memory
    assert after.floor > answer.stamp


def test_an_old_master_that_still_answers_on_an_open_connection_is_left(group, backend):
    one, old = backend(group.url), group.servers[0]
    before = one.read([], timeout=TIMEOUT)

    # Sentinel takes some eight seconds to demote a master that was away: until then it would answer as one.
    with old.frozen():
        until(lambda: group.has_moved(old), "another master was appointed")
    is_old_a_master = b"role:master" in old.do("INFO", "replication")
    time.sleep(1.1)  # longer than Sentinel's word is believed without asking
    after = again(lambda: one.read([], timeout=TIMEOUT))
    (answer,) = one.swap([Write("name/a", ABSENT, b"new")], after.memory, timeout=TIMEOUT)

    assert is_old_a_master
    assert isinstance(answer, Swapped)
    assert after.memory != before.memory
    assert b"new" in the_other(group).do("HGET", f"leaderlock:{{{one._space[12:-2].decode()}}}:name/a", "value")


def test_a_master_demoted_under_an_open_connection_is_no_refusal(group, backend):
    one, master = backend(group.url), group.servers[0]
    memory = one.read([], timeout=TIMEOUT).memory

    master.do("REPLICAOF", "127.0.0.1", str(free_port()))
    with pytest.raises(BackendUnavailable, match="yet to get about") as raised:
        one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)
    master.do("REPLICAOF", "NO", "ONE")
    after = again(lambda: one.read(["name/a"], timeout=TIMEOUT))

    assert not isinstance(raised.value, OutcomeUnknown)
    assert after.seen["name/a"].value is None


def test_a_write_that_no_replica_has_is_unknown_where_replicas_were_asked_for(group, backend):
    one = backend(group.url, durability="replicas:1")
    memory = one.read([], timeout=TIMEOUT).memory

    with group.servers[1].frozen(), pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
        one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=1.0)


def test_sentinels_that_are_away_stop_nobody_who_is_connected_and_one_is_enough_to_connect(group, backend):
    one = backend(group.url)
    memory = one.read([], timeout=TIMEOUT).memory

    group.sentinels[0].kill()
    group.sentinels[1].kill()
    fresh = backend(group.url).read([], timeout=TIMEOUT).memory
    group.sentinels[2].kill()
    time.sleep(1.1)  # so that they are asked again
    (answer,) = one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)

    assert fresh == memory
    assert isinstance(answer, Swapped)
    with pytest.raises(BackendUnavailable, match="no Sentinel says"):
        backend(group.url).read([], timeout=TIMEOUT)


@pytest.mark.parametrize("library", [redis, valkey], ids=lambda library: library.__name__)
def test_a_sentinels_client_lends_what_it_knows(lasting, namespace, library):
    addresses = [("127.0.0.1", sentinel.port) for sentinel in lasting.sentinels]
    master = library.sentinel.Sentinel(addresses).master_for(NAME)

    with connect(from_client(master, namespace=namespace), ttl=TTL, longest=TTL, namespace=namespace) as client:
        assert lead(client).is_held


def test_a_name_that_sentinel_does_not_know_is_refused(lasting, backend):
    with pytest.raises(BackendRefused, match="no master of the name 'other'"):
        backend(f"redis+sentinel://{lasting.hosts}/other").read([], timeout=TIMEOUT)


def test_a_host_where_no_sentinel_is_costs_a_moment(lasting, backend):
    url = f"redis+sentinel://127.0.0.1:{free_port()},{lasting.hosts}/{NAME}"

    assert all(backend(url).read([], timeout=TIMEOUT).memory for _ in range(4))


def test_a_redis_server_in_a_sentinels_place_is_told(lasting, backend):
    with pytest.raises(BackendUnavailable, match="SENTINEL"):
        backend(f"redis+sentinel://127.0.0.1:{lasting.servers[0].port}/{NAME}").read([], timeout=TIMEOUT)


def test_sentinels_with_a_password_of_their_own(tmp_path, backend):
    lines = ("requirepass theirs", "sentinel sentinel-pass theirs", f"sentinel auth-pass {NAME} servers")
    settings = ("--requirepass", "servers", "--masterauth", "servers")
    # No Group.__enter__: what it asks the servers, it asks without a password.
    group = Group(tmp_path, *settings, replicas=0, sentinels=1, lines=lines)
    try:
        for one in (*group.servers, *group.sentinels):
            one.start()
        wrong = f"redis+sentinel://:servers@{group.hosts}/{NAME}?sentinel_password=wr0ng"
        right = f"redis+sentinel://:servers@{group.hosts}/{NAME}?sentinel_password=theirs"

        with pytest.raises(BackendUnavailable) as refused:
            backend(wrong).read([], timeout=TIMEOUT)

        assert again(lambda: backend(right).read([], timeout=TIMEOUT).memory)
        assert "password" in str(refused.value)
        assert "wr0ng" not in str(refused.value)
    finally:
        for one in (*group.servers, *group.sentinels):
            one.kill()
