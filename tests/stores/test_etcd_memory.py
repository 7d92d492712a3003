"""etcd servers that were set back or ran full, requests at their limits, and watches over a gap."""

import contextlib
import os
import shutil
import threading
import time

import pytest

from leaderlock import BackendRefused, Conflict, Swapped, Write
from leaderlock.errors import BackendUnavailable, MemoryGone
from leaderlock_etcd import open_backend
from tests.servers.etcd import EtcdServer

TIMEOUT = 10.0


@pytest.fixture
def server(tmp_path):
    server = EtcdServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def opened(server):
    """Opens clients, and closes them after the test."""
    backends = []

    def open_one():
        backends.append(open_backend(f"etcd://127.0.0.1:{server.port}/tests", namespace="n"))
        return backends[-1]

    yield open_one
    for backend in backends:
        backend.close()


def eventually(call):
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            return call()
        except BackendUnavailable:
            if time.monotonic() > until:
                raise


def put(backend, key, value, expected=0):
    memory = eventually(lambda: backend.read([], timeout=TIMEOUT)).memory
    (answer,) = backend.swap([Write(key, expected, value)], memory, timeout=TIMEOUT)
    assert isinstance(answer, Swapped)
    return answer.stamp


@pytest.fixture
def set_back(server):
    """Lets the store forget whatever happens between the two calls, as a restored snapshot does."""
    copy = server.directory / "copy"

    def save() -> None:
        server.kill()
        shutil.copytree(server.directory / "data", copy)
        server.start()

    def restore() -> None:
        server.kill()
        shutil.rmtree(server.directory / "data")
        shutil.copytree(copy, server.directory / "data")
        server.start()

    return save, restore


def test_a_store_set_back_under_a_client_is_another_memory_for_all(server, opened, set_back):
    server.start()
    witness, other = opened(), opened()
    stamp = put(witness, "name/a", b"one")
    save, restore = set_back
    save()
    lost = put(witness, "name/a", b"two", stamp)
    before = witness.read(["name/a"], timeout=TIMEOUT)
    restore()

    after = eventually(lambda: witness.read(["name/a"], timeout=TIMEOUT))

    assert after.memory != before.memory
    assert after.floor > before.floor
    assert after.seen["name/a"].stamp == stamp != lost
    assert eventually(lambda: other.read([], timeout=TIMEOUT)).memory == after.memory
    with pytest.raises(MemoryGone):
        other.swap([Write("name/a", stamp, b"late")], before.memory, timeout=TIMEOUT)


def test_a_write_that_meets_a_store_set_back_counts_for_nothing(server, opened, set_back):
    server.start()
    witness = opened()
    stamp = put(witness, "name/a", b"one")
    save, restore = set_back
    save()
    for number in range(5):
        put(witness, f"name/{number}", b"lost")
    memory = witness.read([], timeout=TIMEOUT).memory
    restore()

    for _ in range(2):
        with pytest.raises(MemoryGone):
            eventually(lambda: witness.swap([Write("name/a", stamp, b"on sand")], memory, timeout=TIMEOUT))

    assert witness.read([], timeout=TIMEOUT).memory != memory


def test_a_mark_that_somebody_overwrote_by_hand_is_refused_with_what_to_do(server, opened):
    server.start()
    backend = opened()
    backend.read([], timeout=TIMEOUT)

    server.put(b"/tests/n/birth", b"hello")

    with pytest.raises(BackendRefused, match="none of ours"):
        backend.read([], timeout=TIMEOUT)


def test_a_batch_beyond_one_request_is_split_and_answered_in_order(server, opened):
    server.start()
    backend = opened()
    memory = backend.read([], timeout=TIMEOUT).memory
    values = [os.urandom(300_000) for _ in range(16)]  # more than gRPC lets an answer hold unless told otherwise
    taken = put(backend, "name/5", b"taken")

    answers = backend.swap([Write(f"name/{at}", 0, value) for at, value in enumerate(values)], memory, timeout=TIMEOUT)

    seen = backend.read([f"name/{at}" for at in range(16)], timeout=TIMEOUT).seen
    assert isinstance(answers[5], Conflict)
    assert answers[5].seen.stamp == taken
    for at in set(range(16)) - {5}:
        assert answers[at] == Swapped(seen[f"name/{at}"].stamp)
        assert seen[f"name/{at}"].value == values[at]


def test_a_batch_of_the_longest_keys_and_great_values_fits_its_requests(server, opened):
    server.start()
    backend = opened()
    memory = backend.read([], timeout=TIMEOUT).memory
    count = backend.traits.max_batch
    writes = [Write(f"name/{at:03}" + "👑" * 197, 0, b"x" * 12_000) for at in range(count)]

    assert all(isinstance(answer, Swapped) for answer in backend.swap(writes, memory, timeout=TIMEOUT))
    with pytest.raises(ValueError, match="split"):
        backend.read([f"name/{at}" for at in range(count + 1)], timeout=TIMEOUT)


def fill(server):
    """Write until the server has no more room."""
    with contextlib.suppress(ValueError):
        for _ in range(50):
            server.put(b"/others", os.urandom(200_000))


def test_a_full_store_is_said_to_be_full_and_leases_go_on(tmp_path):
    server = EtcdServer(tmp_path, "--quota-backend-bytes", "2000000")
    server.start()
    old, fresh = (open_backend(f"etcd://127.0.0.1:{server.port}", namespace=name) for name in ("old", "fresh"))
    try:
        stamp = put(old, "name/a", b"one")
        fill(server)

        # A namespace's first use needs room for its birth mark.
        with pytest.raises(BackendRefused, match="quota"):
            fresh.read([], timeout=TIMEOUT)
        # What stands within nested transactions, etcd does not count: whoever leads can go on.
        assert put(old, "name/a", b"two", stamp) != stamp
    finally:
        old.close()
        fresh.close()
        server.kill()


@pytest.mark.parametrize("trouble", ["restart", "wipe"])
def test_a_watch_goes_on_after_its_store_was_away(server, opened, trouble):
    server.start()
    watcher, writer, heard = opened(), opened(), threading.Event()
    watcher.watch(["name/a"], lambda _: heard.set())
    for at in range(20):
        put(writer, f"name/{at}", b"x")
    assert heard.wait(TIMEOUT)

    getattr(server, trouble)()
    eventually(lambda: writer.read([], timeout=TIMEOUT))
    until, was_heard = time.monotonic() + TIMEOUT, False
    stamp = eventually(lambda: writer.read(["name/a"], timeout=TIMEOUT)).seen["name/a"].stamp
    # The first wake may be the one for everybody, as the stream stands again; the others are for this write.
    for _ in range(5):
        heard.clear()
        stamp = put(writer, "name/a", b"y", stamp)
        was_heard = heard.wait(max(0.0, until - time.monotonic()))

    assert was_heard


def test_a_watch_begins_anew_where_its_history_was_compacted(server, opened):
    server.start()
    watcher, writer, heard = opened(), opened(), threading.Event()
    watcher.watch(["name/a"], lambda _: heard.set())
    stamp = put(writer, "name/a", b"x")
    assert heard.wait(TIMEOUT)

    # Compacted just after the start, before the watch is back, as far as a test can have it; both ways must do.
    with server.outage():
        pass
    stamp = put(writer, "name/a", b"y", stamp)
    server.ask("kv/compaction", {"revision": str(stamp)})
    heard.clear()
    put(writer, "name/a", b"z", stamp)

    assert heard.wait(TIMEOUT)
