"""Wake-ups: across processes, with the bell or without it, and nothing left behind."""

import os
import queue
import subprocess
import sys
import threading
import time
import tracemalloc
from contextlib import closing

import pytest

from leaderlock.backend import ABSENT, Write
from leaderlock_sqlite import _bell, open_backend

TIMEOUT = 5.0
PATIENCE = 10.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "leader.db"


@pytest.fixture
def backend(path):
    with closing(open_backend(f"sqlite:///{path}", namespace="n")) as opened:
        yield opened


@pytest.fixture
def other(path):
    with closing(open_backend(f"sqlite:///{path}", namespace="n")) as opened:
        yield opened


def put(backend, key, value=b"x"):
    view = backend.read([key], timeout=TIMEOUT)
    return backend.swap([Write(key, view.seen[key].stamp, value)], view.memory, timeout=TIMEOUT)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "leaderlock-sqlite-watch"]


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)
    return True


def in_another_process(path, key):
    body = """
import sys
from leaderlock.backend import Write
from leaderlock_sqlite import open_backend
backend = open_backend(sys.argv[1], namespace="n")
view = backend.read([sys.argv[2]], timeout=5)
backend.swap([Write(sys.argv[2], view.seen[sys.argv[2]].stamp, b"theirs")], view.memory, timeout=5)
backend.close()
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(found for found in sys.path if found)}
    subprocess.run([sys.executable, "-c", body, f"sqlite:///{path}", key], check=True, env=environment)


@pytest.mark.parametrize("has_bell", [True, False])
def test_another_processs_write_wakes(backend, path, monkeypatch, has_bell):
    if not has_bell:
        monkeypatch.setattr(_bell, "has_inotify", lambda: False)
    backend.read([], timeout=TIMEOUT)
    woken = threading.Event()
    backend.watch(["name/a"], lambda _: woken.set())

    in_another_process(path, "name/a")

    assert woken.wait(PATIENCE)


def test_a_deletion_wakes(backend, other):
    put(backend, "name/a")
    woken = threading.Event()
    backend.watch(["name/a"], lambda _: woken.set())

    put(other, "name/a", None)

    assert woken.wait(PATIENCE)


def test_deletions_that_were_forgotten_before_the_watcher_looked_wake_everybody(backend, other, monkeypatch):
    put(backend, "name/a")
    view = backend.read([], timeout=TIMEOUT)
    put(other, "name/a", None)
    monkeypatch.setattr("leaderlock_sqlite._tables._DELETION_KEPT", 0)
    put(other, "name/b")
    put(other, "name/b", None)

    found = backend._changes_since(view.floor, view.memory, timeout=TIMEOUT)

    assert found.keys is None


def test_a_look_at_many_changes_does_not_load_what_they_hold(backend):
    view = backend.read([], timeout=TIMEOUT)
    note = b"x" * (64 << 10)
    backend.swap([Write(f"name/{n}", ABSENT, note) for n in range(200)], view.memory, timeout=TIMEOUT)
    tracemalloc.start()

    found = backend._changes_since(view.floor, view.memory, timeout=TIMEOUT)
    _, peak = tracemalloc.get_traced_memory()

    tracemalloc.stop()
    assert (len(found.keys), found.shown) == (200, None)
    assert peak < 50 * len(note)


def test_of_a_key_that_was_deleted_and_made_anew_a_look_shows_what_is_there_now(backend):
    view = backend.read([], timeout=TIMEOUT)
    put(backend, "name/a", b"old")
    put(backend, "name/a", None)
    put(backend, "name/a", b"new")
    put(backend, "name/b", b"old")
    put(backend, "name/b", None)

    found = backend._changes_since(view.floor, view.memory, timeout=TIMEOUT)

    assert {key: seen.value for key, seen in found.shown.seen.items()} == {"name/a": b"new", "name/b": None}
    assert found.shown.seen == backend.read(["name/a", "name/b"], timeout=TIMEOUT).seen


def test_only_those_whose_keys_changed_are_woken(backend, other):
    backend.read([], timeout=TIMEOUT)
    woken = queue.SimpleQueue()
    for number in range(2000):
        backend.watch([f"name/{number}"], lambda _, number=number: woken.put(number))

    put(other, "name/1234")
    first = woken.get(timeout=PATIENCE)
    put(other, "name/7")
    second = woken.get(timeout=PATIENCE)

    assert (first, second) == (1234, 7)
    assert len(threads()) == 1


def test_a_bell_that_was_deleted_costs_no_wake(backend, other, path):
    backend.read([], timeout=TIMEOUT)
    woken = queue.SimpleQueue()
    backend.watch(["name/a"], lambda _: woken.put(None))
    bell = path.with_name("leader.db-bell")
    eventually(bell.exists)

    bell.unlink()
    put(other, "name/a")
    woken.get(timeout=PATIENCE)
    put(other, "name/a")
    woken.get(timeout=PATIENCE)

    assert eventually(bell.exists)


def test_whoever_may_write_the_database_may_ring_its_bell_whatever_the_makers_umask_was(backend, other, path):
    backend.read([], timeout=TIMEOUT)
    path.chmod(0o664)
    before = os.umask(0o077)
    try:
        put(other, "name/a")
    finally:
        os.umask(before)

    assert path.with_name(path.name + "-bell").stat().st_mode & 0o777 == 0o664


def test_a_bell_that_cannot_be_rung_costs_no_wake(backend, other, path):
    path.with_name("leader.db-bell").mkdir()
    backend.read([], timeout=TIMEOUT)
    woken = threading.Event()
    backend.watch(["name/a"], lambda _: woken.set())

    put(other, "name/a")

    assert woken.wait(PATIENCE)


def test_a_file_that_is_replaced_wakes_everybody(backend, path):
    put(backend, "name/a")
    woken = threading.Event()
    backend.watch(["name/b"], lambda _: woken.set())
    looked = threading.Event()
    backend.watch(["name/c"], lambda _: looked.set())
    put(backend, "name/c")
    looked.wait(PATIENCE)

    for end in ("", "-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)

    assert woken.wait(PATIENCE)


def test_a_watch_may_stop_itself_while_it_is_woken_and_use_the_backend(backend, other):
    backend.read([], timeout=TIMEOUT)
    seen = queue.SimpleQueue()

    def wake(_):
        stop()
        stop()
        seen.put(backend.read(["name/a"], timeout=TIMEOUT).seen["name/a"].value)

    stop = backend.watch(["name/a"], wake)

    put(other, "name/a", b"theirs")

    assert seen.get(timeout=PATIENCE) == b"theirs"
    assert eventually(lambda: not threads())


def test_a_wake_that_raises_does_not_silence_the_others(backend, other):
    backend.read([], timeout=TIMEOUT)
    woken = queue.SimpleQueue()

    def wake(_):
        raise RuntimeError

    backend.watch(["name/a"], wake)
    backend.watch(["name/a"], lambda _: woken.put(None))

    for _ in range(2):
        put(other, "name/a")
        woken.get(timeout=PATIENCE)

    assert woken.empty()


def test_the_last_watch_takes_the_thread_with_it_and_a_new_one_starts_another(backend, other):
    backend.read([], timeout=TIMEOUT)
    woken = threading.Event()
    backend.watch(["name/a"], lambda _: woken.set())()
    eventually(lambda: not threads())

    backend.watch(["name/a"], lambda _: woken.set())
    put(other, "name/a")

    assert woken.wait(PATIENCE)


def test_closing_ends_the_thread_and_gives_back_every_descriptor(path):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    with closing(open_backend(f"sqlite:///{path}", namespace="n")) as first:
        first.read([], timeout=TIMEOUT)
    before = descriptors()
    backend = open_backend(f"sqlite:///{path}", namespace="n")
    backend.read([], timeout=TIMEOUT)
    stops = [backend.watch([f"name/{number}"], lambda _: None) for number in range(10)]

    began = time.monotonic()
    backend.close()
    took = time.monotonic() - began
    for stop in stops:
        stop()

    assert not threads()
    assert descriptors() == before
    assert took < 1.0


def test_closing_from_inside_a_wake_does_not_hang(backend, other):
    backend.read([], timeout=TIMEOUT)
    closed = threading.Event()

    def wake(_):
        backend.close()
        closed.set()

    backend.watch(["name/a"], wake)

    put(other, "name/a")

    assert closed.wait(PATIENCE)
    assert eventually(lambda: not threads())


def test_watches_and_writes_of_many_threads_at_once_do_no_harm(backend, other):
    backend.read([], timeout=TIMEOUT)
    errors = []

    def churn(number):
        try:
            for _ in range(30):
                woken = threading.Event()
                stop = backend.watch([f"name/{number}"], lambda _, woken=woken: woken.set())
                put(other, f"name/{number}")
                assert woken.wait(PATIENCE)
                stop()
        except BaseException as error:  # told to the main thread, where it fails the test
            errors.append(error)

    workers = [threading.Thread(target=churn, args=(number,)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert not errors
    assert eventually(lambda: not threads())
    assert backend.read(["name/0"], timeout=TIMEOUT).seen["name/0"].stamp != ABSENT
