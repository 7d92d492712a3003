"""What ``doctor`` finds on Redis servers that deserve it."""

from __future__ import annotations

import itertools
import re
import time

import pytest

from leaderlock import connect
from leaderlock.diagnosis import Level
from leaderlock.testing import TcpProxy
from leaderlock_redis import _doctor, open_backend
from tests.servers.redis import RedisServer, until
from tests.stores.examined import by_code, diagnosis, exceptions, worst
from tests.stores.redis_groups import Cluster, Group

NAMES = (f"doctor-{number}" for number in itertools.count())
COMMANDS = ("+eval", "+time", "+hset", "+hmget", "+hscan", "+hdel", "+del", "+publish", "+ping")
ACL = ("~leaderlock:*", "&leaderlock:*", *COMMANDS)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")).running() as server:
        yield server


@pytest.fixture
def start(tmp_path):
    """Starts another server with the settings given."""
    running = []

    def start_one(*settings: str) -> RedisServer:
        directory = tmp_path / str(len(running))
        directory.mkdir()
        context = RedisServer(directory, *settings).running()
        running.append(context)
        return context.__enter__()

    yield start_one
    for context in reversed(running):
        context.__exit__(None, None, None)


@pytest.fixture
def namespace():
    return next(NAMES)


def look(url, namespace, durability="memory", **terms):
    return diagnosis(open_backend(url, namespace=namespace, durability=durability), **terms)


def as_user(server, user):
    return server.url.replace("redis://", f"redis://{user}:secret@")


def test_a_plain_server_has_nothing_worse_than_notes(server, namespace):
    found = look(server.url, namespace)

    codes = by_code(found)
    assert found.level is Level.NOTE
    assert codes["server"].text.startswith(("Redis ", "Valkey "))
    assert "master" in codes["server"].text
    assert {"no-tls", "no-auth", "forgets", "unused"} <= set(codes)
    assert abs(found.round_trip.worst) < 5
    assert found.round_trip.write > 0


def test_what_it_writes_it_removes(server, namespace):
    look(server.url, namespace)
    look(server.url, namespace)

    assert server.do("KEYS", f"leaderlock:{{{namespace}}}:*") == b"*1\r\n$%d\r\nleaderlock:{%b}:\r\n" % (
        len(namespace) + 14,
        namespace.encode(),
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (("--save", ""), "nothing is kept on the disk"),
        (("--save", "3600 1"), "snapshots lose what came after them"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "the log is synced everysec"),
    ],
)
def test_a_server_that_forgets_is_said_to_cost_a_settling_time(start, namespace, settings, words):
    found = look(start(*settings).url, namespace)

    assert words in by_code(found)["forgets"].text
    assert exceptions(found) == {"P5"}


def test_a_durable_server_is_recommended_to_be_used_as_one(start, namespace):
    server = start("--appendonly", "yes", "--appendfsync", "always")

    plain, on_disk = look(server.url, namespace), look(f"{server.url}?durability=disk", f"{namespace}-disk", None)

    assert "durability='disk'" in by_code(plain)["forgets"].advice
    assert by_code(on_disk)["persistence"].level is Level.OK
    assert exceptions(on_disk) == set()


def test_durability_that_the_server_does_not_give_is_an_error(server, namespace):
    found = look(server.url, namespace, "disk")

    assert worst(found) == {"refused"}
    assert "appendonly yes" in by_code(found)["refused"].text


def test_a_log_that_is_not_synced_while_it_is_rewritten_is_a_warning(start, namespace):
    server = start("--appendonly", "yes", "--appendfsync", "always", "--no-appendfsync-on-rewrite", "yes")
    if b"redis_version:7.0" not in server.do("INFO", "server"):
        pytest.skip("declared unsupported: WAITAOF, which this server has, waits for the disk all the same")

    found = look(server.url, namespace, "disk")

    assert worst(found) == {"rewrite-without-fsync"}
    assert exceptions(found) == {"P1", "P3"}


def test_eviction_of_our_keys_is_an_error(start, namespace):
    found = look(start("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru").url, namespace)

    assert worst(found) == {"refused"}
    assert "maxmemory-policy is allkeys-lru" in by_code(found)["refused"].text
    assert found.exceptions(next(iter(by_code(found)["refused"].limits)).promise)


def test_memory_that_is_nearly_full_is_a_warning_and_full_an_error(start, namespace):
    server = start("--maxmemory-policy", "noeviction")
    server.do("SET", "ballast", b"x" * (16 << 20))

    used = int(re.search(rb"used_memory:(\d+)", server.do("INFO", "memory"))[1])

    server.do("CONFIG", "SET", "maxmemory", str(int(used * 1.15)))
    nearly = look(server.url, namespace)
    server.do("CONFIG", "SET", "maxmemory", str(used // 2))
    full = look(server.url, namespace)

    assert worst(nearly) == {"memory-full"}
    assert exceptions(nearly) == {"P5"}
    assert worst(full) == {"refused"}
    assert "raise maxmemory" in by_code(full)["refused"].text


def test_a_replica_is_an_error(start, server, namespace):
    replica = start("--replicaof", f"127.0.0.1 {server.port}")

    found = look(replica.url, namespace)

    assert worst(found) == {"refused"}
    assert "it is a replica" in by_code(found)["refused"].text


def quick(found):
    return None if "slow" in worst(found) else found


def test_replicas_mean_failovers_which_is_a_warning_unless_writes_wait_for_them(start, namespace):
    server = start("--repl-diskless-sync-delay", "0")
    start("--replicaof", f"127.0.0.1 {server.port}")
    until(lambda: b"state=online" in server.do("INFO", "replication"), "the replica is connected")

    unsafe = look(server.url, namespace)
    # Its first acknowledgement may take a second after the replica is there.
    safer = until(lambda: quick(look(server.url, f"{namespace}-k", "replicas:1")), "the replica acknowledges")
    too_few = look(server.url, f"{namespace}-2", "replicas:2", ttl=2.0)

    assert worst(unsafe) == {"failover"}
    assert "replicas:1" in by_code(unsafe)["failover"].advice
    assert "P3" in exceptions(unsafe)
    assert worst(safer) == set()
    assert "P3" in exceptions(safer)
    assert worst(too_few) == {"too-few-replicas", "write-unacknowledged"}


def test_a_replica_of_a_durable_master_is_a_warning(start, namespace):
    server = start("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")
    start("--replicaof", f"127.0.0.1 {server.port}")
    until(lambda: b"state=online" in server.do("INFO", "replication"), "the replica is connected")

    found = look(server.url, namespace, "disk")

    assert worst(found) == {"failover"}
    assert exceptions(found) == {"P1", "P3"}


def test_a_group_under_sentinels_is_a_warning(tmp_path, namespace):
    with Group(tmp_path, sentinels=1) as group:
        found = look(group.url, namespace)

    assert worst(found) == {"failover"}
    assert "P3" in exceptions(found)


def test_a_cluster_without_replicas_has_nothing_worse_than_notes(tmp_path, namespace):
    with Cluster(tmp_path, masters=3) as cluster:
        found = look(cluster.url, namespace)

    assert found.level is Level.NOTE
    assert "cluster, master" in by_code(found)["server"].text


def test_writes_that_wait_for_replicas_the_server_lacks_are_an_error(start, namespace):
    found = look(start("--min-replicas-to-write", "1").url, namespace)

    assert "write-refused" in worst(found) or "refused" in worst(found)
    assert "min-replicas-to-write" in " ".join(finding.text for finding in found.findings)


def test_a_password_is_asked_for_and_then_nothing_is_said_of_it(start, namespace):
    server = start("--requirepass", "secret")

    without, wrong = look(server.url, namespace), look(server.url.replace("://", "://:wrong@"), namespace)
    right = look(server.url.replace("://", "://:secret@"), namespace)

    assert worst(without) == worst(wrong) == {"refused"}
    assert right.level is Level.NOTE
    assert "no-auth" not in by_code(right)


def test_a_user_without_info_is_told_the_line_to_add(server, namespace):
    server.do("ACL", "SETUSER", "blind", "on", ">secret", "resetchannels", *ACL)

    found = look(as_user(server, "blind"), namespace)

    assert worst(found) == {"refused"}
    assert "ACL SETUSER" in by_code(found)["refused"].text


def test_a_user_without_config_is_told_what_stays_hidden(server, namespace):
    server.do("ACL", "SETUSER", "modest", "on", ">secret", "resetchannels", *ACL, "+info")

    found = look(as_user(server, "modest"), namespace)

    assert found.level is Level.NOTE
    assert "appendfsync" in by_code(found)["hidden-settings"].text
    assert "no-auth" not in by_code(found)


def test_a_clock_that_differs_is_a_warning(server, namespace, monkeypatch):
    # The server's clock is this host's: so it is this host that errs, for the doctor alone.
    class HourLate:
        monotonic = staticmethod(time.monotonic)

        @staticmethod
        def time() -> float:
            return time.time() - 3600

    monkeypatch.setattr(_doctor, "time", HourLate)

    found = look(server.url, namespace)

    assert worst(found) == {"clock"}
    assert "3600 s ahead of this host's" in by_code(found)["clock"].text
    assert "P1" in exceptions(found)


def test_tokens_drawn_from_a_clock_that_was_ahead_are_a_warning(server, namespace):
    open_backend(server.url, namespace=namespace).read(["settled"], timeout=5)
    server.do("HSET", f"leaderlock:{{{namespace}}}:", "floor", str(int((time.time() + 600) * 1e6)))

    found = look(server.url, namespace)

    assert worst(found) == {"floor-ahead"}
    assert "P1" in exceptions(found)


def test_a_slow_server_is_a_warning(server, namespace):
    with TcpProxy("127.0.0.1", server.port) as proxy, proxy.slow(0.07):
        found = look(f"redis://127.0.0.1:{proxy.port}", namespace, ttl=4.0)

    assert "slow" in worst(found)
    assert found.round_trip.read > 0.1


def test_nobody_there_is_an_error(start, namespace):
    server = start()
    server.kill()

    found = look(server.url, namespace)

    assert worst(found) == {"unreachable"}
    assert exceptions(found) == {"P5"}
    assert found.round_trip is None


def test_a_forgetful_restart_is_told_from_first_use_and_from_a_settled_namespace(start, namespace):
    server = start()
    with connect(open_backend(server.url, namespace=namespace), namespace=namespace) as client:
        client.init()

    settled = look(server.url, namespace)
    server.do("CONFIG", "SET", "save", "")
    server.do("SAVE")
    server.kill()
    server.start()
    forgotten = look(server.url, namespace)

    assert by_code(settled)["settled"].level is Level.OK
    assert by_code(forgotten)["unsettled"].level is Level.NOTE
    assert "30.1 s" in by_code(forgotten)["unsettled"].advice


def test_other_terms_than_the_namespace_s_are_an_error(server, namespace):
    with connect(open_backend(server.url, namespace=namespace), namespace=namespace) as client:
        client.init()

    found = look(server.url, namespace, longest=60.0)

    assert worst(found) == {"terms-differ"}
    assert "--longest 30" in by_code(found)["terms-differ"].advice
