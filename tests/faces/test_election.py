"""``with election``, campaigns and their ends: either one holds, or something is raised."""

from __future__ import annotations

import threading
import time

import pytest

from leaderlock import BackendUnavailable, CampaignTimeout, LeaseLost, NotLeader, UsageError, current
from leaderlock.testing import Fault, ManualClock


def about_names(keys):
    return keys[0].startswith("name/")


# -- with


def test_the_body_runs_only_with_the_lease(client, rival):
    with client.election("a") as lease:
        assert lease.is_held
        assert current() is lease

        for election in (rival.election("a", wait=False), rival.election("a", timeout=0)):
            with pytest.raises((NotLeader, CampaignTimeout)), election:
                pytest.fail("entered the body without the lease")
    assert not lease.is_held


def test_leaving_a_body_whose_lease_was_lost_raises(client, clock):
    with pytest.raises(LeaseLost, match="expired"), client.election("a"):
        clock.advance(60)


def test_the_body_s_own_error_is_not_masked_by_the_loss(client, clock):
    def body():
        with client.election("a"):
            clock.advance(60)
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        body()

    assert "was lost: expired" in caught.value.__notes__[0]


def test_resigning_inside_the_body_is_fine(client, rival):
    with client.election("a") as lease:
        lease.resign()
        with rival.election("a", wait=False) as other:
            assert other.token > lease.token


def test_the_name_is_free_after_a_body_that_raised(client, rival):
    with pytest.raises(KeyError), client.election("a"):
        raise KeyError

    assert rival.election("a").campaign(wait=False).is_held


def test_a_body_left_late_does_not_resign_the_next_one_s_lease(client, clock, in_background, eventually):
    """One thread's lease is lost unnoticed, another thread leads anew: each leaves its own."""
    election = client.election("a")
    entered, leave = threading.Event(), threading.Event()

    def lag():
        with election:
            entered.set()
            leave.wait(20)

    lagging = in_background(lag)
    assert entered.wait(20)
    clock.advance(60)
    with election as lease:
        leave.set()
        eventually(lambda: lagging)

        assert isinstance(lagging[0], LeaseLost)
        lease.check()


# -- one name, several candidates


def test_a_second_candidate_in_one_client_is_refused_at_once_and_nothing_is_lost(client, in_background, eventually):
    with client.election("a") as lease:
        with pytest.raises(UsageError, match="already leads"):
            client.election("a").campaign()
        with pytest.raises(UsageError, match="already leads"):
            client.campaign_all(["b", "a"])
        lease.check()
    with client.election("b", timeout=5), client.election("a", timeout=5):
        pass


def test_a_second_campaign_in_one_client_is_refused_too(client, rival, in_background, eventually):
    lease = rival.election("a").campaign()
    waiting = in_background(client.election("a").campaign)
    eventually(lambda: client.engine()._machine._names._wanted)

    with pytest.raises(UsageError, match="already campaigns"):
        client.election("a").campaign()
    lease.resign()
    eventually(lambda: waiting)

    assert waiting[0].is_held


def test_two_clients_of_one_process_exclude_each_other(client, rival):
    with client.election("a"), pytest.raises(NotLeader):
        rival.election("a").campaign(wait=False)


def test_many_names_are_sought_at_once(client, rival):
    with rival.election("b"):
        leases = client.campaign_all(["a", "b", "c", "a"], wait=False)

        assert sorted(leases) == ["a", "c"]
        assert all(lease.is_held for lease in leases.values())
    assert client.campaign_all(["b"], timeout=5)["b"].is_held


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

    eventually(lambda: client.engine()._machine._names.is_quiet() and not client.engine()._machine._names._wanted)
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
    engine = client.engine()

    eventually(lambda: not engine._watches)
    assert not [timer for timer in engine._timers._set if timer[0] == "name"]


# -- lost replies


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.NEVER_SENT, Fault.LATE, Fault.BUG])
@pytest.mark.parametrize("which", ["session/", "name/", "settled"])
def test_a_lost_reply_to_an_acquire_does_not_lock_its_own_client_out(
    client, backend, clock, in_background, eventually, fault, which
):
    backend.inject(fault, when=lambda keys: any(key.startswith(which) for key in keys))

    won = in_background(client.election("a").campaign)
    eventually(lambda: clock.advance(0.02) or won)

    assert won[0].is_held
    backend.deliver_late()
    won[0].save_note(b"and it can write")


def test_a_request_that_arrives_twice_is_one_election(client, backend):
    backend.inject(Fault.TWICE, times=None)

    with client.election("a") as lease:
        lease.check()


# -- not waiting (rule 14)


def test_who_does_not_wait_is_told_at_once_of_a_live_leader(client, rival, backend):
    with rival.election("a"), pytest.raises(NotLeader, match="led by somebody else"):
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
    assert "somebody else leads" in told[0]


def test_a_rollout_takes_milliseconds(open_client, store):
    """A release wakes who waits: nobody sleeps a whole pause from his arrival on."""
    holder, waiter = open_client(store.backend()), open_client(store.backend())
    lease = holder.election("a").campaign()
    won = []
    waiting = threading.Thread(target=lambda: won.append((waiter.election("a").campaign(), time.monotonic())))
    waiting.start()
    while not waiter.engine()._watches:
        time.sleep(0.01)

    lease.resign()
    released = time.monotonic()
    waiting.join(20)

    assert won[0][1] - released < 1.0
