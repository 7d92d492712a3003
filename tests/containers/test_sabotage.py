"""Stores that are paused, killed, cut off from their clients or from each other, under drivers and whole clients."""

from __future__ import annotations

import threading
import time

import pytest

from leaderlock import ABSENT, BackendUnavailable, CampaignTimeout, LossReason, OutcomeUnknown, Swapped, Write
from tests.servers.containers import Container
from tests.servers.loopback import until

TIMEOUT = 10.0
TTL = 12.0
"""Longer than any store here takes to come back."""
SHORT = 3.0
SLACK = 2.0
"""Seconds beyond a time-out that a busy machine is given."""
KEY = "name/a"

every_store = pytest.mark.parametrize("nodes", ["Redis", "Valkey", "ZooKeeper", "Etcd"], indirect=True)


def patiently(call):
    """The answer of ``call``, asked again while the store is away."""

    def answer():
        try:
            return (call(),)
        except (BackendUnavailable, CampaignTimeout):
            return None

    return until(answer, "the store answers")[0]


def put(backend, value: bytes, stamp=ABSENT) -> object:
    """Write it over the stamp; returns the new one."""
    memory = backend.read([KEY], timeout=TIMEOUT).memory
    (answer,) = backend.swap([Write(KEY, stamp, value)], memory, timeout=TIMEOUT)
    assert isinstance(answer, Swapped)
    return answer.stamp


def fails_in_time(backend, write: Write, memory: str, *, timeout: float) -> BackendUnavailable:
    """The error of a swap that cannot succeed."""
    began = time.monotonic()
    with pytest.raises(BackendUnavailable) as raised:
        backend.swap([write], memory, timeout=timeout)
    assert time.monotonic() - began < timeout + SLACK
    return raised.value


def await_renewal(lease) -> None:
    """Until it is renewed once more, or lost."""
    before = lease.deadline
    until(lambda: not lease.is_held or lease.deadline != before, "the lease is renewed")


def url_of(nodes, container: Container) -> str:
    return f"{nodes.url.partition(':')[0]}://{container.place}"


@every_store
def test_a_write_to_a_paused_store_is_unknown_in_time_and_nothing_is_lost(nodes, backend):
    one = backend()
    stamp = put(one, b"old")
    memory = one.read([KEY], timeout=TIMEOUT).memory

    with nodes.frozen():
        error = fails_in_time(one, Write(KEY, stamp, b"new"), memory, timeout=1.0)
    seen = patiently(lambda: one.read([KEY], timeout=1.0)).seen[KEY]

    assert isinstance(error, OutcomeUnknown)
    assert seen.value in {b"old", b"new"}
    # A write that arrived late has moved the stamp; either way the next one goes over what is there.
    until(lambda: replaced(one, b"next"), "a write over what is there")
    assert one.read([KEY], timeout=TIMEOUT).seen[KEY].value == b"next"


def replaced(backend, value: bytes) -> bool:
    view = backend.read([KEY], timeout=TIMEOUT)
    (answer,) = backend.swap([Write(KEY, view.seen[KEY].stamp, value)], view.memory, timeout=TIMEOUT)
    return isinstance(answer, Swapped)


@every_store
def test_a_pause_shorter_than_the_ttl_deposes_nobody(nodes, connect):
    leader, rival = connect(ttl=TTL), connect(ttl=TTL)
    lease = leader.election("job").campaign(timeout=TIMEOUT)
    token = lease.token

    with nodes.frozen():
        # Half of a ttl: a renewal has failed meanwhile.
        until(lambda: lease.remaining < TTL / 2, "half of the ttl has passed")
    await_renewal(lease)

    assert lease.is_held
    assert lease.token == token
    with pytest.raises(CampaignTimeout):
        rival.election("job").campaign(timeout=0.5)


@every_store
def test_a_leader_keeps_its_lease_when_the_store_is_killed_and_back_within_the_ttl(nodes, connect):
    lease = connect(ttl=TTL).election("job").campaign(timeout=TIMEOUT)
    token = lease.token

    with nodes.outage():
        pass
    await_renewal(lease)

    assert lease.is_held
    assert lease.token == token


@every_store
def test_a_leader_whose_store_stays_dead_ends_at_its_deadline_and_the_next_token_is_greater(nodes, connect):
    old, rival = connect(ttl=SHORT).election("job").campaign(timeout=TIMEOUT), connect(ttl=SHORT)
    ended = threading.Event()
    old.on_lost(lambda lease: ended.set())

    with nodes.outage():
        was_told = ended.wait(SHORT + SLACK)
        was_held = old.is_held
    new = patiently(lambda: rival.election("job").campaign(timeout=TIMEOUT))

    assert was_told
    assert not was_held
    assert old.lost_reason in {LossReason.STORE_UNREACHABLE, LossReason.EXPIRED}
    assert new.token > old.token


@every_store
def test_what_was_acknowledged_is_there_after_a_kill(nodes, backend):
    one = backend()
    put(one, b"kept")

    with nodes.outage():
        pass

    assert patiently(lambda: one.read([KEY], timeout=1.0)).seen[KEY].value == b"kept"


@every_store
def test_a_network_that_is_cut_and_mended_loses_nothing_and_deposes_nobody(nodes, connect, backend):
    lease = connect(ttl=TTL).election("job").campaign(timeout=TIMEOUT)
    one, token = backend(), lease.token
    stamp = put(one, b"old")
    memory = one.read([KEY], timeout=TIMEOUT).memory

    # Of members that of their own, all of which lose their quorum: without that of the clients, Docker would publish
    # their ports on the other one, and nothing would be cut.
    with nodes.cut_off(nodes.networks[-1]):
        fails_in_time(one, Write(KEY, stamp, b"new"), memory, timeout=1.0)
    await_renewal(lease)

    assert lease.is_held
    assert lease.token == token
    assert patiently(lambda: one.read([KEY], timeout=1.0)).seen[KEY].value in {b"old", b"new"}


@every_store
@pytest.mark.parametrize("fault", ["outage", "frozen"])
def test_one_node_less_stops_nobody(members, connect, fault):
    leader = connect(ttl=TTL)
    first = leader.election("first").campaign(timeout=TIMEOUT)

    with getattr(members, fault)(members.all[0]):
        second = patiently(lambda: connect(ttl=TTL).election("second").campaign(timeout=TIMEOUT))
        await_renewal(first)

        assert first.is_held
        assert second.is_held


@every_store
def test_a_node_cut_off_from_its_quorum_takes_no_write_and_the_others_go_on(members, connect, backend):
    alone = members.all[-1]
    lease = connect(ttl=TTL).election("job").campaign(timeout=TIMEOUT)
    lonely, others = backend(url_of(members, alone)), backend(members.url.rpartition(",")[0])
    stamp = put(others, b"before")
    memory = patiently(lambda: lonely.read([KEY], timeout=TIMEOUT)).memory

    with members.cut_off(members.networks[-1], alone):
        fails_in_time(lonely, Write(KEY, stamp, b"alone"), memory, timeout=1.0)
        stamp = patiently(lambda: put(others, b"by the others", others.read([KEY], timeout=1.0).seen[KEY].stamp))
        await_renewal(lease)
        fails_in_time(lonely, Write(KEY, stamp, b"alone"), memory, timeout=1.0)
    until(lambda: patiently(lambda: lonely.read([KEY], timeout=1.0)).seen[KEY].value == b"by the others", "it follows")

    assert lease.is_held
    assert put(lonely, b"together", stamp) != stamp


@every_store
def test_a_store_leader_cut_off_from_its_quorum_is_followed_by_another(members, connect, backend):
    lease = connect(ttl=TTL).election("job").campaign(timeout=TIMEOUT)
    leader = members.leader()
    lonely = backend(url_of(members, leader))
    view = patiently(lambda: lonely.read([KEY], timeout=TIMEOUT))

    with members.cut_off(members.networks[-1], leader):
        fails_in_time(lonely, Write(KEY, view.seen[KEY].stamp, b"alone"), view.memory, timeout=1.0)
        another = until(lambda: members.leader(besides=leader), "the others have a leader")
        await_renewal(lease)
    value = patiently(lambda: lonely.read([KEY], timeout=1.0)).seen[KEY].value

    assert another.service != leader.service
    assert lease.is_held
    assert value is None
