"""Leading in asyncio: either held or raised, resigned at the end, and nobody's error is lost."""

# ruff: noqa: PT012 - what becomes of a whole body is what is tested

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time

import pytest

from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    CampaignTimeout,
    LeaseLost,
    NotLeader,
    UsageError,
    aio,
    current,
    only_on_leader,
)
from leaderlock._client import engine_of
from leaderlock.testing import Fault


def test_the_body_holds_the_lease_and_leaving_it_resigns(in_loop, aio_client, rival):
    async def main():
        async with aio_client, aio_client.election("a") as lease:
            lease.check()
            assert lease.is_held
            with pytest.raises(NotLeader):
                rival.election("a").campaign(wait=False)
        assert lease.state == "resigned"
        return lease.token

    token = in_loop(main)

    assert rival.election("a").campaign(timeout=0).token > token


def test_who_was_elected_and_cannot_enter_leads_no_more(in_loop, aio_client, rival, monkeypatch):
    def fail(lease):
        raise MemoryError

    monkeypatch.setattr("leaderlock._current.enter", fail)

    async def main():
        async with aio_client:
            with pytest.raises(MemoryError):
                await aio_client.election("a").__aenter__()
            await asyncio.to_thread(rival.election("a").campaign, timeout=20)

    in_loop(main)


def test_whoever_is_not_elected_does_not_enter(in_loop, aio_client, rival):
    async def main():
        async with aio_client:
            with pytest.raises(NotLeader):
                async with aio_client.election("a", wait=False):
                    pytest.fail("entered without the lease")
            with pytest.raises(CampaignTimeout, match="somebody else leads"):
                async with aio_client.election("a", timeout=0):
                    pytest.fail("entered without the lease")

    with rival.election("a"):
        in_loop(main)


def test_a_free_name_is_taken_without_a_time_to_wait(in_loop, aio_client):
    async def main():
        async with aio_client:
            for _ in range(20):
                lease = await aio_client.election("a").campaign(timeout=0)
                await lease.resign()

    in_loop(main)


def test_the_next_leader_is_elected_when_the_last_one_resigns_and_the_loop_runs_on_meanwhile(
    in_loop, aio_client, rival, soon
):
    lease = rival.election("a").campaign()

    async def main():
        async with aio_client:
            waiting = asyncio.create_task(aio_client.election("a").campaign())
            await soon(lambda: len(engine_of(aio_client._access.client)._watches))
            assert not waiting.done()
            await asyncio.to_thread(lease.resign)
            assert (await waiting).token > lease.token

    in_loop(main)


def test_a_campaign_goes_by_what_its_election_was_told_and_may_be_told_otherwise(in_loop, aio_client, rival):
    async def main():
        async with aio_client:
            with rival.election("a"):
                with pytest.raises(NotLeader):
                    await aio_client.election("a", wait=False).campaign()
                with pytest.raises(NotLeader):
                    await aio_client.election("a").campaign(wait=False)
                with pytest.raises(CampaignTimeout, match=r"within 0 s"):
                    await aio_client.election("a", timeout=0).campaign()
                with pytest.raises(TypeError, match="not one name"):
                    await aio_client.campaign_all("abc")

    in_loop(main)


def test_a_time_to_wait_is_counted_by_the_client_s_clock(in_loop, aio_client, rival, clock, soon):
    async def main():
        async with aio_client:
            waiting = asyncio.create_task(aio_client.election("a").campaign(timeout=7))
            started = clock.boot()
            await soon(waiting.done, clock)
            with pytest.raises(CampaignTimeout, match="within 7 s"):
                await waiting
            assert 7 <= clock.boot() - started < 8

    with rival.election("a"):
        in_loop(main)


def test_who_does_not_wait_for_a_silent_store_learns_that_it_is_silent(in_loop, aio_client, backend, clock, soon):
    backend.inject(Fault.NEVER_SENT, op="any", times=None)

    async def main():
        seeking = asyncio.create_task(aio_client.election("a").campaign(wait=False))
        await soon(seeking.done, clock)
        with pytest.raises(BackendUnavailable, match="cannot be told"):
            await seeking
        await aio_client.close()

    in_loop(main)


def test_a_store_that_refuses_says_so(in_loop, aio_client, backend):
    async def main():
        async with aio_client:
            backend.inject(Fault.REFUSE, when=lambda keys: any(key.startswith("name/") for key in keys))
            with pytest.raises(BackendRefused):
                await aio_client.election("a").campaign()

    in_loop(main)


def test_one_client_does_not_compete_with_itself_and_the_refused_one_harms_nobody(in_loop, aio_client):
    async def main():
        async with aio_client, aio_client.election("a") as lease:
            for _ in range(2):
                with pytest.raises(UsageError, match="already leads"):
                    await aio_client.election("a").campaign()
            lease.check()

    in_loop(main)


def test_whoever_waits_is_told_why_in_the_loop(in_loop, aio_client, rival, soon):
    told = []

    async def main():
        async with aio_client:
            election = aio_client.election("a")
            thread = threading.get_ident()
            waiting = asyncio.create_task(
                election.campaign(on_waiting=lambda text: told.append((text, threading.get_ident() == thread)))
            )
            await soon(lambda: told)
            await asyncio.to_thread(lease.resign)
            await waiting
            with pytest.raises(TypeError, match="plain function"):
                await election.campaign(on_waiting=asyncio.sleep)

    lease = rival.election("a").campaign()
    in_loop(main)

    [(text, is_in_loop)] = told
    assert "somebody else leads" in text
    assert is_in_loop


@pytest.mark.parametrize("error", [KeyError("mine"), SystemExit(3)])
def test_the_body_s_own_error_comes_through_and_the_name_is_free(in_loop, aio_client, rival, error):
    async def main():
        async with aio_client, aio_client.election("a"):
            raise error

    with pytest.raises(type(error)) as caught:
        in_loop(main)

    assert caught.value is error
    assert rival.election("a").campaign(timeout=5).is_held


def test_a_body_that_runs_on_after_the_loss_is_told_at_its_end(in_loop, aio_client, clock):
    async def main():
        async with aio_client:
            with pytest.raises(LeaseLost, match="expired"):
                async with aio_client.election("a"):
                    clock.advance(20)

    in_loop(main)


def test_the_body_s_error_comes_before_the_loss(in_loop, aio_client, clock):
    async def main():
        async with aio_client:
            with pytest.raises(KeyError) as caught:
                async with aio_client.election("a"):
                    clock.advance(20)
                    raise KeyError("mine")
            assert any("was lost" in note for note in caught.value.__notes__)

    in_loop(main)


def test_a_body_may_resign_by_itself(in_loop, aio_client):
    async def main():
        async with aio_client, aio_client.election("a") as lease:
            assert await lease.resign()

    in_loop(main)


def test_a_lease_is_a_block_of_its_own_and_leaving_it_resigns(in_loop, aio_client, clock):
    async def main():
        async with aio_client:
            async with await aio_client.election("a").campaign() as lease:
                assert aio.current() == lease
                lease.check()
            assert aio.current() is None
            assert lease.state == "resigned"
            with pytest.raises(LeaseLost, match="resigned"):
                async with lease:
                    pytest.fail("entered without the lease")
            with pytest.raises(LeaseLost, match="lost"):
                async with await aio_client.election("a").campaign():
                    clock.advance(15)

    in_loop(main)


def test_the_block_of_a_lease_that_is_cancelled_waits_for_no_store(in_loop, aio_client, backend, eventually):
    async def main():
        async with aio_client:
            lease = await aio_client.election("a").campaign()
            hung = backend.inject(Fault.HANG)

            async def lead():
                async with lease:
                    await asyncio.sleep(3600)

            leading = asyncio.create_task(lead())
            await asyncio.sleep(0)
            leading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leading
            assert lease.state == "resigned"
            eventually(lambda: hung.hits)
            backend.release_hung()

    in_loop(main)


@pytest.mark.parametrize("campaigns", [False, True], ids=["election", "lease"])
def test_leaving_a_block_waits_for_a_silent_store_no_longer_than_closing_does_and_says_so(
    in_loop, aio_client, backend, clock, soon, caplog, campaigns
):
    entered, leave = asyncio.Event(), asyncio.Event()

    async def lead():
        election = aio_client.election("a")
        async with await election.campaign() if campaigns else election:
            entered.set()
            await leave.wait()
        return clock.boot()

    async def main():
        async with aio_client:
            leading = asyncio.create_task(lead())
            await entered.wait()
            silence = backend.inject(Fault.NEVER_SENT, op="any", times=None)
            started = clock.boot()
            leave.set()
            await soon(lambda: silence.hits)
            await soon(leading.done, clock)
            assert await leading - started == pytest.approx(5, abs=1)
            silence.cancel()

    in_loop(main)

    assert "has not acknowledged within 5 s" in caplog.text


def test_the_body_and_its_tasks_act_under_the_lease_and_others_do_not(in_loop, aio_client):
    async def helper():
        return aio.current()

    async def lead(name):
        async with aio_client.election(name) as lease:
            await asyncio.sleep(0.01)
            assert aio.current() == lease
            assert current().token == lease.token
            assert await asyncio.create_task(helper()) == lease
            async with aio_client.election(f"{name}, inside") as inner:
                assert aio.current() == inner
            assert aio.current() == lease
        assert aio.current() is None

    async def main():
        async with aio_client:
            await asyncio.gather(*map(lead, "abc"))
        assert aio.current() is None

    in_loop(main)


def test_one_election_object_is_entered_by_many_tasks_in_turn(in_loop, aio_client, soon):
    async def main():
        acting = 0
        election = aio_client.election("a")

        async def lead():
            nonlocal acting
            while True:
                with contextlib.suppress(UsageError):  # another task's turn
                    async with election as lease:
                        acting += 1
                        assert acting == 1
                        await asyncio.sleep(0)
                        lease.check()
                        acting -= 1
                        return
                await asyncio.sleep(0.001)

        async with aio_client:
            await asyncio.gather(*(lead() for _ in range(20)))

    in_loop(main)


def test_a_guarded_coroutine_can_save_its_note_without_blocking(in_loop, client):
    @only_on_leader("a", client=client)
    async def job():
        lease = aio.current()
        await lease.save_note(b"done")
        return lease.note

    assert in_loop(job) == b"done"


def test_who_leads_is_seen_and_so_is_every_change(in_loop, aio_client, rival, soon):
    seen = []

    async def main():
        async with aio_client:
            election = aio_client.election("a")
            assert await election.leader() is None

            async def watch():
                async for term in election.observe():
                    seen.append(term and term.token)

            watching = asyncio.create_task(watch())
            await soon(lambda: len(seen) == 1)
            first = await asyncio.to_thread(rival.election("a").campaign)
            await soon(lambda: len(seen) == 2)
            assert (await election.leader()).token == first.token
            await asyncio.to_thread(first.resign)
            await soon(lambda: len(seen) == 3)
            second = await asyncio.to_thread(rival.election("a").campaign)
            await soon(lambda: len(seen) == 4)
            assert not watching.done()
        await watching  # it ends with the client
        return [None, first.token, None, second.token]

    expected = in_loop(main)

    assert seen == expected


def test_an_observer_that_leaves_or_is_forgotten_watches_no_more(in_loop, aio_client, backend, soon):
    async def main():
        async with aio_client:
            async for term in (terms := aio_client.election("a").observe()):
                assert term is None
                break
            await terms.aclose()
            assert not backend.inner._watches
            watching = asyncio.create_task(anext(aio_client.election("b").observe()))
            assert await watching is None
            del watching
            gc.collect()
            await soon(lambda: not backend.inner._watches)

    in_loop(main)


def test_an_observer_looks_again_after_a_store_that_was_away(in_loop, aio_client, backend, rival, clock, soon, caplog):
    async def main():
        async with aio_client:
            terms = aio_client.election("a").observe()
            assert await anext(terms) is None
            with backend.inject(Fault.NEVER_SENT, op="read", times=None):
                following = asyncio.create_task(anext(terms))
                token = (await asyncio.to_thread(rival.election("a").campaign)).token
                await soon(lambda: "cannot see who leads" in caplog.text, clock)
                assert not following.done()
            await soon(following.done, clock)
            assert (await following).token == token
            await terms.aclose()

    in_loop(main)


def test_a_leader_s_loop_that_is_blocked_for_longer_than_a_ttl_loses_nothing(in_loop, tmp_path):
    """Trap 26: renewal does not share the event loop."""

    async def main():
        async with aio.connect(f"sqlite:///{tmp_path}/store", ttl=1.0, longest=1.0) as client:
            async with client.election("a") as lease:
                time.sleep(2.5)
                lease.check()
            assert lease.state == "resigned"

    in_loop(main)
