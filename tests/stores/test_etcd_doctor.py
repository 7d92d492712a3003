"""What ``doctor`` finds on etcd clusters that deserve it."""

from __future__ import annotations

import itertools
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import grpc
import pytest

from leaderlock.diagnosis import Level
from leaderlock_etcd import from_client, open_backend
from leaderlock_etcd._doctor import Facts, Member, Status, judge
from tests.servers.etcd import EtcdServer, free_ports
from tests.stores.examined import by_code, diagnosis, exceptions, worst

NAMES = (f"doctor-{number}" for number in itertools.count())
PREFIX = {"key": "L3Rlc3RzLw==", "range_end": "L3Rlc3RzMA=="}
"""``/tests/`` up to ``/tests0``, in base 64."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.kill()


@contextmanager
def cluster(folder, count):
    ports = free_ports(2 * count)
    pairs = list(zip(ports[::2], ports[1::2], strict=True))
    everybody = ",".join(f"m{at}=http://127.0.0.1:{peer}" for at, (_, peer) in enumerate(pairs))
    members = [
        EtcdServer(folder / f"m{at}", name=f"m{at}", ports=pair, cluster=everybody) for at, pair in enumerate(pairs)
    ]
    try:
        for member in members:
            member.start(wait=False)
        for member in members:
            member.wait_until_healthy()
        yield members
    finally:
        for member in members:
            member.kill()


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    with cluster(tmp_path_factory.mktemp("cluster"), 3) as members:
        yield members


@pytest.fixture
def namespace():
    return next(NAMES)


def url_of(*servers):
    return "etcd://" + ",".join(f"127.0.0.1:{server.port}" for server in servers) + "/tests"


def look(url, namespace, **terms):
    return diagnosis(open_backend(url, namespace=namespace), **terms)


def test_one_member_alone_is_a_warning(server, namespace):
    found = look(url_of(server), namespace)

    assert worst(found) == {"standalone"}
    assert exceptions(found) == {"P3", "P5"}
    assert {"no-tls", "no-auth", "history", "unused"} <= set(by_code(found))
    assert "etcd 3." in by_code(found)["standalone"].text


def test_three_members_are_well(members, namespace):
    found = look(url_of(*members), namespace)

    assert worst(found) == set()
    assert "3 voting members, of which 1 may be away" in by_code(found)["members"].text
    assert exceptions(found) == set()


def test_two_members_are_no_better_than_one(tmp_path, namespace):
    with cluster(tmp_path, 2) as two:
        found = look(url_of(*two), namespace)

    assert worst(found) == {"no-spare"}
    assert exceptions(found) == {"P5"}


def test_members_whose_data_differ_are_an_error(tmp_path, namespace):
    server = EtcdServer(tmp_path)
    server.start()
    try:
        whoever = server.ask("maintenance/status", {})["header"]["member_id"]
        server.ask("maintenance/alarm", {"action": "ACTIVATE", "memberID": whoever, "alarm": "CORRUPT"})
        found = look(url_of(server), namespace)
    finally:
        server.kill()

    assert "alarm" in worst(found)
    assert found.level is Level.ERROR
    assert {"P1", "P3"} <= exceptions(found)


def test_one_named_of_three_is_a_warning(members, namespace):
    found = look(url_of(members[0]), namespace)

    assert worst(found) == {"few-named"}
    assert "one of 3 members" in by_code(found)["few-named"].text


def test_a_client_that_was_lent_may_know_others(members, namespace):
    class Lent:
        channel = grpc.insecure_channel(f"127.0.0.1:{members[0].port}")
        metadata = ()

    with Lent.channel:
        found = diagnosis(from_client(Lent(), namespace=namespace, prefix="/tests"))

    assert worst(found) == set()
    assert found.round_trip is not None


def test_a_member_that_is_frozen_is_a_warning(members, namespace):
    with members[2].frozen():
        found = look(url_of(*members), namespace)

    assert worst(found) >= {"member-away"}
    assert worst(found) <= {"member-away", "slow", "unreachable"}, "the cluster may have to elect another leader"
    assert f":{members[2].port}" in by_code(found)["member-away"].text


def test_no_quorum_is_an_error_and_said_so(members, namespace):
    look(url_of(*members), namespace)
    for member in members[1:]:
        member.kill()
    try:
        _until_leaderless(members[0])
        found = look(url_of(*members), namespace, ttl=8.0)
    finally:
        for member in members[1:]:
            member.start(wait=False)
        for member in members:
            member.wait_until_healthy()

    assert worst(found) == {"unreachable", "no-quorum", "member-away"}
    assert found.level is Level.ERROR


def _until_leaderless(member):
    until = time.monotonic() + 20
    while member.ask("maintenance/status", {}).get("leader", "0") != "0":
        assert time.monotonic() < until, "it still believes in a leader"
        time.sleep(0.05)


def test_nobody_there_is_an_error(namespace):
    found = look(f"etcd://127.0.0.1:{free_ports(1)[0]}/tests", namespace)

    assert worst(found) == {"unreachable"}
    assert exceptions(found) == {"P5"}


def test_a_quota_that_is_reached_is_a_warning(tmp_path, namespace):
    server = EtcdServer(tmp_path, "--quota-backend-bytes", str(4 << 20))
    server.start()
    try:
        with suppress(ValueError):
            for number in range(64):
                server.put(b"ballast-%d" % number, os.urandom(1 << 18))
        found = look(url_of(server), namespace)
    finally:
        server.kill()

    assert "no-space" in worst(found)
    assert "etcdctl alarm disarm" in by_code(found)["no-space"].advice
    assert "P5" in exceptions(found)


def test_history_that_is_never_compacted_is_a_warning_after_days(server, namespace):
    born = int((time.time() - 5 * 86_400) * 1e6)
    server.put(f"/tests/{namespace}/birth".encode(), b"%s@%d" % (b"ab" * 16, born))

    kept = look(url_of(server), namespace)
    revision = server.ask("kv/range", {"key": "eA=="})["header"]["revision"]
    server.ask("kv/compaction", {"revision": revision})
    compacted = look(url_of(server), namespace)

    assert worst(kept) == {"standalone", "never-compacted"}
    assert "all history of the last 5 days is kept" in by_code(kept)["never-compacted"].text
    assert worst(compacted) == {"standalone"}
    assert "its history is compacted" in by_code(compacted)["history"].text


def test_tokens_drawn_from_a_clock_that_was_ahead_are_a_warning(server, namespace):
    born = int((time.time() + 3600) * 1e6)
    server.put(f"/tests/{namespace}/birth".encode(), b"%s@%d" % (b"ab" * 16, born))

    found = look(url_of(server), namespace)

    assert "floor-ahead" in worst(found)
    assert "P1" in exceptions(found)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that wants a password, with a user who may use one prefix only."""
    server = EtcdServer(tmp_path_factory.mktemp("guarded"))
    server.start()
    server.ask("auth/user/add", {"name": "root", "password": "root"})
    server.ask("auth/user/grant", {"user": "root", "role": "root"})
    server.ask("auth/user/add", {"name": "app", "password": "secret"})
    server.ask("auth/role/add", {"name": "leaders"})
    server.ask("auth/role/grant", {"name": "leaders", "perm": {"permType": "READWRITE", **PREFIX}})
    server.ask("auth/user/grant", {"user": "app", "role": "leaders"})
    server.ask("auth/enable", {})
    yield server
    server.kill()


def test_a_user_with_few_rights_is_told_what_stays_hidden(guarded, namespace):
    found = look(f"etcd://app:secret@127.0.0.1:{guarded.port}/tests", namespace)

    assert found.level <= Level.WARNING
    assert worst(found) <= {"standalone"}
    assert "no-auth" not in by_code(found)
    assert found.round_trip is not None


@pytest.mark.parametrize("login", ["", "app:wrong@"])
def test_a_server_that_wants_to_know_who_asks_is_an_error(guarded, namespace, login):
    found = look(f"etcd://{login}127.0.0.1:{guarded.port}/tests", namespace)

    assert "refused" in worst(found)
    assert "member-away" not in worst(found)
    assert found.level is Level.ERROR


FACTS = Facts(
    members=tuple(Member(f"m{at}", Status("3.5.16", 1 << 20, 1)) for at in (1, 2, 3)),
    voters=3,
    alarms=frozenset(),
    kept=None,
    is_open=False,
    uses_tls=True,
)


def judged(**changed):
    return {finding.code: finding for finding in judge(replace(FACTS, **changed))}


def test_all_is_well():
    assert {finding.level for finding in judged().values()} == {Level.OK}


def test_what_is_hidden_is_said():
    assert {"alarms-hidden", "members-hidden"} <= set(judged(alarms=None, voters=None))


def test_several_versions_are_a_note():
    mixed = (Member("m1", Status("3.5.16", 1, 1)), Member("m2", Status("3.4.23", 1, 1)))

    assert judged(members=mixed)["versions"].level is Level.NOTE
