"""The word ``durability``, held against servers that are killed: what it says survives, and no more."""

from __future__ import annotations

import itertools
import re
from contextlib import closing

import pytest

from leaderlock import ABSENT, BackendUnavailable, OutcomeUnknown, Seen, Swapped, Write
from leaderlock.errors import MemoryGone
from leaderlock.testing import TcpProxy
from leaderlock_redis import open_backend
from tests.servers.redis import RedisServer, until

TIMEOUT = 5.0
NAMES = (f"durability-{number}" for number in itertools.count())
NOTHING = ("--save", "")
SNAPSHOTS = ("--save", "3600 1000")
EVERY_WRITE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def start(tmp_path):
    """Starts a server with the settings given."""
    started = []

    def start_one(*settings: str) -> RedisServer:
        directory = tmp_path / str(len(started))
        directory.mkdir()
        started.append(RedisServer(directory, *settings))
        started[-1].start()
        return started[-1]

    yield start_one
    for server in started:
        server.kill()


@pytest.fixture
def open_one():
    """Opens clients of one namespace."""
    opened, namespace = [], next(NAMES)

    def open_it(server, durability="memory"):
        opened.append(open_backend(server.url, namespace=namespace, durability=durability))
        return opened[-1]

    yield open_it
    for backend in opened:
        backend.close()


def read(backend):
    return backend.read(["name/a"], timeout=TIMEOUT)


def acknowledged(backend):
    """A write that was acknowledged, as it was seen afterwards."""
    view = read(backend)
    [answer] = backend.swap([Write("name/a", view.seen["name/a"].stamp, b"one")], view.memory, timeout=TIMEOUT)
    assert isinstance(answer, Swapped)
    return read(backend)


def after(act, backend):
    """What is read once the store is back."""

    def look():
        try:
            return read(backend)
        except BackendUnavailable:
            return None

    act()
    return until(look, "the store is back")


def kill_and_start(server):
    def act():
        server.kill()
        server.start()

    return act


@pytest.mark.parametrize("settings", [NOTHING, SNAPSHOTS], ids=["nothing is saved", "snapshots"])
def test_memory_does_not_survive_a_kill(start, open_one, settings):
    server = start(*settings)
    backend = open_one(server)
    before = acknowledged(backend)

    now = after(kill_and_start(server), backend)

    assert now.seen["name/a"] == Seen(None, ABSENT)
    assert now.memory != before.memory
    assert now.floor > before.floor
    assert not backend.traits.keeps_memory


def test_memory_does_not_believe_what_survived(start, open_one):
    server = start(*EVERY_WRITE)
    backend = open_one(server)
    before = acknowledged(backend)

    now = after(kill_and_start(server), backend)

    assert now.seen == before.seen
    assert now.memory != before.memory, "nobody said that it would survive, so nobody relies on it"


def test_a_write_on_a_memory_that_did_not_survive_is_not_applied(start, open_one):
    server = start(*NOTHING)
    backend = open_one(server)
    before = acknowledged(backend)

    after(kill_and_start(server), backend)

    with pytest.raises(MemoryGone):
        backend.swap([Write("name/a", ABSENT, b"late")], before.memory, timeout=TIMEOUT)
    assert read(backend).seen["name/a"] == Seen(None, ABSENT)


def test_disk_survives_a_kill_and_another_and_its_memory_with_it(start, open_one):
    server = start(*EVERY_WRITE)
    backend = open_one(server, "disk")
    before = acknowledged(backend)

    for _ in range(2):
        now = after(kill_and_start(server), backend)

        assert (now.seen, now.memory) == (before.seen, before.memory)
        assert now.floor >= before.floor
    assert backend.traits.keeps_memory


def test_disk_does_not_survive_a_disk_that_was_lost(start, open_one):
    server = start(*EVERY_WRITE)
    backend = open_one(server, "disk")
    before = acknowledged(backend)

    def lose_the_disk():
        server.kill()
        for path in sorted(server.directory.rglob("*"), reverse=True):
            if path.name != "log" and "appendonly" in str(path):
                path.rmdir() if path.is_dir() else path.unlink()
        server.start()

    now = after(lose_the_disk, backend)

    assert now.seen["name/a"] == Seen(None, ABSENT)
    assert now.memory != before.memory
    assert now.floor > before.floor


@pytest.fixture
def between(start):
    """A master, and the way from it to its replica."""
    master = start("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
    with TcpProxy("127.0.0.1", master.port) as proxy:
        yield master, proxy


@pytest.fixture
def replicated(start, between):
    master, proxy = between
    replica = start("--replicaof", f"127.0.0.1 {proxy.port}")
    until(lambda: b"state=online" in master.do("INFO", "replication"), "the replica is connected")
    return master, replica


def caught_up(server):
    [offset] = re.findall(rb"(?:slave_repl|master_repl)_offset:(\d+)", server.do("INFO", "replication"))[:1]
    return int(offset)


def promoted(replica):
    replica.do("REPLICAOF", "NO", "ONE")
    return replica


def test_replicas_survive_the_master_for_good(replicated, open_one):
    master, replica = replicated
    before = until(lambda: attempt(open_one(master, "replicas:1")), "the replica acknowledges")

    master.kill()
    now = read(open_one(promoted(replica), "replicas:1"))

    assert now.seen == before.seen
    assert now.memory != before.memory, "of what else was written nobody can say that it is there"


def attempt(backend):
    try:
        return acknowledged(backend)
    except OutcomeUnknown:
        return None  # its first acknowledgement may take a second


def test_memory_does_not_survive_the_master_though_it_has_a_replica(replicated, between, open_one):
    (master, replica), (_, way) = replicated, between
    before = acknowledged(open_one(master))
    until(lambda: caught_up(replica) >= caught_up(master), "the replica has all that")

    with way.black_hole():
        backend = open_one(master)
        [answer] = backend.swap([Write("name/b", ABSENT, b"lost")], before.memory, timeout=TIMEOUT)
        master.kill()
    now = open_one(promoted(replica)).read(["name/a", "name/b"], timeout=TIMEOUT)

    assert isinstance(answer, Swapped), "acknowledged"
    assert now.seen["name/b"] == Seen(None, ABSENT), "and lost"
    assert now.seen["name/a"].value == b"one"
    assert now.memory != before.memory
    assert now.floor > before.floor


def test_replicas_do_not_acknowledge_what_no_replica_has(replicated, open_one):
    master, replica = replicated
    before = until(lambda: attempt(open_one(master, "replicas:1")), "the replica acknowledges")

    with replica.frozen(), closing(open_one(master, "replicas:1")) as backend, pytest.raises(OutcomeUnknown):
        backend.swap([Write("name/b", ABSENT, b"lost")], before.memory, timeout=1.0)
