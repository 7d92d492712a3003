"""Which life of the store a ZooKeeper backend reads, with which floor, when servers and threads know it differently."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

pytest.importorskip("kazoo")

from leaderlock.errors import BackendUnavailable
from leaderlock_zookeeper import open_backend
from leaderlock_zookeeper._marks import Mark
from leaderlock_zookeeper._requests import Node

OLD, NEW = "0" * 32, "f" * 32


@pytest.fixture
def backend(monkeypatch):
    """One that has no server: its answers are what ``look`` says."""
    backend = open_backend("zk://127.0.0.1:1/", namespace="n")
    monkeypatch.setattr(backend._marks, "find", lambda deadline, *, least: NEW if OLD in backend._gone else OLD)
    return backend


@contextmanager
def answers(monkeypatch, backend, look):
    with monkeypatch.context() as patch:
        patch.setattr(backend, "_look", look)
        yield


def test_a_read_that_ends_after_another_has_seen_its_life_go_does_not_bring_that_back(backend, monkeypatch):
    def now(life, keys, deadline):
        return {}, Mark(5, 0, 1) if life == NEW else None, 1

    def a_moment_ago(life, keys, deadline):
        with answers(monkeypatch, backend, now):
            backend.read((), timeout=1)  # another thread, which asked later and was woken earlier
        return {}, Mark(1, 0, 1), 1

    with answers(monkeypatch, backend, a_moment_ago):
        backend.read((), timeout=1)
    with answers(monkeypatch, backend, now):
        view = backend.read((), timeout=1)

    assert view.memory == NEW


def test_a_life_that_was_seen_to_go_is_not_read_though_a_server_that_lags_behind_still_names_it(backend, monkeypatch):
    backend._note(OLD, is_gone=True)
    monkeypatch.setattr(backend._marks, "find", lambda deadline, *, least: OLD)

    with pytest.raises(BackendUnavailable, match="lags behind"):
        backend.read((), timeout=1)


def test_a_slow_thread_that_sees_the_old_life_go_does_not_take_away_the_new_one(backend):
    backend._note(NEW, is_gone=False)

    backend._note(OLD, is_gone=True)

    assert backend._life == NEW


def test_the_floor_of_a_server_that_lags_behind_is_the_highest_seen_and_the_next_life_begins_above(
    backend, monkeypatch
):
    zxids = iter([10, 5])
    with answers(monkeypatch, backend, lambda life, keys, deadline: ({}, Mark(100, 0, 1), next(zxids))):
        first, second = (backend.read((), timeout=1).floor for _ in range(2))
    backend._note(OLD, is_gone=True)
    asked = []
    monkeypatch.setattr(backend._marks, "find", lambda deadline, *, least: asked.append(least) or NEW)
    with answers(monkeypatch, backend, lambda life, keys, deadline: ({}, Mark(asked[0], 0, 1), 1)):
        third = backend.read((), timeout=1).floor

    assert (first, second) == (109, 109)
    assert third > second


def looking(monkeypatch, backend, nodes, *sessions):
    """Let the backend look by itself; each time that the session is asked for, it is the next of these."""
    numbers = iter(sessions)
    client = type("Client", (), {"last_zxid": 7, "client_id": property(lambda _: next(numbers))})()
    monkeypatch.setattr(backend, "_link", SimpleNamespace(place="zk", ready=lambda deadline: client))
    monkeypatch.setattr(backend, "_reads", SimpleNamespace(nodes=nodes))


def test_the_mark_is_read_last_so_that_what_was_read_before_is_of_its_life(backend, monkeypatch):
    asked = []

    def nodes(paths, deadline):
        asked.extend(paths)
        return [Node(b"x", 0, 1) for _ in paths[:-1]] + [Node(b"100", 0, 1)]

    looking(monkeypatch, backend, nodes, (1, b""), (1, b""))

    view = backend.read(["name/a", "name/b"], timeout=1)

    assert asked[-1] == backend._layout.life(OLD)
    assert view.seen["name/a"].value == b"x"
    assert view.floor == 106


@pytest.mark.parametrize("sessions", [[(1, b""), (2, b"")], [None, None]])
def test_a_zxid_of_another_session_than_the_answers_is_not_taken(backend, monkeypatch, sessions):
    looking(monkeypatch, backend, lambda paths, deadline: [Node(b"100", 0, 1)], *sessions)

    with pytest.raises(BackendUnavailable, match="session ended"):
        backend.read((), timeout=1)


def test_closing_in_a_forked_child_takes_no_lock_which_nobody_may_ever_free(backend):
    backend._link._pid = 0

    with backend._watches._lock, backend._link._lock:
        backend.close()
