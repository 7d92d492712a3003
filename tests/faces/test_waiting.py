"""Waiting to be elected: how long, why, and what is left of a campaign that was given up."""

from __future__ import annotations

import logging
import re
import threading
import time

import pytest

from leaderlock import BackendUnavailable, CampaignTimeout, NotLeader, OutcomeUnknown, Swapped
from leaderlock._attendance import Attending
from leaderlock._bell import Bell
from leaderlock._client import engine_of
from leaderlock._clock import kernel_identity
from leaderlock.testing import Fault, FaultyBackend, ManualClock, MemoryBackend, MemoryStore


def about_names(keys):
    return keys[0].startswith("name/")


# -- time-outs


@pytest.mark.parametrize("fault", [None, Fault.HANG, Fault.NEVER_SENT, Fault.LOST_AFTER, Fault.BUG])
def test_one_budget_for_the_whole_call_whatever_the_store_does(open_client, backend, store, fault):
    rival = open_client(store.backend())
    client = open_client(backend)
    with rival.election("a"):
        if fault:
            backend.inject(fault, op="any", times=None)
        started = time.monotonic()

        with pytest.raises(CampaignTimeout, match=r"not elected for 'a' within 0\.3 s: ") as caught:
            client.election("a").campaign(timeout=0.3)

        assert 0.25 < time.monotonic() - started < 1.5
    assert isinstance(caught.value, TimeoutError)


def test_a_time_out_names_the_store_as_its_cause_only_where_that_was_silent(client, rival, backend):
    with rival.election("a"), pytest.raises(CampaignTimeout) as led:
        client.election("a").campaign(timeout=0)
    backend.inject(Fault.NEVER_SENT, op="any", times=None)
    with pytest.raises(CampaignTimeout) as silent:
        client.election("b").campaign(timeout=0)

    assert led.value.__cause__ is None
    assert isinstance(silent.value.__cause__, BackendUnavailable)


def test_wake_ups_do_not_restart_the_time_out(open_client, backend, store, in_background, eventually):
    lease = open_client(store.backend()).election("a").campaign()
    over = threading.Event()

    def write():
        while not over.wait(0.02):
            lease.save_note(b"x")

    writing = in_background(write)
    started = time.monotonic()
    with pytest.raises(CampaignTimeout):
        open_client(backend).election("a").campaign(timeout=0.5)
    over.set()
    eventually(lambda: writing)

    assert time.monotonic() - started < 1.5


def test_a_free_name_is_won_without_any_time(client):
    assert client.election("a").campaign(timeout=0).is_held


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), -float("inf")])
def test_a_time_out_is_a_number_of_seconds(client, timeout):
    with pytest.raises(ValueError, match="number of seconds"):
        client.election("a").campaign(timeout=timeout)


@pytest.mark.parametrize("timeout", ["5", True, [1]])
def test_a_time_out_of_another_type_is_refused_with_words(client, timeout):
    with pytest.raises(TypeError, match="number of seconds"):
        client.election("a").campaign(timeout=timeout)
    with pytest.raises(TypeError, match="number of seconds"):
        client.election("a", timeout=timeout)


@pytest.mark.parametrize("fault", [Fault.LATE, Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.HANG])
@pytest.mark.parametrize("was_led", [False, True])
def test_a_campaign_given_up_after_a_time_out_cannot_win_a_minute_later(
    client, backend, rival, eventually, fault, was_led
):
    client.election("a" if was_led else "b").campaign().resign()
    backend.inject(fault, when=about_names)
    with pytest.raises(CampaignTimeout):
        client.election("a").campaign(timeout=0)

    eventually(lambda: engine_of(client)._machine._names.is_quiet() and not engine_of(client)._machine._taking.wanted)
    backend.deliver_late()

    assert rival.election("a").leader() is None
    assert rival.election("a").campaign(wait=False).is_held


def test_a_campaign_given_up_on_a_held_name_does_not_win_when_that_is_resigned(client, rival, eventually):
    lease = rival.election("a").campaign()
    with pytest.raises(CampaignTimeout):
        client.election("a").campaign(timeout=0)

    lease.resign()

    assert rival.election("a").leader() is None
    assert rival.election("a").campaign(wait=False).is_held


def test_a_failed_campaign_leaves_no_watch_and_no_timer_behind(client, rival, eventually):
    with rival.election("a"), pytest.raises(CampaignTimeout):
        client.election("a").campaign(timeout=0)
    engine = engine_of(client)

    eventually(lambda: not engine._watches)
    assert not [timer for timer in engine._clockwork._timers._set if timer[0] == "name"]


def test_who_has_waited_in_vain_leaves_the_watch_to_whoever_waits_next(client, rival):
    with rival.election("a"), pytest.raises(CampaignTimeout):
        client.election("a").campaign(timeout=0)

    assert len(engine_of(client)._attendance) == 0


# -- not waiting (rule 14)


def test_who_does_not_wait_is_told_at_once_of_a_live_leader(client, rival, backend):
    with (
        rival.election("a"),
        pytest.raises(NotLeader, match=r"led by somebody else, rival \(.+, pid \d+\): do not act"),
    ):
        client.election("a").campaign(wait=False)

    assert backend.count("read") <= 3


def test_who_does_not_wait_still_follows_a_dead_leader(open_client, store, client, clock, in_background, eventually):
    """Or a job started every minute without waiting would never run again after one crashed host."""
    open_client(store.backend(), clock=ManualClock()).election("a").campaign()  # its time stands still: never renewed
    clock.step_wall(3600)

    seeking = in_background(lambda: client.election("a").campaign(wait=False))
    eventually(lambda: clock.advance(1) or seeking)

    assert seeking[0].is_held


def test_a_wrong_wall_clock_costs_who_does_not_wait_only_time(
    open_client, store, backend, clock, in_background, eventually
):
    wrong = ManualClock(wall=1_600_000_000.0)
    rival = open_client(store.backend(), clock=wrong)
    client = open_client(backend, clock=clock)
    with rival.election("a") as lease:
        seeking = in_background(lambda: client.election("a").campaign(wait=False))
        while not seeking:
            clock.advance(0.05)
            wrong.advance(0.05)
            time.sleep(0.001)

        assert isinstance(seeking[0], NotLeader)
        lease.check()


def test_who_does_not_wait_for_a_silent_store_learns_that_it_is_silent(
    client, backend, clock, in_background, eventually
):
    backend.inject(Fault.NEVER_SENT, op="any", times=None)

    seeking = in_background(lambda: client.election("a").campaign(wait=False))
    eventually(lambda: clock.advance(0.1) or seeking)

    assert isinstance(seeking[0], BackendUnavailable)
    assert "cannot be told" in str(seeking[0])


def test_whoever_waits_is_told_why_once_for_each_reason(client, rival, clock, in_background, eventually):
    told = []
    lease = rival.election("a").campaign()
    waiting = in_background(lambda: client.election("a").campaign(on_waiting=told.append))
    eventually(lambda: told)
    lease.resign()
    eventually(lambda: waiting)

    assert len(told) == 1
    assert re.match(r"somebody else leads, rival \(.+, pid \d+\); if its session does not move, it is free in", told[0])


def test_whoever_waits_is_told_once_that_the_store_is_silent_until_it_has_been_read_again(
    client, rival, backend, clock, in_background, eventually
):
    """What was seen before the silence is no news: told in turn with it, the two filled the screen."""
    told = []
    lease = rival.election("a").campaign()
    waiting = in_background(lambda: client.election("a").campaign(on_waiting=told.append))
    eventually(lambda: told)
    silence = backend.inject(Fault.NEVER_SENT, op="any", times=None)
    eventually(lambda: clock.advance(0.5) or silence.hits > 20)
    assert [text[:20] for text in told] == ["somebody else leads,", "the store does not a"]

    silence.cancel()
    eventually(lambda: clock.advance(0.1) or len(told) > 2)

    assert told[2][:20] == "somebody else leads,"
    lease.resign()
    eventually(lambda: clock.advance(1) or waiting)
    assert len(told) == 3


@pytest.fixture
def said(caplog):
    """What was logged at INFO and above, but for elections."""
    caplog.set_level(logging.INFO, "leaderlock")
    return lambda: [text for text in caplog.messages if not text.startswith(("elected", "resigned"))]


def test_it_is_logged_why_a_candidate_waits_once_for_each_leader(client, rival, clock, in_background, eventually, said):
    lease = rival.election("a").campaign()
    waiting = in_background(client.election("a").campaign)
    eventually(said)
    clock.advance(5)
    eventually(lambda: lease.remaining > 14)
    lease.resign()
    eventually(lambda: waiting)

    [text] = said()
    assert re.match(
        r"waiting for 'a': somebody else leads, rival \(.+\); if its session does not move, it is free", text
    )


def test_it_is_logged_that_a_store_must_settle_once_for_all_names(
    client, store, clock, in_background, eventually, said
):
    with client.election("before"):
        store.forget(wipe=False)
    names = [f"n{number}" for number in range(100)]
    seeking = in_background(lambda: client.campaign_all(names))
    eventually(said)
    eventually(lambda: clock.advance(1) or seeking)

    [text] = said()
    assert text.startswith("candidates wait: the store may have forgotten leaders who are still alive")
    assert "leaderlock init" in text


def test_a_store_that_was_away_is_logged_to_answer_again_and_what_is_waited_for_then(
    client, rival, backend, store, clock, in_background, eventually, said
):
    """First that it answers, then what it has answered."""
    lease = rival.election("a").campaign()
    seeking = in_background(lambda: client.election("a").campaign(timeout=600))
    eventually(said)
    silence = backend.inject(Fault.NEVER_SENT, op="any", times=None)
    eventually(lambda: clock.advance(0.5) or len(said()) > 1)
    silence.cancel()
    eventually(lambda: clock.advance(0.1) or len(said()) > 3)
    lease.resign()
    silence = backend.inject(Fault.NEVER_SENT, op="any", times=None)
    eventually(lambda: clock.advance(0.5) or len(said()) > 4)
    store.forget(wipe=False)
    silence.cancel()
    eventually(lambda: clock.advance(0.5) or seeking)

    held, away, back, unsettled = (
        "waiting for 'a': somebody",
        "the store does not",
        "the store answers",
        "candidates wait",
    )
    starts = [held, away, back, held, away, back, unsettled]
    eventually(lambda: len(said()) >= len(starts))
    assert [text[: len(start)] for text, start in zip(said(), starts, strict=True)] == starts


def test_that_a_store_must_settle_is_logged_again_after_it_was_away(
    open_client, clock, in_background, eventually, said
):
    backend = FaultyBackend(MemoryStore(keeps_memory=False).backend())
    seeking = in_background(lambda: open_client(backend, clock=clock).election("a").campaign(timeout=600))
    eventually(said)
    silence = backend.inject(Fault.NEVER_SENT, op="any", times=None)
    eventually(lambda: clock.advance(0.5) or len(said()) > 1)
    silence.cancel()
    eventually(lambda: clock.advance(0.1) or len(said()) > 3)
    eventually(lambda: clock.advance(0.5) or seeking)

    unsettled, away, back = "candidates wait", "the store does not", "the store answers"
    starts = [unsettled, away, back, unsettled]
    assert [text[: len(start)] for text, start in zip(said(), starts, strict=True)] == starts


def test_many_names_that_wait_do_not_flood_the_log(client, rival, said, in_background, eventually):
    names = [f"n{number}" for number in range(1_000)]
    held = rival.campaign_all(names)
    assert len(held) == len(names)
    for _ in range(2):
        before = len(said())
        assert client.campaign_all(names, timeout=0) == {}
        client.election("z").campaign().resign()  # behind all that was to be said
        assert before < len(said()) <= before + 20


def test_whoever_waits_for_what_he_left_himself_is_told_so(
    open_client, store, backend, clock, in_background, eventually
):
    """The answer to a take was lost; the next session finds the name held by the one that was given up."""
    open_client(store.backend()).election("b").campaign().resign()  # settles
    told = [""]
    client = open_client(backend, clock=clock)
    backend.inject(Fault.LOST_AFTER, when=lambda keys: "name/a" in keys)

    with backend.inject(Fault.NEVER_SENT, when=lambda keys: "name/a" not in keys, times=None):
        seeking = in_background(lambda: client.election("a").campaign(on_waiting=told.append))
        eventually(lambda: clock.advance(0.05) or "an earlier session of this very client" in told[-1])
    eventually(lambda: clock.advance(0.05) or seeking)

    assert seeking[0].is_held


def test_a_rollout_takes_milliseconds(open_client, store):
    """A release wakes who waits: nobody sleeps a whole pause from his arrival on."""
    holder, waiter = open_client(store.backend()), open_client(store.backend())
    lease = holder.election("a").campaign()
    won = []
    waiting = threading.Thread(target=lambda: won.append((waiter.election("a").campaign(), time.monotonic())))
    waiting.start()
    while not engine_of(waiter)._watches:
        time.sleep(0.01)

    lease.resign()
    released = time.monotonic()
    waiting.join(20)

    assert won[0][1] - released < 1.0


def test_what_was_released_is_taken_by_the_thread_that_waits_for_it_without_a_read(
    client, rival, backend, in_background, eventually
):
    """From a release to a take: one swap, and no hop between threads besides the one that wakes who waits."""
    lease = rival.election("a").campaign()
    swapped_by = []
    backend.before(lambda: swapped_by.append(threading.current_thread().name), op="swap", times=None)
    waiting = in_background(lambda: (threading.current_thread().name, client.election("a").campaign()))
    eventually(lambda: engine_of(client)._attendance)
    backend.calls.clear()

    lease.resign()
    eventually(lambda: waiting)

    who, won = waiting[0]
    assert won.is_held
    assert swapped_by == [who]
    assert backend.count("read") == 0


def test_many_wakes_at_once_lead_to_one_look(client, rival, backend, clock, in_background, eventually):
    with rival.election("a"):
        waiting = in_background(lambda: client.election("a").campaign(timeout=5))
        engine = engine_of(client)
        eventually(lambda: engine._attendance)
        backend.calls.clear()

        with engine.locked():
            for _ in range(50):
                engine._attendance.woken("name/a", None)
        eventually(lambda: backend.count("read"))
        eventually(lambda: clock.advance(1) or waiting)

    assert backend.count("read") < 15


def test_a_wake_for_who_has_just_stopped_waiting_is_met_by_a_lane(client, backend, eventually):
    class Leaving(dict):
        def get(self, key):
            found = super().get(key)
            self.clear()
            return found

    lease = client.election("a").campaign()
    engine = engine_of(client)
    engine._attendance._by_key = Leaving({"name/a": Attending(Bell())})
    backend.calls.clear()

    engine._attendance.woken("name/a", None)

    eventually(lambda: backend.count("read"))
    assert lease.is_held


def test_a_store_s_callback_is_never_blocked_by_a_wake(client, rival, store, in_background, eventually):
    """kazoo#381: what blocks in a callback of the store's client holds up every other one of its callbacks."""
    lease = rival.election("a").campaign()
    waiting = in_background(client.election("a").campaign)
    eventually(lambda: engine_of(client)._watches)

    with engine_of(client).locked():  # in the middle of a step
        woken = in_background(lease.resign)  # which calls whoever watches, in this store on its own thread
        eventually(lambda: woken)

    eventually(lambda: waiting)
    assert waiting[0].is_held


def test_a_missed_wake_up_costs_less_than_half_a_ttl(client, rival, backend, clock, in_background, eventually):
    """Every wake leads to a look, and without any there is one all the same."""
    lease = rival.election("a").campaign()
    backend.is_deaf = True
    waiting = in_background(client.election("a").campaign)
    eventually(lambda: engine_of(client)._watches)
    lease.resign()
    started = clock.boot()

    eventually(lambda: clock.advance(0.1) or waiting)

    assert waiting[0].is_held
    assert clock.boot() - started < 15 / 2


def test_a_long_wait_asks_at_most_four_times_a_ttl(client, rival, backend, clock, in_background, eventually):
    with rival.election("a"):
        waiting = in_background(lambda: client.election("a").campaign(timeout=150))
        while not waiting:
            clock.advance(0.25)
            time.sleep(0.002)

    assert isinstance(waiting[0], CampaignTimeout)
    assert backend.count("read") <= 4 * 150 / 15 + 10


# -- on a memory that has to settle


@pytest.fixture
def forgetful(open_client, clock):
    """Two clients of a store that may have forgotten leaders, so that nobody is elected for a while."""
    store = MemoryStore(keeps_memory=False)
    return [open_client(store.backend(), clock=clock) for _ in range(2)]


def test_init_frees_at_once_who_waits_for_the_memory_to_settle(forgetful, in_background, eventually):
    client, operator = forgetful
    waiting = in_background(client.election("a").campaign)
    eventually(lambda: "settled" in engine_of(client)._watches._stops)

    operator.init()
    eventually(lambda: waiting)

    assert waiting[0].is_held
    assert "settled" not in engine_of(client)._watches._stops


def test_who_does_not_wait_for_a_leader_waits_for_the_memory_to_settle(forgetful, clock, in_background, eventually):
    """Or jobs that try once a minute, each a new process, would never run again after the store was restarted."""
    client, _ = forgetful
    with pytest.raises(CampaignTimeout, match="may have forgotten leaders"):
        client.election("a").campaign(wait=False, timeout=0)
    clock.advance(20)

    started = clock.boot()
    seeking = in_background(lambda: client.election("a").campaign(wait=False))
    eventually(lambda: clock.advance(0.1) or seeking)

    assert seeking[0].is_held
    assert clock.boot() - started == pytest.approx(10, abs=1)


def test_who_does_not_wait_is_told_at_once_of_a_live_leader_though_the_memory_must_settle(store, client, rival):
    lease = rival.election("a").campaign()
    store.forget(wipe=False)

    with pytest.raises(NotLeader, match=r"led by somebody else, rival \("):
        client.election("a").campaign(wait=False)

    lease.check()


def test_a_campaign_given_up_on_unsettled_memory_leaves_no_watch_behind(forgetful, clock, in_background, eventually):
    client, _ = forgetful

    waiting = in_background(lambda: client.election("a").campaign(timeout=1))
    eventually(lambda: engine_of(client)._watches)
    eventually(lambda: clock.advance(0.1) or waiting)

    assert isinstance(waiting[0], CampaignTimeout)
    eventually(lambda: not engine_of(client)._watches)


def test_a_store_that_forgot_is_not_called_silent(open_client, clock, store, in_background, eventually):
    client, told = open_client(store.backend(), clock=clock), []
    client.election("a").campaign().resign()
    store.forget(wipe=False)

    waiting = in_background(lambda: client.election("a").campaign(on_waiting=told.append))
    eventually(lambda: clock.advance(0.5) or waiting)

    assert waiting[0].is_held
    assert not [why for why in told if "does not answer" in why]


def test_a_silent_store_is_said_once_to_the_log_until_it_answers(
    open_client, backend, store, clock, in_background, eventually, caplog
):
    with open_client(store.backend(), clock=clock).election("a"):
        client = open_client(backend, clock=clock)
        waiting = in_background(lambda: client.election("a").campaign(timeout=60))
        eventually(lambda: engine_of(client)._attendance)
        backend.inject(Fault.NEVER_SENT, op="any", times=None)
        while not waiting:
            clock.advance(0.25)
            time.sleep(0.002)

    def said():
        return [record for record in caplog.records if "does not answer candidates" in record.message]

    eventually(said)  # on the callbacks' thread
    assert isinstance(waiting[0], CampaignTimeout)
    assert len(said()) == 1


class WithoutReplica(MemoryBackend):
    """It writes and reads, and cannot say of any write that it is kept."""

    def swap(self, writes, memory, *, timeout):
        answers = super().swap(writes, memory, timeout=timeout)
        if any(isinstance(answer, Swapped) for answer in answers):
            raise OutcomeUnknown("written, but 0 of 1 replicas have it; it may be lost again")
        return answers


def test_a_store_that_acknowledges_no_write_is_said_once_although_it_answers_reads(
    open_client, store, clock, in_background, caplog
):
    open_client(store.backend(), clock=clock).election("a").campaign().resign()
    client = open_client(WithoutReplica(store), clock=clock)
    waiting = in_background(lambda: client.election("a").campaign(timeout=60))
    while not waiting:
        clock.advance(0.25)
        time.sleep(0.002)
    client.close()  # with that, all has been said

    said = [record for record in caplog.records if "does not answer candidates" in record.message]
    assert isinstance(waiting[0], CampaignTimeout)
    assert len(said) == 1


class Everywhere(MemoryBackend):
    """A store that other hosts can reach."""

    @property
    def traits(self):
        return super().traits._replace(is_local=False)


def test_a_clone_of_the_leader_s_machine_does_not_compare_their_clocks(open_client, eventually):
    """Both have one boot id; the candidate's was started a while earlier, so its clock is past the leader's claim."""
    store, slow, fast = MemoryStore(), ManualClock(start=1_000.0), ManualClock(start=2_000.0)
    lease = open_client(Everywhere(store), clock=slow).election("a").campaign()
    other = open_client(Everywhere(store), clock=fast)

    with pytest.raises(NotLeader):
        other.election("a").campaign(wait=False)
    with pytest.raises(CampaignTimeout):
        other.election("a").campaign(timeout=0)

    assert lease.is_held


@pytest.mark.skipif(kernel_identity() is None, reason="the kernel does not say which it is")
def test_whoever_comes_after_a_dead_leader_of_this_host_does_not_wait_where_the_store_is_local(store, open_client):
    leader = open_client(store.backend(), clock=ManualClock(start=1_000.0))
    leader.election("a").campaign()

    assert open_client(store.backend(), clock=ManualClock(start=2_000.0)).election("a").campaign(timeout=5).is_held
