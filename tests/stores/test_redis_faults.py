"""Whole clients on a Redis server that forgets, dies, refuses, or is cut off in the middle of an answer."""

import itertools
import queue
import re
import socket
import threading
import time
from contextlib import closing, suppress
from functools import partial
from types import SimpleNamespace

import pytest
import redis
import valkey

from leaderlock import CampaignTimeout, connect
from leaderlock.backend import ABSENT, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable, MemoryGone, OutcomeUnknown
from leaderlock.testing import TcpProxy
from leaderlock_redis import _links, from_client, open_backend
from leaderlock_redis._errors import ACL
from tests.servers.redis import RedisServer, free_port, open_several, until

TTL = 0.6
LONGEST = 1.0
TIMEOUT = 5.0
NAMES = (f"test-{number}" for number in itertools.count())


@pytest.fixture
def namespace():
    return next(NAMES)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis"), "--enable-debug-command", "yes").running() as server:
        yield server


@pytest.fixture
def start(tmp_path):
    """Starts another server with the settings given."""
    running = []

    def start_one(*settings):
        directory = tmp_path / str(len(running))
        directory.mkdir()
        running.append(RedisServer(directory, *settings))
        running[-1].start()
        return running[-1]

    yield start_one
    for one in running:
        one.kill()


@pytest.fixture
def start_durable(start):
    return lambda: start("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def client(namespace):
    """Opens a client of a server."""
    opened = []

    def open_one(server, **options):
        backend = open_backend(server.url, namespace=namespace, **options)
        opened.append(connect(backend, ttl=TTL, longest=LONGEST, namespace=namespace))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def backend(namespace):
    """Opens a backend on a URL."""
    opened = []

    def open_one(url, **options):
        opened.append(open_backend(url, namespace=namespace, **options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def lead(client, name="job"):
    """Win the election, however often the store is away meanwhile."""

    def campaign():
        try:
            return client.election(name).campaign(timeout=TIMEOUT)
        except (BackendUnavailable, CampaignTimeout):
            return None

    return until(campaign, f"{name} is led")


def trouble_between_two_leaders(first, second, trouble):
    """One leads, trouble comes, the other leads: the first must have lost it before, and the token must be greater."""
    old = lead(first)
    trouble()

    new = lead(second)
    overlapped = old.is_held and new.is_held

    assert not overlapped
    assert new.token > old.token


def test_a_flushed_server_has_no_two_leaders_and_higher_tokens(server, client):
    trouble_between_two_leaders(client(server), client(server), lambda: server.do("FLUSHALL"))


def test_a_server_that_forgot_everything_in_a_restart_has_no_two_leaders_and_higher_tokens(start, client):
    server = start()

    def restart():
        server.kill()
        server.start()

    trouble_between_two_leaders(client(server), client(server), restart)


def test_a_leader_whose_records_survived_keeps_its_lease_through_a_change_of_memory(server, client, backend):
    lease = lead(client(server))
    probe = backend(server.url)
    before = probe.read(["settled"], timeout=TIMEOUT)

    # What a promoted replica looks like: the same records, another replication id.
    server.do("DEBUG", "CHANGE-REPL-ID")
    until(lambda: probe.read(["settled"], timeout=TIMEOUT).memory != before.memory, "the memory has changed")
    renewed = time.monotonic() + 2 * TTL
    until(lambda: time.monotonic() > renewed or not lease.is_held, "two terms' worth of renewals")

    assert lease.is_held


def test_a_leader_keeps_its_lease_through_a_kill_of_a_server_that_writes_to_disk(start_durable, client):
    server = start_durable()
    leader = client(server, durability="disk")
    lease = lead(leader)

    server.kill()
    server.start()
    renewed = time.monotonic() + 2 * TTL
    until(lambda: time.monotonic() > renewed or not lease.is_held, "two terms' worth of renewals")

    # A restart that takes longer than the ttl ends the term, and the next one's token is greater.
    assert lease.is_held or lead(leader).token > lease.token


def test_what_was_acknowledged_on_disk_is_there_after_a_kill(start_durable, backend):
    server = start_durable()
    kept = backend(server.url, durability="disk")
    before = kept.read([], timeout=TIMEOUT)
    (answer,) = kept.swap([Write("name/a", ABSENT, b"kept")], before.memory, timeout=TIMEOUT)

    server.kill()
    server.start()
    after = kept.read(["name/a"], timeout=TIMEOUT)

    assert isinstance(answer, Swapped)
    assert (after.seen["name/a"].value, after.seen["name/a"].stamp) == (b"kept", answer.stamp)
    assert after.memory == before.memory


def test_a_write_that_meets_another_replication_id_is_not_applied(server, backend):
    one = backend(server.url)
    memory = one.read([], timeout=TIMEOUT).memory

    server.do("DEBUG", "CHANGE-REPL-ID")

    with pytest.raises(MemoryGone):
        one.swap([Write("name/a", ABSENT, b"late")], memory, timeout=TIMEOUT)
    assert one.read(["name/a"], timeout=TIMEOUT).seen["name/a"].value is None


@pytest.fixture
def moving(server, start, namespace):
    """A client whose address comes to lead to the server that is named, ``server`` or another one."""
    servers = {"server": server, "other": start()}
    settings = redis.Redis(port=server.port)
    with closing(from_client(settings, namespace=namespace)) as moving:

        def move(to):
            settings.connection_pool.connection_kwargs["port"] = servers[to].port
            for one in servers.values():
                one.do("CLIENT", "KILL", "TYPE", "normal")
            with suppress(OutcomeUnknown):
                list(moving.scan("nothing", timeout=TIMEOUT))  # on a connection that was open
            return moving

        yield move


def test_a_server_that_comes_back_behind_its_address_is_not_taken_for_what_it_was(server, moving, backend):
    before = moving("server").read([], timeout=TIMEOUT)
    meanwhile = moving("other").read([], timeout=TIMEOUT)
    back = moving("server")
    after = back.read([], timeout=TIMEOUT)

    assert after.memory not in (before.memory, meanwhile.memory)
    assert after.floor > meanwhile.floor > before.floor
    for asked in (back, backend(server.url)):
        with pytest.raises(MemoryGone):
            asked.swap([Write("name/a", ABSENT, b"x")], before.memory, timeout=TIMEOUT)
    assert back.read([], timeout=TIMEOUT).memory == after.memory


def test_a_write_that_comes_late_is_not_applied_where_the_address_leads_back(moving):
    before = moving("server").read([], timeout=TIMEOUT)
    moving("other").read([], timeout=TIMEOUT)
    back = moving("server")

    with pytest.raises(MemoryGone):
        back.swap([Write("name/a", ABSENT, b"x")], before.memory, timeout=TIMEOUT)

    assert back.read(["name/a"], timeout=TIMEOUT).seen["name/a"].value is None


def test_a_mark_that_lagged_behind_is_raised_above_what_was_granted(server, backend, namespace):
    one = backend(server.url)
    before = one.read([], timeout=TIMEOUT).floor

    server.do("HSET", f"leaderlock:{{{namespace}}}:", "floor", "1000", "replid", "of the old master")

    assert one.read([], timeout=TIMEOUT).floor > before


def ahead(hours):
    return int((time.time() + hours * 3600) * 1_000_000)


def test_stamps_and_floor_rise_though_the_servers_clock_is_behind_them(server, backend, namespace):
    one, floor = backend(server.url), ahead(1)
    memory = one.read([], timeout=TIMEOUT).memory
    server.do("HSET", f"leaderlock:{{{namespace}}}:", "floor", str(floor))

    [first] = one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)
    [second] = one.swap([Write("name/a", first.stamp, b"y")], memory, timeout=TIMEOUT)

    assert floor < first.stamp < second.stamp <= one.read([], timeout=TIMEOUT).floor


def test_a_server_that_forgot_everything_begins_above_what_this_client_has_seen(server, backend, namespace):
    one, floor = backend(server.url), ahead(1)
    one.read([], timeout=TIMEOUT)
    mark = f"leaderlock:{{{namespace}}}:"
    server.do("HSET", mark, "floor", str(floor))
    one.read([], timeout=TIMEOUT)

    server.do("DEL", mark)  # as a wipe does, and the clock of whoever took over is an hour behind

    assert one.read([], timeout=TIMEOUT).floor > floor


@pytest.mark.parametrize(("hours", "is_refused"), [(1, False), (48, True)])
def test_a_floor_far_ahead_of_this_host_s_clock_is_refused_before_a_token_is_drawn_from_it(
    server, backend, namespace, hours, is_refused
):
    store = backend(server.url)
    store.read(["name/a"], timeout=TIMEOUT)
    floor = ahead(hours)
    server.do("HSET", f"leaderlock:{{{namespace}}}:", "floor", str(floor))

    if is_refused:
        with pytest.raises(BackendRefused, match="over a day ahead of this host's clock; set the clock that is wrong"):
            store.read(["name/a"], timeout=TIMEOUT)
    else:
        assert store.read(["name/a"], timeout=TIMEOUT).floor == floor


def test_a_wrong_password_is_refused_and_not_shown(start, backend):
    server = start("--requirepass", "right")
    url = f"redis://:wr0ng-one@127.0.0.1:{server.port}/0"

    with pytest.raises(BackendRefused) as refused:
        backend(url).read([], timeout=TIMEOUT)

    assert f"127.0.0.1:{server.port}" in str(refused.value)
    assert "wr0ng-one" not in str(refused.value)


def test_a_missing_password_is_refused(start, backend):
    with pytest.raises(BackendRefused, match="password"):
        backend(start("--requirepass", "right").url).read([], timeout=TIMEOUT)


@pytest.mark.parametrize("words", ["", "\n", "\n\n\n\n", "\nname\nmemory\nno number\nvalue", "\xff\n\xff"])
def test_what_somebody_else_says_on_the_channel_silences_no_watch(server, backend, namespace, words):
    heard = queue.SimpleQueue()
    one = backend(server.url)
    view = one.read(["name/a"], timeout=TIMEOUT)
    one.watch(["name/a"], heard.put)
    assert heard.get(timeout=TIMEOUT) is None  # it listens

    server.do("PUBLISH", f"leaderlock:{{{namespace}}}:", words)
    one.swap([Write("name/a", view.seen["name/a"].stamp, b"x")], view.memory, timeout=TIMEOUT)

    assert heard.get(timeout=TIMEOUT).seen["name/a"].value == b"x"


RIGHTS = [word for word in ACL.split() if word.startswith("+")]


def test_the_rights_that_are_named_are_enough(server, backend):
    server.do("ACL", "SETUSER", "enough", "on", ">pass", "~leaderlock:*", "&leaderlock:*", *RIGHTS)
    woken = threading.Event()
    one = backend(f"redis://enough:pass@127.0.0.1:{server.port}/0")

    memory = one.read([], timeout=TIMEOUT).memory
    one.watch(["name/a"], lambda _: woken.set())
    (made,) = one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)
    one.swap([Write("name/a", made.stamp, None)], memory, timeout=TIMEOUT)

    assert woken.wait(TIMEOUT)
    assert list(one.scan("", timeout=TIMEOUT)) == []


NEEDED_TO_WRITE = ("+eval", "+info", "+time", "+hset", "+hmget", "+hscan", "+hdel", "+del", "+publish")


@pytest.mark.parametrize("missing", NEEDED_TO_WRITE)
def test_a_missing_right_is_refused_before_anything_is_written_and_the_line_to_add_is_told(server, backend, missing):
    user = f"without-{missing[1:]}"
    rights = [right for right in RIGHTS if right != missing]
    server.do("ACL", "SETUSER", user, "on", ">pass", "~leaderlock:*", "&leaderlock:*", *rights)

    with pytest.raises(BackendRefused, match=r"ACL SETUSER .*\+info") as refused:
        backend(f"redis://{user}:pass@127.0.0.1:{server.port}/0").read([], timeout=TIMEOUT)

    assert "pass@" not in str(refused.value)


def test_a_missing_channel_is_refused(server, backend):
    server.do("ACL", "SETUSER", "mute", "on", ">pass", "~leaderlock:*", "resetchannels", *RIGHTS)

    with pytest.raises(BackendRefused, match="&leaderlock"):
        backend(f"redis://mute:pass@127.0.0.1:{server.port}/0").read([], timeout=TIMEOUT)


def test_a_replica_is_refused(server, start, backend):
    replica = start("--replicaof", "127.0.0.1", str(server.port))

    with pytest.raises(BackendRefused, match="replica"):
        backend(replica.url).read([], timeout=TIMEOUT)


def test_a_master_that_was_demoted_under_an_open_connection_takes_no_write(start, backend):
    server = start()
    one = backend(server.url)
    memory = one.read([], timeout=TIMEOUT).memory

    server.do("REPLICAOF", "127.0.0.1", str(free_port()))

    with pytest.raises((BackendRefused, MemoryGone)):
        one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)
    with pytest.raises(BackendRefused, match="replica"):
        one.read([], timeout=TIMEOUT)


@pytest.mark.parametrize(
    "ask",
    [
        lambda one, _: one.read(["name/a"], timeout=TIMEOUT),
        lambda one, memory: one.swap([Write("name/a", 7, b"x")], memory, timeout=TIMEOUT),
    ],
    ids=["a read", "a write that conflicts"],
)
def test_what_a_demoted_master_holds_is_not_shown_as_what_is_there(start, backend, ask):
    server = start()
    one = backend(server.url)
    memory = one.read([], timeout=TIMEOUT).memory

    server.do("REPLICAOF", "127.0.0.1", str(free_port()))

    with pytest.raises(BackendRefused, match="replica"):
        ask(one, memory)


def test_a_server_that_may_evict_our_keys_is_refused(start, backend):
    with pytest.raises(BackendRefused, match="maxmemory-policy"):
        backend(start("--maxmemory-policy", "allkeys-lru").url).read([], timeout=TIMEOUT)


def test_a_node_of_a_cluster_is_refused(start, backend):
    with pytest.raises(BackendRefused, match="cluster"):
        backend(start("--cluster-enabled", "yes", "--cluster-port", str(free_port())).url).read([], timeout=TIMEOUT)


@pytest.mark.parametrize("settings", [(), ("--appendonly", "yes", "--appendfsync", "everysec")])
def test_a_server_that_does_not_write_at_once_is_not_taken_for_durable(start, backend, settings):
    with pytest.raises(BackendRefused, match="appendfsync always"):
        backend(start(*settings).url, durability="disk").read([], timeout=TIMEOUT)


def test_a_server_without_memory_refuses_and_writes_nothing(start, backend):
    server = start()
    one = backend(server.url)
    memory = one.read([], timeout=TIMEOUT).memory

    server.do("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(BackendRefused, match="maxmemory"):
        one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)
    server.do("CONFIG", "SET", "maxmemory", "0")

    assert one.read(["name/a"], timeout=TIMEOUT).seen["name/a"].value is None


def test_a_key_of_another_type_refuses_the_whole_batch(server, backend, namespace):
    one = backend(server.url)
    memory = one.read([], timeout=TIMEOUT).memory
    server.do("SET", f"leaderlock:{{{namespace}}}:name/b", "a string")

    with pytest.raises(BackendRefused, match="another type"):
        one.swap([Write("name/a", ABSENT, b"x"), Write("name/b", ABSENT, b"x")], memory, timeout=TIMEOUT)

    assert one.read(["name/a"], timeout=TIMEOUT).seen["name/a"].value is None


def test_a_write_that_too_few_replicas_have_is_unknown(start, backend):
    one = backend(start().url, durability="replicas:1")
    memory = one.read([], timeout=TIMEOUT).memory

    with pytest.raises(OutcomeUnknown, match="0 of 1 replicas"):
        one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=1.0)


def test_a_write_that_enough_replicas_have_is_done(start, backend):
    server = start("--repl-diskless-sync-delay", "0")
    start("--replicaof", "127.0.0.1", str(server.port))
    one = backend(server.url, durability="replicas:1")
    until(lambda: b"state=online" in server.do("INFO", "replication"), "the replica follows")
    memory = one.read([], timeout=TIMEOUT).memory

    (answer,) = one.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)

    assert isinstance(answer, Swapped)


def test_a_refused_connection_was_never_sent(backend):
    with pytest.raises(BackendUnavailable) as raised:
        backend(f"redis://127.0.0.1:{free_port()}").read([], timeout=TIMEOUT)

    assert not isinstance(raised.value, OutcomeUnknown)


def test_a_unix_socket_serves_as_well(server, backend):
    one = backend(f"unix://{server.directory}/socket?db=1")

    (answer,) = one.swap([Write("name/a", ABSENT, b"x")], one.read([], timeout=TIMEOUT).memory, timeout=TIMEOUT)

    assert isinstance(answer, Swapped)


def test_a_watch_outlives_its_connection(server, backend):
    one, other, woken = backend(server.url), backend(server.url), threading.Event()
    memory = other.read([], timeout=TIMEOUT).memory
    one.watch(["name/a"], lambda _: woken.set())
    assert woken.wait(TIMEOUT), "the subscription stands"

    woken.clear()
    server.do("CLIENT", "KILL", "TYPE", "pubsub")
    assert woken.wait(TIMEOUT), "it stands again"
    woken.clear()
    other.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)

    assert woken.wait(TIMEOUT)


def write(store, key, value, expected=ABSENT):
    """A write that must be applied; returns the new stamp."""
    [answer] = store.swap([Write(key, expected, value)], store.read([], timeout=TIMEOUT).memory, timeout=TIMEOUT)
    return answer.stamp


def fill(store, keys):
    """Make registers, as many at once as the driver takes."""
    for at in range(0, len(keys), 100):
        writes = [Write(key, ABSENT, b"x") for key in keys[at : at + 100]]
        store.swap(writes, store.read([], timeout=TIMEOUT).memory, timeout=TIMEOUT)


def keys_found(store, prefix="name/"):
    return sorted(key for key, _ in store.scan(prefix, timeout=TIMEOUT))


def test_a_search_does_not_walk_the_keys_of_others(start, backend):
    server = start("--enable-debug-command", "yes")
    store = backend(server.url)
    for number in range(10):
        write(store, f"name/{number}", b"x")
    server.do("DEBUG", "POPULATE", "200000", "others:key", "10")

    server.do("CONFIG", "RESETSTAT")
    found = keys_found(store)
    calls = dict(re.findall(rb"cmdstat_(\w+):calls=(\d+)", server.do("INFO", "commandstats")))

    assert found == [f"name/{number}" for number in range(10)]
    assert {name: int(calls[name]) for name in calls if name not in {b"config", b"info"}} == {
        b"eval": 1,
        b"hscan": 1,
        b"hmget": 10,
    }


def test_a_write_finds_its_place_in_an_index_of_any_size_at_once(server, backend, namespace):
    write(backend(server.url), "name/a", b"x")

    # In Redis's compact form each of a hash's fields is found by passing over those before it.
    assert b"hashtable" in server.do("OBJECT", "ENCODING", f"leaderlock:{{{namespace}}}:")


def test_what_was_taken_out_of_the_index_by_hand_is_in_it_again_after_the_next_write(server, backend, namespace):
    store, mark = backend(server.url), f"leaderlock:{{{namespace}}}:"
    stamps = [write(store, key, b"x") for key in ("name/a", "name/b")]

    server.do("HDEL", mark, f"{mark}name/a")
    [conflict, done] = store.swap(
        [Write("name/b", 7, b"y"), Write("name/a", stamps[0], b"y")],
        store.read([], timeout=TIMEOUT).memory,
        timeout=TIMEOUT,
    )

    assert (conflict.seen.value, type(done)) == (b"x", Swapped)
    assert keys_found(store) == ["name/a", "name/b"]


def test_an_index_that_is_lost_takes_the_memory_with_it_and_whatever_is_written_is_found_again(
    server, backend, namespace
):
    store = backend(server.url)
    stamp = write(store, "name/a", b"x")
    before = store.read([], timeout=TIMEOUT).memory

    server.do("DEL", f"leaderlock:{{{namespace}}}:")
    with pytest.raises(MemoryGone):
        store.swap([Write("name/a", stamp, b"y")], before, timeout=TIMEOUT)
    write(store, "name/a", b"y", stamp)

    assert keys_found(store) == ["name/a"]


def test_a_register_that_is_deleted_leaves_the_index(server, backend, namespace):
    store, mark = backend(server.url), f"leaderlock:{{{namespace}}}:"
    stamps = [write(store, key, b"x") for key in ("name/a", "name/b")]

    write(store, "name/a", None, stamps[0])

    assert server.do("HEXISTS", mark, f"{mark}name/a") == b":0\r\n"
    assert server.do("HEXISTS", mark, f"{mark}name/b") == b":1\r\n"


def test_a_write_that_is_refused_leaves_the_index_as_it_was(server, backend, namespace):
    store, mark = backend(server.url), f"leaderlock:{{{namespace}}}:"
    memory = store.read([], timeout=TIMEOUT).memory
    before = server.do("HGETALL", mark)

    store.swap([Write("name/a", 7, b"x"), Write("name/b", 7, None)], memory, timeout=TIMEOUT)

    assert server.do("HGETALL", mark) == before


def test_a_register_that_was_deleted_by_hand_is_not_found_until_it_is_written_again(server, backend, namespace):
    store = backend(server.url)
    write(store, "name/a", b"x")
    write(store, "name/b", b"x")

    server.do("DEL", f"leaderlock:{{{namespace}}}:name/a")
    without = keys_found(store)
    write(store, "name/a", b"x")

    assert without == ["name/b"]
    assert keys_found(store) == ["name/a", "name/b"]


def test_the_index_outlives_a_kill_of_a_server_that_writes_to_disk(start_durable, backend):
    server = start_durable()
    store = backend(server.url, durability="disk")
    write(store, "name/gone", None, write(store, "name/gone", b"x"))
    write(store, "name/a", b"x")

    server.kill()
    server.start()

    assert until(lambda: keys_found(store), "the server answers") == ["name/a"]


def test_what_others_put_under_our_keys_names_is_found_by_no_search(server, backend, namespace):
    store, mark = backend(server.url), f"leaderlock:{{{namespace}}}:"
    write(store, "name/a", b"x")

    server.do("HSET", mark, "name/b", "", "", "", "another", "")
    server.do("SET", f"{mark}name/c", "a string")

    assert keys_found(store, "") == ["name/a"]


def test_a_search_that_finds_a_key_of_another_type_is_refused(server, backend, namespace):
    store, place = backend(server.url), f"leaderlock:{{{namespace}}}:name/a"
    write(store, "name/a", b"x")
    server.do("DEL", place)
    server.do("SET", place, "a string")

    with pytest.raises(BackendRefused, match="another type"):
        keys_found(store)


def test_a_search_that_does_not_come_to_its_end_in_time_is_given_up(server, backend, monkeypatch):
    store = backend(server.url)
    fill(store, [f"session/{number}" for number in range(1100)])
    seconds = itertools.count(1000)
    monkeypatch.setattr("leaderlock_redis._backend.time", SimpleNamespace(monotonic=lambda: next(seconds)))

    with pytest.raises(BackendUnavailable, match="look through the namespace") as raised:
        list(store.scan("name/", timeout=2.0))

    assert not isinstance(raised.value, OutcomeUnknown)


def test_a_search_that_is_led_to_another_server_shows_what_is_there(start, backend):
    server = start()
    store, keys = backend(server.url), sorted(f"name/{number}" for number in range(1200))
    fill(store, keys)
    pages = store.scan("name/", timeout=TIMEOUT)

    first, _ = next(pages)
    server.kill()
    server.start()
    fill(store, keys)
    rest = [key for key, _ in pages]

    assert sorted([first, *rest]) == keys


class Impostor:
    """Listens where a Redis server is looked for, and does what ``serve`` does with each connection."""

    def __init__(self, serve):
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._run, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _run(self, connection):
        with closing(connection):
            self._serve(connection)

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._accepting, *self._threads):
            thread.join(TIMEOUT)


@pytest.fixture
def impostor():
    standing = []

    def stand(serve):
        standing.append(Impostor(serve))
        return f"redis://127.0.0.1:{standing[-1].port}"

    yield stand
    for one in standing:
        one.close()


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n"])
def test_a_port_where_something_else_listens_is_refused(backend, impostor, greeting):
    def greet(connection):
        connection.recv(1024)
        connection.sendall(greeting)

    with pytest.raises(BackendRefused, match="not a Redis server"):
        backend(impostor(greet)).read([], timeout=TIMEOUT)


def by_url(port):
    return open_backend(f"redis://user:secret@127.0.0.1:{port}/3?client_name=x", namespace="x")


def by_client(library, port):
    client = library.from_url(f"redis://user:secret@127.0.0.1:{port}/3?client_name=x")
    return from_client(client, namespace="x")


@pytest.mark.parametrize(
    "opened", [by_url, partial(by_client, redis), partial(by_client, valkey)], ids=["url", "redis-py", "valkey-py"]
)
def test_a_greeting_that_is_answered_piece_by_piece_is_given_up_in_time(impostor, opened):
    over = threading.Event()

    def trickle(connection):
        connection.recv(1024)
        with suppress(OSError):
            for piece in (b"+", *[b"x"] * 100):
                connection.sendall(piece)
                if over.wait(0.05):
                    return

    port = int(impostor(trickle).rpartition(":")[2])
    began = time.monotonic()
    with closing(opened(port)) as one, pytest.raises(BackendUnavailable) as raised:
        one.read([], timeout=0.5)
    took = time.monotonic() - began
    over.set()

    assert not isinstance(raised.value, OutcomeUnknown)
    assert took < 2.0


def test_a_port_where_nobody_answers_is_unavailable_in_time(backend, impostor):
    began = time.monotonic()

    with pytest.raises(BackendUnavailable):
        backend(impostor(lambda connection: connection.recv(1))).read([], timeout=0.3)

    assert time.monotonic() - began < TIMEOUT


def test_connections_that_have_all_fallen_silent_cost_one_time_out_and_not_one_each(server, namespace):
    with (
        TcpProxy("127.0.0.1", server.port) as old,
        closing(redis.Redis(port=old.port)) as theirs,
        closing(from_client(theirs, namespace=namespace)) as backend,
    ):
        open_several(backend, server)
        # A name that leads elsewhere from now on; a firewall that has forgotten what stood is the same to us.
        theirs.connection_pool.connection_kwargs["port"] = server.port

        with old.black_hole():
            with pytest.raises(OutcomeUnknown):
                backend.read([], timeout=0.3)

            assert backend.read([], timeout=TIMEOUT).memory


def test_a_connection_that_was_idle_for_long_is_not_used_again(server, namespace, monkeypatch):
    monkeypatch.setattr(_links, "_IDLE_FOR", 0.0)
    with (
        TcpProxy("127.0.0.1", server.port) as old,
        closing(redis.Redis(port=old.port)) as theirs,
        closing(from_client(theirs, namespace=namespace)) as backend,
    ):
        backend.read([], timeout=TIMEOUT)
        theirs.connection_pool.connection_kwargs["port"] = server.port

        with old.black_hole():
            assert backend.read([], timeout=TIMEOUT).memory
