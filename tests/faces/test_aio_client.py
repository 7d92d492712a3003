"""The asyncio client as a whole: it blocks no loop, belongs to none, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from leaderlock import (
    BackendRefused,
    CampaignTimeout,
    LeaseLost,
    LossReason,
    NotLeader,
    UsageError,
    aio,
    connect,
)
from leaderlock._client import engine_of
from leaderlock.testing import Fault, FaultyBackend, MemoryStore

CAMPAIGNS = 1_000


# -- nothing blocks the loop


def test_the_store_is_opened_once_on_first_use_and_not_in_the_loop(in_loop, store, monkeypatch):
    opened = []

    def open_slowly(url, *, namespace):
        opened.append(threading.get_ident())
        time.sleep(0.1)
        return store.backend(namespace=namespace)

    monkeypatch.setattr("leaderlock.testing.open_backend", open_slowly)

    async def main():
        client = aio.connect("memory:")
        assert not opened
        assert "not opened yet" in repr(client)
        with pytest.raises(UsageError, match="not opened"):
            _ = client.traits
        turns = 0

        async def turn():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        turning = asyncio.create_task(turn())
        leases = await asyncio.gather(*(client.election(f"n{number}").campaign() for number in range(20)))
        turning.cancel()
        assert all(lease.is_held for lease in leases)
        assert turns > 10
        assert client.traits.store
        await client.close()

    in_loop(main)

    assert len(opened) == 1
    assert opened[0] != threading.get_ident()


def test_what_is_wrong_with_an_argument_is_told_at_once_and_with_the_store_on_entering(in_loop, monkeypatch, tmp_path):
    monkeypatch.delenv("LEADERLOCK_URL", raising=False)
    for wrong in (
        aio.connect,
        lambda: aio.connect("no-url"),
        lambda: aio.connect("memory:", ttl=-1),
        lambda: aio.connect("memory:", namespace="a/b"),
        lambda: aio.connect(MemoryStore().backend(), option=1),
    ):
        with pytest.raises((ValueError, TypeError)):
            wrong()
    (tmp_path / "file").write_text("no database, but long enough to look like one" * 100)

    async def main():
        with pytest.raises(ValueError, match="no driver for 'nowhere'"):
            async with aio.connect("nowhere:"):
                pytest.fail("entered")
        async with aio.connect("memory:", ttl=2, longest=2) as client:
            assert client.ttl == 2
            assert client.namespace == "default"
            for wrong in (
                lambda: client.election(""),
                lambda: client.election("a", timeout=-1),
                lambda: client.election("a", timeout="1"),
            ):
                with pytest.raises((ValueError, TypeError)):
                    wrong()
        with pytest.raises(BackendRefused):
            async with aio.connect(f"sqlite:///{tmp_path}/file") as client:
                await client.election("a").campaign(timeout=5)

    in_loop(main)


def test_the_loop_turns_while_the_store_hangs(in_loop, aio_client, backend):
    longest = 0.0

    async def turn():
        nonlocal longest
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            longest, before = max(longest, time.perf_counter() - before), time.perf_counter()

    async def main():
        async with aio_client:
            lease = await aio_client.election("a").campaign()
            turning = asyncio.create_task(turn())
            with backend.delay(0.3, times=None):
                await asyncio.gather(
                    lease.save_note(b"x"),
                    aio_client.election("b").campaign(),
                    aio_client.status("a"),
                    aio_client.names(),
                    aio_client.job("c"),
                )
                await lease.resign()
            turning.cancel()

    in_loop(main)

    assert longest < 0.25


def test_a_thousand_campaigns_wait_on_no_more_threads_than_one(in_loop, open_client, store):
    rival = open_client(store.backend())
    names = [f"n{number}" for number in range(CAMPAIGNS)]
    leases = rival.campaign_all(names)

    async def main():
        async with aio.connect(store.backend()) as client:
            seeking = [asyncio.create_task(client.election(name).campaign(timeout=300)) for name in names]
            while len(engine_of(client._access.client)._watches) < CAMPAIGNS:
                await asyncio.sleep(0.01)
            threads = [thread for thread in threading.enumerate() if thread not in before]
            assert len(threads) <= 6, threads
            await asyncio.to_thread(lambda: [lease.resign(timeout=0) for lease in leases.values()])
            won = await asyncio.gather(*seeking)
            assert len({lease.name for lease in won if lease.is_held}) == CAMPAIGNS
            assert all(lease.token > leases[lease.name].token for lease in won)
            observing = [asyncio.create_task(anext(client.election(name).observe())) for name in names[:200]]
            assert {term.token for term in await asyncio.gather(*observing)} == {lease.token for lease in won[:200]}
            assert len([thread for thread in threading.enumerate() if thread not in before]) <= 10

    before = set(threading.enumerate())
    in_loop(main)


def test_two_programs_take_turns_on_a_real_file(in_loop, tmp_path):
    url = f"sqlite:///{tmp_path}/store"
    acting = []

    async def work(client, times):
        for _ in range(times):
            async with client.election("a", timeout=30) as lease:
                acting.append(lease.token)
                count = len(acting)
                await asyncio.sleep(0.001)
                lease.check()
                assert len(acting) == count, "two at a time"

    async def main():
        async with aio.connect(url) as one, aio.connect(url) as other:
            await asyncio.gather(work(one, 15), work(other, 15))

    in_loop(main)

    assert acting == sorted(set(acting))
    assert len(acting) == 30


# -- the rest of what the sync client offers


def test_many_names_are_sought_at_once(in_loop, aio_client, rival):
    async def main():
        async with aio_client:
            leases = await aio_client.campaign_all(["a", "b", "c", "b"], wait=False)
            assert set(leases) == {"a", "c"}
            assert all(lease.is_held for lease in leases.values())
            assert await aio_client.campaign_all(["b"], timeout=0) == {}
            with pytest.raises(UsageError, match="already leads"):
                await aio_client.campaign_all(["d", "a"])
            assert set(await aio_client.campaign_all(["d"], timeout=0)) == {"d"}
            assert await aio_client.names() == ["a", "b", "c", "d"]
            status = await aio_client.status("b")
            assert status.term.token == lease.token
            assert aio_client.now().tzinfo is not None

    with rival.election("b") as lease:
        in_loop(main)


def test_a_leader_is_asked_to_go(in_loop, aio_client, rival, clock, soon):
    async def main():
        async with aio_client:
            assert await aio_client.resign("a") is False
            lease = rival.election("a").campaign()
            asking = asyncio.create_task(aio_client.resign("a"))
            await soon(asking.done, clock)
            assert await asking is True
            assert lease.lost_reason is LossReason.YIELDED
            other = rival.election("a").campaign()
            with pytest.raises(CampaignTimeout, match="has not released it yet"):
                await aio_client.resign("a", timeout=0)
            assert await aio_client.resign("a", now=True) is True
            assert (await aio_client.election("a").campaign()).token > other.token

    in_loop(main)


def test_a_namespace_is_declared_free(in_loop, aio_client):
    async def main():
        async with aio_client:
            assert await aio_client.init() is True
            assert await aio_client.init() is False

    in_loop(main)


def test_a_job_is_paused_and_goes_on(in_loop, aio_client, rival):
    async def main():
        async with aio_client:
            assert await aio_client.job("job") is None
            assert rival.tick(60, name="job").run(lambda: None)
            assert (await aio_client.job("job")).history
            assert await aio_client.pause("job") is True
            assert await aio_client.pause("job") is False
            assert (await aio_client.job("job")).paused_by
            assert await aio_client.resume("job") is True
            async with aio_client.election("other") as lease:
                await lease.save_note(b"no job's")
            with pytest.raises(UsageError, match="cannot be paused"):
                await aio_client.pause("other")

    in_loop(main)


def test_a_request_that_was_lost_is_made_again(in_loop, aio_client, rival, clock, soon, forget_requests):
    async def main():
        async with aio_client:
            lease = rival.election("a").campaign()
            asking = asyncio.create_task(aio_client.resign("a"))
            await soon(forget_requests)
            await soon(asking.done, clock)
            assert await asking is True
            assert lease.lost_reason is LossReason.YIELDED

    in_loop(main)


def test_a_note_is_kept_and_goes_with_the_resignation(in_loop, aio_client, rival):
    async def main():
        async with aio_client, aio_client.election("a") as lease:
            await lease.save_note(b"one")
            assert lease.note == b"one"
            assert not lease._course._listeners, "each note would leave one behind"
            with pytest.raises(TypeError, match="bytes"):
                await lease.save_note("text")
            assert await lease.resign(note=b"two")
            with pytest.raises(LeaseLost, match="resigned"):
                await lease.save_note(b"three")
        assert rival.election("a").campaign().note == b"two"

    in_loop(main)


def test_a_release_that_the_store_never_heard_of_is_not_acknowledged(in_loop, aio_client, backend, clock, soon):
    async def main():
        async with aio_client:
            lease = await aio_client.election("a").campaign()
            with backend.inject(Fault.NEVER_SENT, op="any", times=None):
                resigning = asyncio.ensure_future(lease.resign(timeout=600, note=b"two"))
                await soon(lambda: lease.state == "resigned")
                await soon(resigning.done, clock)
                assert not await resigning
        assert not await lease.resign()

    in_loop(main)


def test_a_loss_is_told_in_the_loop_and_waited_for(in_loop, aio_client, clock, soon):
    told = []

    async def main():
        async with aio_client:
            lease = await aio_client.election("a").campaign()
            thread = threading.get_ident()
            lease.on_lost(lambda lost: told.append((lost == lease, threading.get_ident() == thread)))
            with pytest.raises(TypeError, match="coroutine function"):
                lease.on_lost(asyncio.sleep)
            with pytest.raises(TypeError, match="takes a function"):
                lease.on_lost(None)
            assert await lease.wait_lost(timeout=0) is None
            waiting = asyncio.create_task(lease.wait_lost())
            clock.advance(60)
            assert await waiting is LossReason.EXPIRED
            await soon(lambda: told)
            lease.on_lost(told.append)
            await soon(lambda: len(told) == 2)
            assert lease.lost_reason is LossReason.EXPIRED
            assert lease.remaining <= 0
            assert "lost" in repr(lease)

    in_loop(main)

    assert told[0] == (True, True)


def test_a_callback_that_raises_is_told_to_the_loop_and_harms_nobody(client, clock, soon, aio_client):
    troubles = []

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context["exception"]))
        async with aio_client:
            lease = await aio_client.election("a").campaign()
            lease.on_lost(lambda _: 1 / 0)
            clock.advance(60)
            await soon(lambda: troubles)

    asyncio.run(main())

    assert isinstance(troubles[0], ZeroDivisionError)


# -- the end


def test_closing_frees_every_name_ends_every_thread_and_may_be_done_twice(in_loop, aio_client, rival):
    async def main():
        async with aio_client:
            lease = await aio_client.election("a").campaign()
        assert lease.lost_reason is LossReason.CLOSED
        await aio_client.close()
        for call in (
            aio_client._access.engine,
            aio_client.names,
            aio_client.election("a").campaign,
            aio_client.__aenter__,
        ):
            with pytest.raises(UsageError, match="closed"):
                await call()
        assert not await lease.resign()
        assert rival.election("a").campaign(timeout=0).is_held

    in_loop(main)


def test_a_client_that_was_never_used_is_closed_and_opens_nothing(in_loop, tmp_path):
    async def main():
        await aio.connect(f"sqlite:///{tmp_path}/store").close()

    in_loop(main)

    assert not list(tmp_path.iterdir())


def test_closing_that_is_cancelled_closes_all_the_same(in_loop, aio_client, backend, rival):
    async def main():
        await aio_client.election("a").campaign()
        backend.delay(0.2, op="swap", times=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await aio_client.close()

    in_loop(main)

    assert rival.election("a").campaign(timeout=10).is_held


def test_entering_that_is_cancelled_leaves_nothing_open(in_loop, store, monkeypatch, eventually):
    opened = []

    def open_slowly(url, *, namespace):
        time.sleep(0.1)
        opened.append(store.backend(namespace=namespace))
        return opened[-1]

    monkeypatch.setattr("leaderlock.testing.open_backend", open_slowly)

    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02), aio.connect("memory:"):
                pytest.fail("entered")

    in_loop(main)

    eventually(lambda: opened and opened[0]._is_closed)


def test_a_client_that_is_forgotten_warns_and_its_threads_end(in_loop, store):
    async def main():
        client = aio.connect(store.backend())
        lease = await client.election("a").campaign()
        assert lease.is_held
        holder = [client]
        del client
        with pytest.warns(ResourceWarning, match="was not closed"):
            holder.clear()
        assert not lease.is_held

    in_loop(main)


def test_a_lease_outlives_its_loop_until_the_client_is_closed(store, in_loop):
    """A loop that is closed in the middle of things, and another one that goes on with the same client."""
    client = aio.connect(store.backend(), ttl=1.0, longest=1.0)
    loop = asyncio.new_event_loop()
    lease = loop.run_until_complete(client.election("a").campaign())
    waiting = loop.create_task(lease.wait_lost())
    loop.call_soon(lease.on_lost, lambda _: pytest.fail("called in a closed loop"))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    time.sleep(1.5)
    lease.check()

    async def main():
        lease.check()
        await lease.save_note(b"from another loop")
        waits = asyncio.create_task(lease.wait_lost())
        await asyncio.sleep(0)
        await client.close()
        assert await waits is LossReason.CLOSED

    in_loop(main)
    waiting._log_destroy_pending = False


def test_a_body_whose_loop_was_closed_resigns_when_it_is_collected(store, open_client, eventually):
    rival = open_client(store.backend())
    client = aio.connect(store.backend())

    async def lead():
        async with client.election("a"):
            await asyncio.sleep(3600)

    loop = asyncio.new_event_loop()
    task = loop.create_task(lead())
    loop.run_until_complete(asyncio.wait([task], timeout=0.2))
    loop.close()
    with pytest.raises(NotLeader):
        rival.election("a").campaign(wait=False)
    task._log_destroy_pending = False
    del task
    gc.collect()

    assert rival.election("a").campaign(timeout=10).is_held
    asyncio.run(client.close())


def test_one_client_serves_two_loops_at_once(store):
    client = aio.connect(store.backend())
    held = []
    both = threading.Barrier(2)

    async def main(name):
        async with client.election(name) as lease:
            await asyncio.to_thread(both.wait, 20)
            held.append(lease.is_held)
            await asyncio.to_thread(both.wait, 20)

    threads = [threading.Thread(target=asyncio.run, args=(main(name),)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    asyncio.run(client.close())

    assert held == [True, True]


PROGRAM = """
import asyncio, signal, sys
from leaderlock import aio
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored

async def main():
    async with aio.connect(sys.argv[1]) as client:
        async with client.election("a") as lease:
            print("leads", flush=True)
            await asyncio.sleep(60)

try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_program_and_its_lease(tmp_path):
    url = f"sqlite:///{tmp_path}/store"
    command = [sys.executable, "-W", "error", "-c", PROGRAM, url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "leads\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert (out, err, process.returncode) == ("interrupted\n", "", 0)
    with connect(url) as client:
        assert client.election("a").campaign(timeout=0).is_held


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_forked_child_holds_nothing_and_begins_anew(run_program, tmp_path):
    program = """
import asyncio, os, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from leaderlock import LeaseLost, UsageError, aio
client = aio.connect(sys.argv[1])

async def parent():
    return await client.election("a").campaign()

async def child():
    assert not lease.is_held
    assert lease.lost_reason.value == "forked"
    assert (await lease.wait_lost()).value == "forked"
    for call in (lambda: lease.save_note(b""), lambda: lease.ensure(1)):
        try:
            await call()
        except LeaseLost as lost:
            assert lost.reason == "forked"
        else:
            raise AssertionError("did not raise")
    try:
        await lease.resign()
    except UsageError as error:
        assert "parent" in str(error)
    async with client.election("b", timeout=10) as mine:
        assert mine.holder.pid == os.getpid()
        assert (await client.election("a").leader()).holder.pid == os.getppid()
    await client.close()

lease = asyncio.run(parent())
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(child())
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    until = time.monotonic() + 30
    while (done := os.waitpid(pid, os.WNOHANG))[0] == 0:
        assert time.monotonic() < until, "the child hangs"
        time.sleep(0.01)
    assert done[1] == 0
lease.check()
asyncio.run(client.close())
"""
    done = run_program(program, f"sqlite:///{tmp_path}/store")

    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_that_never_closes_its_client_ends_and_frees_its_names(run_program, tmp_path):
    program = """
import asyncio, sys
from leaderlock import aio
client = aio.connect(sys.argv[1])
async def main():
    global lease
    lease = await client.election("a").campaign()
asyncio.run(main())
"""
    url = f"sqlite:///{tmp_path}/store"
    done = run_program(program, url)

    assert (done.returncode, done.stderr) == (0, "")
    with connect(url) as client:
        assert client.election("a").campaign(timeout=0).is_held


def test_importing_leaderlock_does_not_import_asyncio(run_program):
    program = "import sys, leaderlock; leaderlock.only_on_leader; leaderlock.Client; print('asyncio' in sys.modules)"

    assert run_program(program).stdout == "False\n"


def test_answers_that_are_lost_are_looked_for(in_loop, store):
    """The rim has no rule of its own: a take whose answer was lost is found, a release is made again."""

    async def main():
        backend = FaultyBackend(store.backend())
        async with aio.connect(backend) as client:
            for fault in (Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.NEVER_SENT):
                backend.inject(fault, when=lambda keys: any(key.startswith("name/") for key in keys))
                lease = await client.election("a").campaign(timeout=30)
                backend.inject(fault, when=lambda keys: any(key.startswith("name/") for key in keys))
                assert await lease.resign()

    in_loop(main)
