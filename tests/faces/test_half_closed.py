"""What Ctrl-C stops half-way, or crosses another thread, at an end leaves nothing on: no lease, no watch, no thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from leaderlock import ABSENT, LeaseLost, UsageError, Write, aio, connect
from leaderlock._engine import Engine
from leaderlock.testing import MemoryStore
from leaderlock.watching import Watches
from leaderlock_sqlite import open_backend as open_sqlite


def own_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("leaderlock")]


def interrupt_once(monkeypatch, owner, name):
    """The first call of it is interrupted before it has done anything."""
    original, calls = getattr(owner, name), []

    def call(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(owner, name, call)


def test_a_client_whose_close_was_interrupted_at_once_and_that_nobody_holds_leads_nothing_on(monkeypatch, eventually):
    interrupt_once(monkeypatch, Engine, "close")
    leases = []
    with pytest.raises(KeyboardInterrupt), connect(MemoryStore().backend(), ttl=0.6) as client:
        leases.append(client.election("a").campaign())

    del client

    assert not leases[0].is_held
    eventually(lambda: not own_threads())


@pytest.mark.parametrize(
    "open_backend",
    [
        pytest.param(lambda path: open_sqlite(f"sqlite:///{path / 'x.db'}", namespace="n"), id="sqlite"),
        pytest.param(
            lambda _: pytest.importorskip("leaderlock_redis").open_backend("redis://127.0.0.1:1", namespace="n"),
            id="redis",
        ),
    ],
)
def test_a_driver_whose_close_was_interrupted_half_way_is_closed_by_the_next_one(
    tmp_path, monkeypatch, eventually, open_backend
):
    backend = open_backend(tmp_path)
    backend.watch(["name/a"], lambda _: None)
    interrupt_once(monkeypatch, Watches, "close")
    with pytest.raises(KeyboardInterrupt):
        backend.close()

    backend.close()

    eventually(lambda: not own_threads())


def test_a_watch_that_crosses_the_close_of_its_backend_is_not_left_in_the_store(monkeypatch):
    store = MemoryStore()
    backend, other = store.backend(), store.backend()
    check, woken = backend._check_usable, []

    def close_behind():
        monkeypatch.setattr(backend, "_check_usable", check)
        check()
        backend.close()

    monkeypatch.setattr(backend, "_check_usable", close_behind)
    with pytest.raises(UsageError, match="closed"):
        backend.watch(["name/a"], woken.append)

    other.swap([Write("name/a", ABSENT, b"x")], store.core.memory, timeout=1)

    assert not woken
    assert not any(space.watches for space in store.core.spaces.values())


def test_two_bodies_of_one_election_that_are_left_at_once_in_two_loops_are_each_left(
    monkeypatch, in_background, eventually
):
    """One acts under a lease that was lost and has not noticed it yet, the other under the next one."""
    store = MemoryStore()
    client, other = aio.connect(store.backend(), ttl=0.6), connect(store.backend(), ttl=0.6)
    election = client.election("a")
    is_lost, first_may_leave, first_has_left = threading.Event(), threading.Event(), threading.Event()
    find = election._mine

    def find_slowly():
        found = find()
        if not first_may_leave.is_set():
            first_may_leave.set()
            assert first_has_left.wait(20)
        return found

    async def first():
        try:
            async with election as lease:
                await asyncio.to_thread(other.resign, "a", now=True)
                await lease.wait_lost()
                is_lost.set()
                await asyncio.to_thread(first_may_leave.wait, 20)
        finally:
            first_has_left.set()

    async def second():
        async with election as lease:
            pass
        return lease.state

    one = in_background(lambda: asyncio.run(first()))
    eventually(is_lost.is_set)
    monkeypatch.setattr(election, "_mine", find_slowly)
    another = in_background(lambda: asyncio.run(second()))
    eventually(lambda: one and another)
    asyncio.run(client.close())
    other.close()

    assert isinstance(one[0], LeaseLost)
    assert another == ["resigned"]
