"""``@only_on_leader`` on coroutine functions: the loop is never blocked, and a loss can cancel."""

from __future__ import annotations

import asyncio
import time

import pytest

from leaderlock import LeaseLost, NotLeader, UsageError, current, only_on_leader
from leaderlock._client import engine_of


async def until(is_true, clock=None):
    deadline = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline
        if clock is not None:
            clock.advance(0.05)
        await asyncio.sleep(0.002)


def test_a_leader_runs_skips_or_raises(client, rival):
    async def job():
        await asyncio.sleep(0)
        return current().token

    async def main():
        assert await only_on_leader("a", client=client)(job)() > 0
        assert await only_on_leader("a", client=rival)(job)() is None
        with pytest.raises(NotLeader):
            await only_on_leader("a", client=rival, otherwise="raise")(job)()

    asyncio.run(main())


def test_the_loop_runs_on_while_a_coroutine_waits_to_be_elected(client, rival):
    lease = rival.election("a").campaign()

    @only_on_leader("a", client=client, otherwise="wait")
    async def job():
        return current().token

    async def main():
        waiting = asyncio.create_task(job())
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not waiting.done()
        await asyncio.to_thread(lease.resign)
        assert await asyncio.wait_for(waiting, 20) > lease.token

    asyncio.run(main())


def test_a_coroutine_that_waits_is_told_when_the_client_is_closed(client, rival):
    @only_on_leader("a", client=client, otherwise="wait")
    async def job():
        pytest.fail("ran without the lease")

    async def main():
        waiting = asyncio.create_task(job())
        await until(lambda: engine_of(client)._watches)
        await asyncio.to_thread(client.close)
        with pytest.raises(UsageError, match="closed"):
            await asyncio.wait_for(waiting, 20)

    with rival.election("a"):
        asyncio.run(main())


def test_waiting_can_be_cancelled(client, rival):
    @only_on_leader("a", client=client, otherwise="wait")
    async def job():
        pytest.fail("ran without the lease")

    async def main():
        waiting = asyncio.create_task(job())
        await until(lambda: engine_of(client)._watches)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with rival.election("a"):
        asyncio.run(main())


def test_a_loop_that_died_while_waiting_costs_nobody_his_lease(client, rival, eventually):
    other = client.election("other").campaign()
    lease = rival.election("a").campaign()

    @only_on_leader("a", client=client, otherwise="wait")
    async def job():
        pytest.fail("ran on a closed loop")

    loop = asyncio.new_event_loop()
    task = loop.create_task(job())
    loop.run_until_complete(until(lambda: engine_of(client)._watches))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    lease.resign()

    guarded = only_on_leader("a", client=client)(lambda: "ran")
    eventually(lambda: guarded() == "ran")
    other.check()
    task._log_destroy_pending = False


@pytest.fixture
def cancelled_on_loss(client, clock):
    """Run a body under ``on_loss="cancel"`` and lose the lease in the middle of it."""

    def run(body, *, meanwhile=lambda task: None, lose=True):
        started = asyncio.Event()

        @only_on_leader("a", client=client, on_loss="cancel")
        async def job():
            started.set()
            return await body()

        async def main():
            task = asyncio.create_task(job())
            await started.wait()
            if lose:
                clock.advance(60)
            meanwhile(task)
            return await task

        return asyncio.run(main())

    return run


def test_a_loss_cancels_the_coroutine_which_raises_lease_lost(cancelled_on_loss):
    cleaned = []

    async def body():
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    with pytest.raises(LeaseLost, match="was lost: expired") as caught:
        cancelled_on_loss(body)

    assert caught.value.reason == "expired"
    assert cleaned == [True]


def test_somebody_else_s_cancellation_is_passed_on(cancelled_on_loss):
    with pytest.raises(asyncio.CancelledError):
        cancelled_on_loss(lambda: asyncio.sleep(60), meanwhile=lambda task: task.cancel(), lose=False)


def test_a_time_out_around_it_stays_a_time_out(client):
    @only_on_leader("a", client=client, on_loss="cancel")
    async def job():
        await asyncio.sleep(60)

    async def main():
        async with asyncio.timeout(0.05):
            await job()

    with pytest.raises(TimeoutError):
        asyncio.run(main())


def test_a_body_that_finishes_all_the_same_raises_lease_lost_as_a_with_block_does(cancelled_on_loss):
    async def body():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "finished"

    with pytest.raises(LeaseLost, match="was lost"):
        cancelled_on_loss(body)


def test_the_task_is_usable_after_a_loss(client, clock):
    """The cancellation is ours, so it is taken back: what comes next in this task is not cancelled."""

    @only_on_leader("a", client=client, on_loss="cancel")
    async def job():
        clock.advance(60)
        await asyncio.sleep(60)

    async def main():
        with pytest.raises(LeaseLost):
            await job()
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0.01)
        return "on"

    assert asyncio.run(main()) == "on"


def test_a_body_that_ends_as_the_lease_does_is_not_cancelled_afterwards(client, clock):
    @only_on_leader("a", client=client, on_loss="cancel")
    async def job():
        clock.advance(60)
        time.sleep(0.05)  # blocks the loop while the news arrives; the body ends before it is delivered
        return "done"

    async def main():
        with pytest.raises(LeaseLost):
            await job()
        await asyncio.sleep(0.05)
        return asyncio.current_task().cancelling()

    assert asyncio.run(main()) == 0


def test_tasks_made_inside_act_under_the_same_lease(client):
    async def helper():
        return current()

    @only_on_leader("a", client=client)
    async def job():
        return await asyncio.create_task(helper()) is current()

    assert asyncio.run(job())
    assert current() is None


def test_two_guarded_coroutines_do_not_mix_their_leases(client):
    def guarded(name):
        @only_on_leader(name, client=client)
        async def job():
            await asyncio.sleep(0.01)
            return current().name

        return job()

    async def main():
        return await asyncio.gather(guarded("a"), guarded("b"), guarded("a"))

    assert asyncio.run(main()) == ["a", "b", "a"]


@pytest.mark.parametrize("own_error", [None, OSError("my own")])
def test_a_coroutine_that_answers_its_cancellation_otherwise_leaves_its_task_uncancelled(client, clock, own_error):
    inside = asyncio.Event()

    @only_on_leader("a", client=client, on_loss="cancel")
    async def job():
        inside.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if own_error is not None:
                raise own_error from None

    async def lose():
        await inside.wait()
        clock.advance(60)

    async def main():
        losing = asyncio.create_task(lose())
        with pytest.raises(LeaseLost if own_error is None else OSError) as caught:
            await job()
        await losing
        return caught.value, asyncio.current_task().cancelling()

    error, cancelling = asyncio.run(main())

    assert cancelling == 0  # by which asyncio.timeout() tells its own cancellation from others'
    assert own_error is None or "was lost" in error.__notes__[0]


def test_a_coroutine_whose_lease_is_lost_before_it_begins_is_not_begun(client, clock, monkeypatch):
    from leaderlock._course import Course

    @only_on_leader("a", client=client, on_loss="cancel")
    async def job():
        return current().token

    listen = Course.listen

    def lost_on_the_threshold(course, listener):
        clock.advance(60)
        listen(course, listener)

    async def main():
        await job()
        monkeypatch.setattr(Course, "listen", lost_on_the_threshold)
        with pytest.raises(LeaseLost, match="was lost"):
            await job()
        monkeypatch.undo()
        return asyncio.current_task().cancelling()

    assert asyncio.run(main()) == 0
