"""Which life of the store a ZooKeeper backend reads, when its threads learn of the end of one at different times."""

from contextlib import contextmanager

import pytest

pytest.importorskip("kazoo")

from leaderlock_zookeeper import open_backend
from leaderlock_zookeeper._marks import Mark

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
