"""Ticks in asyncio: the same rules as for threads, and nobody who waits parks a thread."""

# ruff: noqa: PT012 - what becomes of a whole body is what is tested

from __future__ import annotations

import asyncio
import gc
import itertools
import threading

import pytest

from leaderlock import (
    Ending,
    LeaseLost,
    Ran,
    Skipped,
    SkipReason,
    TickSkipped,
    UsageError,
    aio,
    current,
    current_tick,
    once_per_tick,
    only_on_leader,
)
from leaderlock._aio.ticking import AsyncTicking
from leaderlock._client import engine_of
from leaderlock._ticks.held import Held
from leaderlock.testing import Fault

MINUTE = 60.0


async def work(prefix: str = "") -> str:
    tick = current_tick()
    assert tick is not None
    assert current() is tick.lease
    assert aio.current() is not None
    await asyncio.sleep(0)
    return f"{prefix}{tick.at:%H:%M}"


def test_one_of_two_hosts_runs_and_the_other_is_told_who_did(in_loop, aio_client, rival):
    async def main():
        async with aio_client:
            ran = await aio_client.tick(MINUTE, name="job").run(work, "the tick of ")
            assert isinstance(ran, Ran)
            assert ran.result == "the tick of 22:13"
            for _ in range(2):  # who is skipped makes room for the next call, too
                again = await aio_client.tick(MINUTE, name="job").run(work)
                assert isinstance(again, Skipped)
                assert again.reason is SkipReason.DONE
            assert current_tick() is None
            assert aio.current() is None
            return ran

    ran = in_loop(main)
    theirs = rival.tick(MINUTE, name="job").run(lambda: None)

    assert theirs.reason is SkipReason.DONE
    assert theirs.tick == ran.tick


def test_a_body_runs_once_and_is_skipped_after_that(in_loop, aio_client, rival):
    async def main():
        async with aio_client:
            ticking = aio_client.tick(MINUTE, name="job")
            async with ticking as tick:
                tick.check()
                assert current_tick() is tick
            with pytest.raises(TickSkipped, match="done"):
                async with ticking:
                    pytest.fail("ran twice")
            with pytest.raises(TickSkipped, match="not due"):
                async with aio_client.tick("0 4 * * *", name="other"):
                    pytest.fail("ran")
            return (await aio_client.job("job")).history

    [outcome] = in_loop(main)

    assert outcome.how is Ending.OK


def test_many_tasks_of_one_process_run_a_tick_once(in_loop, aio_client):
    async def main():
        async with aio_client:
            before = threading.active_count()
            outcomes = await asyncio.gather(*(aio_client.tick(MINUTE, name="job").run(work) for _ in range(100)))
            assert threading.active_count() <= before + 6
            return outcomes

    outcomes = in_loop(main)

    assert [type(outcome) for outcome in outcomes].count(Ran) == 1


def test_who_queues_runs_after_the_run_before_without_a_thread(in_loop, aio_client, clock, soon):
    ran = []

    async def main():
        async with aio_client:
            begun, go_on = asyncio.Event(), asyncio.Event()

            async def first():
                lease = current()
                for _ in range(12):  # a minute, a renewal at a time
                    clock.advance(5)
                    await soon(lambda: lease.remaining > 10)
                begun.set()
                await go_on.wait()
                ran.append("first")

            async def second():
                ran.append("second")

            options = {"name": "job", "runs": "at-least-once"}
            running = asyncio.create_task(aio_client.tick(MINUTE, **options).run(first))
            await begun.wait()
            queued = asyncio.create_task(aio_client.tick(MINUTE, **options).run(second))
            await asyncio.sleep(0.05)
            assert not queued.done()
            go_on.set()
            assert await running
            assert await queued

    in_loop(main)

    assert ran == ["first", "second"]


@pytest.mark.parametrize("is_body", [True, False])
def test_a_cancelled_run_is_interrupted_and_run_again_by_who_stands_by(in_loop, aio_client, rival, soon, is_body):
    async def main():
        async with aio_client:
            begun = asyncio.Event()

            async def forever():
                begun.set()
                await asyncio.sleep(60)

            async def body():
                async with aio_client.tick(MINUTE, name="job", runs="at-least-once"):
                    await forever()

            ticking = aio_client.tick(MINUTE, name="job", runs="at-least-once")
            running = asyncio.create_task(body() if is_body else ticking.run(forever))
            await begun.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            return await asyncio.to_thread(
                rival.tick(MINUTE, name="job", runs="at-least-once").run, lambda: current_tick().attempt
            )

    assert in_loop(main).result == 2


def test_who_is_cancelled_while_he_stands_by_leaves_the_turn_to_others(in_loop, aio_client, rival, soon):
    async def main():
        async with aio_client:
            with rival.tick(MINUTE, name="job", runs="at-least-once"):
                standing_by = asyncio.create_task(aio_client.tick(MINUTE, name="job", runs="at-least-once").run(work))
                queued = asyncio.create_task(aio_client.tick(MINUTE, name="job", runs="at-least-once").run(work))
                await soon(lambda: len(engine_of(aio_client._access.client)._watches))
                standing_by.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await standing_by
                await asyncio.sleep(0.02)
            assert (await queued).reason is SkipReason.DONE

    in_loop(main)


@pytest.mark.parametrize("turns", range(10))
def test_a_call_cancelled_at_any_moment_keeps_nobody_from_the_job(in_loop, aio_client, turns):
    async def main():
        async with aio_client:
            call = asyncio.create_task(aio_client.tick(MINUTE, name="job", now=True).run(work))
            for _ in range(turns):
                await asyncio.sleep(0.0004)
            call.cancel()
            await asyncio.wait([call])
            assert await aio_client.tick(name="job", now=True).run(work)

    in_loop(main)


def test_what_fails_is_run_again_with_pauses_and_its_error_comes_through(in_loop, aio_client, clock, soon):
    attempts = []

    async def failing():
        attempts.append(clock.boot())
        raise KeyError("mine")

    async def main():
        async with aio_client:
            ticking = aio_client.tick(
                MINUTE, name="job", runs="at-least-once", retries=2, back_off=lambda state: 2.0, window=1000
            )
            running = asyncio.create_task(ticking.run(failing))
            await soon(running.done, clock)
            with pytest.raises(KeyError):
                await running
            return (await aio_client.job("job")).history

    [outcome] = in_loop(main)

    assert len(attempts) == 3
    assert all(later - earlier >= 2 for earlier, later in itertools.pairwise(attempts))
    assert outcome.how is Ending.FAILED
    assert outcome.attempt == 3


def test_a_loss_during_the_run_is_told_and_can_cancel_it(in_loop, aio_client, clock):
    async def lose():
        clock.advance(60)
        await asyncio.sleep(60)

    async def main():
        async with aio_client:
            with pytest.raises(LeaseLost, match="was cancelled"):
                await aio_client.tick(name="job", now=True, on_loss="cancel").run(lose)
            with pytest.raises(LeaseLost, match="was cancelled"):
                async with aio_client.tick(name="other", now=True, on_loss="cancel"):
                    await lose()
            with pytest.raises(LeaseLost):
                async with aio_client.tick(name="third", now=True):
                    clock.advance(60)
            assert asyncio.current_task().cancelling() == 0

    in_loop(main)


def test_a_run_that_is_over_is_not_kept_until_it_would_have_taken_too_long(in_loop, aio_client):
    def runs_kept() -> int:
        gc.collect()
        return sum(isinstance(one, Held) for one in gc.get_objects())

    async def main():
        before = runs_kept()
        async with aio_client:
            for _ in range(300):
                async with aio_client.tick(name="job", now=True, max_run=3600, on_loss="cancel"):
                    pass
            return runs_kept() - before

    assert in_loop(main) < 150


def test_a_run_that_takes_too_long_is_cut_and_can_be_cancelled(in_loop, aio_client, clock, soon):
    async def main():
        async with aio_client:
            with pytest.raises(LeaseLost) as caught:
                async with aio_client.tick(MINUTE, name="job", max_run=5, on_loss="cancel") as tick:
                    waiting = asyncio.create_task(soon(lambda: tick.overran, clock))
                    await asyncio.sleep(60)
            assert caught.value.reason == "too long"
            await waiting
            with pytest.raises(LeaseLost) as caught:
                tick.check()
            assert caught.value.reason == "too long"
            while not (history := (await aio_client.job("job")).history):
                await asyncio.sleep(0.001)  # it is written down behind
            return history

    [outcome] = in_loop(main)

    assert outcome.how is Ending.TOO_LONG


def test_a_run_that_had_taken_too_long_before_it_began_is_cancelled(
    in_loop, aio_client, clock, eventually, monkeypatch
):
    """As where the process stood still between the claim and the body."""
    enter, ran_on = AsyncTicking._enter, []

    def enter_late(ticking, held):
        eventually(lambda: clock.advance(1) or held.tick.overran)
        return enter(ticking, held)

    async def main():
        async with aio_client:
            monkeypatch.setattr(AsyncTicking, "_enter", enter_late)
            with pytest.raises(LeaseLost) as caught:
                async with aio_client.tick(MINUTE, name="job", max_run=5, on_loss="cancel"):
                    await asyncio.sleep(5)
                    ran_on.append("to the end")
            assert caught.value.reason == "too long"

    in_loop(main)

    assert not ran_on


def test_the_body_s_error_comes_before_the_loss(in_loop, aio_client, clock):
    async def main():
        async with aio_client:
            with pytest.raises(KeyError) as caught:
                async with aio_client.tick(name="job", now=True):
                    clock.advance(60)
                    raise KeyError("mine")
            assert any("was lost" in note for note in caught.value.__notes__)

    in_loop(main)


def test_what_would_block_the_loop_or_means_nothing_is_refused(in_loop, aio_client):
    async def main():
        async with aio_client:
            with pytest.raises(TypeError, match="coroutine function"):
                await aio_client.tick(name="job", now=True).run(print)
            with pytest.raises(TypeError, match="needs a schedule"):
                aio_client.tick(name="job")
            with pytest.raises(ValueError, match="'finish', 'cancel'"):
                aio_client.tick(name="job", now=True, on_loss="exit")
            async with aio_client.election("led") as lease:
                await lease.save_note(b"no job's")
            with pytest.raises(UsageError, match="cannot be run as a job"):
                await aio_client.tick(name="led", now=True).run(work)

    in_loop(main)


def test_a_store_that_hangs_does_not_let_a_time_out_around_a_tick_wait(in_loop, aio_client, backend):
    async def main():
        async with aio_client:
            with backend.inject(Fault.HANG, op="any", times=None):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await aio_client.tick(name="job", now=True).run(work)
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.02), aio_client.tick(name="job2", now=True):
                        pytest.fail("entered")
            backend.release_hung()

    in_loop(main)


@pytest.mark.parametrize("is_for_asyncio", [True, False])
def test_a_coroutine_function_runs_once_for_each_tick(in_loop, aio_client, client, is_for_asyncio):
    @once_per_tick(MINUTE, name="job", client=aio_client if is_for_asyncio else client)
    async def job(word: str) -> str:
        return await work(word)

    async def main():
        first, second = await job("at "), await job("at ")
        assert first.result == "at 22:13"
        assert second.reason is SkipReason.DONE
        await aio_client.close()

    in_loop(main)


def test_an_asyncio_client_guards_coroutine_functions_and_no_others(in_loop, aio_client):
    @only_on_leader("a", client=aio_client)
    async def job():
        return aio.current().token

    async def main():
        async with aio_client:
            assert await job() > 0
            for decorator in (only_on_leader("a", client=aio_client), once_per_tick(60, name="b", client=aio_client)):
                with pytest.raises(TypeError, match="coroutine functions"):
                    decorator(print)
        for decorate in (lambda: only_on_leader("a", client=7), lambda: once_per_tick(60, name="a", client=7)):
            with pytest.raises(TypeError, match="not int"):
                decorate()

    in_loop(main)
