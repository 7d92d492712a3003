"""What is left and collected as garbage, which happens in the middle of anything, leads nothing on and stops nobody."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest

from leaderlock import aio
from leaderlock._aio.client import access_of
from leaderlock._client import engine_of
from leaderlock._protocol.events import RenewNow

EVERY_MINUTE = "* * * * *"


@pytest.fixture
def in_a_step(monkeypatch):
    """In the middle of a step of the engine's, on the thread that takes it."""

    def happen(engine, action):
        machine = engine._steps.machine
        handle = machine.handle

        def handle_later(event, now):
            monkeypatch.setattr(machine, "handle", handle)
            action()
            return handle(event, now)

        monkeypatch.setattr(machine, "handle", handle_later)
        engine.post(RenewNow())

    return happen


@pytest.fixture
def in_the_driver(store):
    """Where this thread holds a lock of the driver's, and another one waits for that with the engine's in its hands."""

    def happen(engine, action):
        with engine.locked():
            pass
        begun = threading.Event()

        def watch():
            with engine.locked():
                begun.set()
                engine.backend.watch(["name/other"], lambda _: None)()

        other = threading.Thread(target=watch)
        with store.core.lock:
            other.start()
            assert begun.wait(20)
            action()
        other.join(20)
        assert not other.is_alive()

    return happen


@pytest.fixture(params=["in_a_step", "in_the_driver"])
def collect(request):
    """Collect what is in this list, at such a moment."""
    happen = request.getfixturevalue(request.param)

    def go(engine, left):
        took = []

        def action():
            began = time.monotonic()
            left.clear()
            gc.collect()
            took.append(time.monotonic() - began)

        happen(engine, action)
        assert took[0] < 10

    return go


def candidates(engine):
    """Everybody here who leads, or seeks to."""
    return [candidacy.name for candidacy in engine._outward._owed.copy()]


def leave_in_loop(coroutine, begun):
    """A task that has got so far, and whose loop was closed."""
    left = []

    async def begin():
        left.append(asyncio.create_task(coroutine))
        while not begun:
            await asyncio.sleep(0.01)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.wait_for(begin(), 20))
    loop.close()
    left[0]._log_destroy_pending = False
    return left


# -- threads


def lead(client, begun):
    with client.election("a") as lease:
        begun.append(lease)
        yield


def run_tick(client, begun):
    with client.tick(EVERY_MINUTE, name="a", now=True) as tick:
        begun.append(tick)
        yield


@pytest.mark.parametrize("act", [lead, run_tick])
def test_a_generator_that_is_collected_leads_nothing_on(client, rival, collect, eventually, act):
    left = [act(client, begun := [])]
    next(left[0])
    begun.clear()

    collect(engine_of(client), left)

    eventually(lambda: not candidates(engine_of(client)))
    eventually(lambda: rival.election("a").leader() is None)


def test_a_generator_that_is_closed_can_be_made_again_at_once(client):
    for _ in range(50):
        generator = lead(client, begun := [])
        next(generator)
        generator.close()
        assert not begun[0].is_held


# -- coroutines


async def lead_in_loop(client, begun):
    async with client.election("a"):
        begun.append("leads")
        await asyncio.sleep(3600)


async def lead_until_lost(client, begun):
    async with client.election("a", on_loss="cancel"):
        begun.append("leads")
        await asyncio.sleep(3600)


async def lead_while_it_lasts(client, begun):
    async with client.election("a") as lease:
        begun.append("leads")
        await lease.wait_lost()


async def run_tick_in_loop(client, begun):
    async with client.tick(EVERY_MINUTE, name="a", now=True, max_run=60, on_loss="cancel"):
        begun.append("runs")
        await asyncio.sleep(3600)


@pytest.mark.parametrize("act", [lead_in_loop, lead_until_lost, lead_while_it_lasts, run_tick_in_loop])
def test_a_coroutine_that_is_collected_leads_nothing_on(aio_client, rival, collect, eventually, act):
    left = leave_in_loop(act(aio_client, begun := []), begun)
    engine = engine_of(access_of(aio_client).client)

    collect(engine, left)

    eventually(lambda: not candidates(engine))
    eventually(lambda: rival.election("a").leader() is None)
    asyncio.run(aio_client.close())


def test_a_client_whose_body_is_collected_is_closed(store, rival, collect, eventually):
    async def hold(begun):
        async with aio.connect(store.backend()) as client:
            await client.election("a").campaign()
            begun.append(access_of(client))
            await asyncio.sleep(3600)

    left = leave_in_loop(hold(begun := []), begun)
    # Held, as Python might collect the client first, which does not wait for anything then.
    engine = engine_of(begun[0].client)

    collect(engine, left)

    eventually(lambda: engine.is_closed)
    eventually(lambda: rival.election("a").leader() is None)


async def wait_for_one(client, begun):
    await client.election("a").campaign(on_waiting=begun.append)


async def wait_for_many(client, begun):
    asyncio.get_running_loop().call_later(0.1, begun.append, "waits")
    await client.campaign_all(["a", "b"])


@pytest.mark.parametrize("act", [wait_for_one, wait_for_many])
def test_a_campaign_whose_loop_was_closed_is_collected_and_seeks_nothing_on(
    aio_client, rival, collect, eventually, act
):
    rival.campaign_all(["a", "b"])
    left = leave_in_loop(act(aio_client, begun := []), begun)
    engine = engine_of(access_of(aio_client).client)
    assert "a" in candidates(engine)

    collect(engine, left)

    eventually(lambda: not candidates(engine))
    asyncio.run(aio_client.close())


@pytest.mark.parametrize("act", [wait_for_one, wait_for_many])
def test_a_campaign_in_a_loop_that_runs_on_needs_nobody_else_to_hold_its_task(aio_client, rival, in_loop, soon, act):
    async def main():
        async with aio_client:
            rivals = rival.campaign_all(["a", "b"])
            task = weakref.ref(asyncio.create_task(act(aio_client, begun := [])))
            await soon(lambda: begun)
            gc.collect()
            engine = engine_of(access_of(aio_client).client)
            assert "a" in candidates(engine)
            for lease in rivals.values():
                lease.resign()
            await soon(lambda: "a" in engine._outward.leading())
            await soon(lambda: (there := task()) is None or there.done())

    in_loop(main)
