"""Cancellation, from outside and by a loss: at any await, nothing is won later, and nothing is held in silence."""

# ruff: noqa: PT012 - what becomes of a whole body is what is tested

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from leaderlock import (
    BackendUnavailable,
    CampaignTimeout,
    LeaseLost,
    LossReason,
    NotLeader,
    UsageError,
    only_on_leader,
)
from leaderlock._client import engine_of
from leaderlock.testing import Fault


@pytest.fixture
def is_free(rival):
    """Whether another client can have the name, now."""

    def ask(name):
        try:
            return rival.election(name).campaign(wait=False).resign()
        except NotLeader:
            return False

    return ask


# -- by somebody else


def test_a_cancelled_campaign_does_not_win_later(in_loop, aio_client, rival, soon):
    lease = rival.election("a").campaign()

    async def main():
        async with aio_client:
            waiting = asyncio.create_task(aio_client.election("a").campaign())
            await soon(lambda: len(engine_of(aio_client._access.client)._watches))
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.to_thread(lease.resign)
            again = await asyncio.to_thread(rival.election("a").campaign)
            await asyncio.sleep(0.05)
            assert again.is_held
            await asyncio.to_thread(again.resign)

    in_loop(main)


@pytest.mark.parametrize("turns", range(12))
def test_a_campaign_cancelled_at_any_moment_leaves_the_name_free(in_loop, aio_client, is_free, soon, turns):
    async def main():
        async with aio_client:
            seeking = asyncio.create_task(aio_client.election("a").campaign())
            for _ in range(turns):
                await asyncio.sleep(0.0003)
            seeking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await seeking).resign()
            await soon(lambda: is_free("a"))

    in_loop(main)


def test_a_campaign_cancelled_as_it_is_won_is_resigned(in_loop, aio_client, backend, is_free, soon):
    """The news are in the loop already, and the cancellation comes first."""

    async def main():
        async with aio_client:
            await aio_client._access.engine()
            backend.delay(0.05, times=1)
            seeking = asyncio.create_task(aio_client.election("a").campaign())
            await asyncio.sleep(0)  # it has asked the engine, and awaits
            deadline = time.monotonic() + 20
            while is_free("a"):  # the lanes elect it while the loop stands
                assert time.monotonic() < deadline
            seeking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await seeking
            await soon(lambda: is_free("a"))

    in_loop(main)


def test_a_time_out_around_a_campaign_is_a_time_out(in_loop, aio_client, rival):
    async def main():
        async with aio_client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), aio_client.election("a"):
                    pytest.fail("entered without the lease")
            await (await aio_client.election("b").campaign()).resign()

    with rival.election("a"):
        in_loop(main)


def test_many_campaigns_cancelled_together_leave_every_name_free(in_loop, aio_client, backend, is_free, soon):
    names = [f"n{number}" for number in range(50)]

    async def main():
        async with aio_client:
            await aio_client._access.engine()
            backend.delay(0.02, times=1)
            seeking = asyncio.create_task(aio_client.campaign_all(names))
            await asyncio.sleep(0)
            time.sleep(0.05)
            seeking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await seeking
            await soon(lambda: all(map(is_free, names)))

    in_loop(main)


def test_a_cancelled_body_has_resigned(in_loop, aio_client, is_free, soon):
    async def main():
        async with aio_client:
            entered = asyncio.Event()

            async def lead():
                async with aio_client.election("a"):
                    entered.set()
                    await asyncio.sleep(60)

            leading = asyncio.create_task(lead())
            await entered.wait()
            leading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leading
            await soon(lambda: is_free("a"))

    in_loop(main)


def test_a_cancelled_body_does_not_wait_for_a_store_that_hangs(in_loop, aio_client, backend, soon):
    async def main():
        async with aio_client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), aio_client.election("a") as lease:
                    hanging = backend.inject(Fault.HANG, times=1)
                    await asyncio.sleep(60)
            assert lease.state == "resigned"
            await soon(lambda: hanging.hits)
            backend.release_hung()

    in_loop(main, within=10)


def test_a_cancelled_resignation_is_made_all_the_same(in_loop, aio_client, backend, is_free, soon, clock):
    async def main():
        async with aio_client:
            lease = await aio_client.election("a").campaign()
            with backend.inject(Fault.NEVER_SENT, times=None):
                resigning = asyncio.create_task(lease.resign())
                await soon(lambda: backend.count("swap") > 2)
                resigning.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await resigning
                assert not lease.is_held
            await soon(lambda: clock.advance(0.05) or is_free("a"))

    in_loop(main)


def test_a_note_whose_saving_was_cancelled_is_saved_before_the_next(in_loop, aio_client, backend):
    async def main():
        async with aio_client, aio_client.election("a") as lease:
            backend.delay(0.05, op="swap", times=1)
            saving = asyncio.create_task(lease.save_note(b"first"))
            await asyncio.sleep(0)
            saving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await saving
            await lease.save_note(b"second")
            assert lease.note == b"second"

    in_loop(main)


def test_waits_for_a_loss_can_be_cancelled_and_leave_nothing_behind(in_loop, aio_client):
    async def main():
        async with aio_client, aio_client.election("a") as lease:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await lease.wait_lost()
            assert not lease._course._listeners

    in_loop(main)


# -- by a loss


def test_a_loss_cancels_the_body_which_becomes_lease_lost(in_loop, aio_client, clock):
    cleaned = []

    async def main():
        async with aio_client:
            with pytest.raises(LeaseLost, match="was cancelled") as caught:
                async with aio_client.election("a", on_loss="cancel"):
                    clock.advance(60)
                    try:
                        await asyncio.sleep(60)
                    finally:
                        cleaned.append(True)
            assert caught.value.reason == LossReason.EXPIRED.value
            assert isinstance(caught.value.__cause__, asyncio.CancelledError)
            assert asyncio.current_task().cancelling() == 0
            await asyncio.sleep(0.01)  # the task goes on

    in_loop(main)

    assert cleaned == [True]


def test_a_body_that_finishes_lets_a_loss_only_be_told(in_loop, aio_client, clock, soon):
    async def main():
        async with aio_client:
            finished = False
            with pytest.raises(LeaseLost):
                async with aio_client.election("a") as lease:
                    clock.advance(60)
                    await soon(lambda: lease.state == "lost")
                    finished = True
            assert finished

    in_loop(main)


def test_a_body_that_swallows_the_cancellation_is_told_and_the_books_are_right(in_loop, aio_client, clock):
    async def main():
        async with aio_client:
            with pytest.raises(LeaseLost):
                async with aio_client.election("a", on_loss="cancel"):
                    clock.advance(60)
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(60)
            assert asyncio.current_task().cancelling() == 0
            await asyncio.sleep(0.01)

    in_loop(main)


def test_a_body_that_ends_before_the_news_is_not_cancelled_behind_it(in_loop, aio_client, clock):
    async def main():
        async with aio_client:
            with pytest.raises(LeaseLost):
                async with aio_client.election("a", on_loss="cancel"):
                    clock.advance(60)
                    time.sleep(0.05)  # blocks the loop while the news arrives
            await asyncio.sleep(0.05)
            assert asyncio.current_task().cancelling() == 0

    in_loop(main)


def test_an_error_in_the_body_s_own_cleaning_comes_first(in_loop, aio_client, clock):
    async def main():
        async with aio_client:
            with pytest.raises(KeyError) as caught:
                async with aio_client.election("a", on_loss="cancel"):
                    clock.advance(60)
                    try:
                        await asyncio.sleep(60)
                    finally:
                        raise KeyError("cleaning")
            assert any("was lost" in note for note in caught.value.__notes__)
            assert asyncio.current_task().cancelling() == 0

    in_loop(main)


def test_somebody_else_s_cancellation_is_never_taken_for_a_loss(in_loop, aio_client, clock, soon):
    async def main():
        async with aio_client:
            entered = asyncio.Event()

            async def lead():
                async with aio_client.election("a", on_loss="cancel") as lease:
                    entered.set()
                    try:
                        await asyncio.sleep(60)
                    finally:
                        clock.advance(60)
                        await lease.wait_lost()
                        await asyncio.sleep(0)

            leading = asyncio.create_task(lead())
            await entered.wait()
            leading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leading
            assert leading.cancelling() == 1

    in_loop(main)


@pytest.mark.parametrize("is_outer", [True, False])
def test_a_time_out_and_a_loss_are_told_apart(in_loop, aio_client, is_outer, clock):
    """Where the time-out fires, it is a time-out, inside or outside of the lease; where the loss does, a loss."""

    async def main():
        async with aio_client:
            election = aio_client.election("a", on_loss="cancel")
            with pytest.raises(TimeoutError):
                if is_outer:
                    async with asyncio.timeout(0.05), election:
                        await asyncio.sleep(60)
                async with election, asyncio.timeout(0.05):
                    await asyncio.sleep(60)
            with pytest.raises(LeaseLost):
                if is_outer:
                    async with asyncio.timeout(60), election:
                        clock.advance(60)
                        await asyncio.sleep(60)
                async with election, asyncio.timeout(60):
                    clock.advance(60)
                    await asyncio.sleep(60)
            assert asyncio.current_task().cancelling() == 0

    in_loop(main)


def test_two_leases_lost_together_end_both_bodies_once(in_loop, aio_client, clock):
    async def main():
        async with aio_client:
            inside = []
            with pytest.raises(LeaseLost, match="'outer'"):
                async with aio_client.election("outer", on_loss="cancel"):
                    try:
                        async with aio_client.election("inner", on_loss="cancel"):
                            clock.advance(60)
                            await asyncio.sleep(60)
                    except BaseException as error:
                        inside.append(error)
                        raise
            assert asyncio.current_task().cancelling() == 0
            assert isinstance(inside[0], asyncio.CancelledError | LeaseLost)

    in_loop(main)


def test_a_loss_of_the_inner_lease_alone_is_handled_inside(in_loop, aio_client, backend, rival, clock, soon):
    async def main():
        async with aio_client, aio_client.election("outer", on_loss="cancel") as outer:
            asking = None
            with pytest.raises(LeaseLost, match="'inner'") as caught:
                async with aio_client.election("inner", on_loss="cancel"):
                    asking = asyncio.create_task(asyncio.to_thread(rival.resign, "inner"))
                    await soon(asking.done, clock)
                    await asyncio.sleep(60)
            assert caught.value.reason == "yielded"
            assert await asking
            outer.check()
            await asyncio.sleep(0.01)

    in_loop(main)


def test_a_loss_ends_a_group_of_tasks_inside(in_loop, aio_client, clock):
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def main():
        async with aio_client:
            with pytest.raises(LeaseLost):
                async with aio_client.election("a", on_loss="cancel"), asyncio.TaskGroup() as group:
                    group.create_task(work())
                    group.create_task(work())
                    await asyncio.sleep(0)
                    clock.advance(60)
                    await asyncio.sleep(60)
            assert asyncio.current_task().cancelling() == 0

    in_loop(main)

    assert ended == [True, True]


def test_a_loss_in_one_task_of_a_group_ends_the_others(in_loop, aio_client, clock):
    async def lead(entered):
        async with aio_client.election("a", on_loss="cancel"):
            entered.set()
            await asyncio.sleep(60)

    async def main():
        async with aio_client:
            entered = asyncio.Event()
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    leading = group.create_task(lead(entered))
                    other = group.create_task(asyncio.sleep(60))
                    await entered.wait()
                    clock.advance(60)
            assert [type(error) for error in caught.value.exceptions] == [LeaseLost]
            assert isinstance(leading.exception(), LeaseLost)
            assert other.cancelled()

    in_loop(main)


def test_a_client_that_is_closed_under_a_body_cancels_it(in_loop, aio_client):
    async def main():
        entered = asyncio.Event()

        async def lead():
            async with aio_client.election("a", on_loss="cancel"):
                entered.set()
                await asyncio.sleep(60)

        leading = asyncio.create_task(lead())
        await entered.wait()
        await aio_client.close()
        with pytest.raises(LeaseLost) as caught:
            await leading
        assert caught.value.reason == "closed"

    in_loop(main)


def test_a_resignation_is_no_loss(in_loop, aio_client):
    async def main():
        async with aio_client, aio_client.election("a", on_loss="cancel") as lease:
            await lease.resign()
            await asyncio.sleep(0.02)

    in_loop(main)


@pytest.mark.parametrize("on_loss", ["exit", "ignore", None])
def test_what_there_is_not_is_refused_at_once(aio_client, in_loop, on_loss):
    with pytest.raises(ValueError, match="'finish', 'cancel'"):
        aio_client.election("a", on_loss=on_loss)
    in_loop(aio_client.close)


def test_a_guarded_coroutine_that_swallows_its_cancellation_leaves_the_books_right(client, clock, in_loop):
    @only_on_leader("a", client=client, on_loss="cancel")
    async def job():
        clock.advance(60)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "finished"

    async def main():
        with pytest.raises(LeaseLost):
            await job()
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0.01)

    in_loop(main)


def test_a_store_that_is_away_does_not_let_a_time_out_around_anything_wait(in_loop, aio_client, backend):
    async def main():
        async with aio_client:
            lease = await aio_client.election("a").campaign()
            with backend.inject(Fault.HANG, op="any", times=None):
                for call in (
                    lambda: lease.save_note(b"x"),
                    lambda: aio_client.status("a"),
                    aio_client.names,
                    lambda: aio_client.election("b").campaign(),
                    lambda: aio_client.election("b").leader(),
                    lambda: anext(aio_client.election("b").observe()),
                    lambda: aio_client.campaign_all(["c", "d"]),
                    lambda: aio_client.resign("b"),
                    lease.resign,
                ):
                    started = time.monotonic()
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await call()
                    assert time.monotonic() - started < 1
            backend.release_hung()

    in_loop(main)


def test_every_wait_ends_when_the_client_is_closed(in_loop, aio_client, rival, soon):
    async def main():
        async with aio_client:
            lease = await aio_client.election("mine").campaign()
            waits = [
                asyncio.create_task(aio_client.election("a").campaign()),
                asyncio.create_task(aio_client.campaign_all(["a2"])),
                asyncio.create_task(lease.wait_lost()),
                asyncio.create_task(aio_client.resign("a2")),
            ]
            await soon(lambda: len(engine_of(aio_client._access.client)._watches) >= 2)
        return await asyncio.gather(*waits, return_exceptions=True)

    with rival.election("a"), rival.election("a2"):
        outcomes = in_loop(main)

    assert [type(outcome) for outcome in outcomes[:2]] == [UsageError, UsageError]
    assert outcomes[2] is LossReason.CLOSED
    assert isinstance(outcomes[3], CampaignTimeout | UsageError)  # it had asked already, or not


def test_ensure_renews_once_and_says_when_it_cannot(in_loop, aio_client, backend, clock, soon):
    async def main():
        async with aio_client, aio_client.election("a") as lease:
            clock.advance(4)
            swaps = backend.count("swap")
            await lease.ensure(14)
            assert lease.remaining > 14
            assert backend.count("swap") == swaps + 1
            await asyncio.gather(*(lease.ensure(14) for _ in range(100)))
            assert backend.count("swap") == swaps + 1
            with pytest.raises(ValueError, match="use a longer ttl"):
                await lease.ensure(15)
            with backend.inject(Fault.NEVER_SENT, times=None):
                clock.advance(1)
                ensuring = asyncio.create_task(lease.ensure(14.9))
                await soon(ensuring.done, clock)
                with pytest.raises(BackendUnavailable, match="could not be renewed"):
                    await ensuring
            clock.advance(60)
            with pytest.raises(LeaseLost):
                await lease.ensure(1)

    with pytest.raises(LeaseLost):
        in_loop(main)
