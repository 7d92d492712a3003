"""Ticks, as programs use them: one of several callers runs, the others are told why not, and nothing is run twice."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import itertools
import logging
import threading
import time
from datetime import timedelta

import pytest

from leaderlock import (
    BackendRefused,
    BackendUnavailable,
    CampaignTimeout,
    Ending,
    LeaseLost,
    Ran,
    Skipped,
    SkipReason,
    Tick,
    TickSkipped,
    UsageError,
    current,
    current_tick,
    once_per_tick,
)
from leaderlock._ticks.held import Held
from leaderlock.testing import Fault, MemoryStore

MINUTE = 60.0
"""The schedule of most jobs here: the clock starts 20 s after a minute."""


def work() -> str:
    tick = current_tick()
    assert tick is not None
    assert current() is tick.lease
    return f"{tick.at:%H:%M} under {tick.token}"


def reasons(*outcomes: object) -> list[object]:
    said = {Skipped: lambda skipped: skipped.reason, Ran: lambda _: "ran"}
    return [said.get(type(outcome), repr)(outcome) for outcome in outcomes]


# -- one of them


def entered_for_good(ticking):
    """Never left, as by a process that dies; in a context of its own, so that no later test runs under it."""
    return contextvars.copy_context().run(ticking.__enter__)


def test_one_of_two_hosts_runs_and_the_other_is_told_who_did(client, rival):
    mine = client.tick(MINUTE, name="job").run(work)
    theirs = rival.tick(MINUTE, name="job").run(work)

    assert isinstance(mine, Ran)
    assert mine
    assert mine.result == f"22:13 under {mine.token}"
    assert isinstance(theirs, Skipped)
    assert not theirs
    assert theirs.reason is SkipReason.DONE
    assert f"pid {client._terms.holder.pid}" in theirs.by
    assert theirs.tick == mine.tick
    assert "is not run here: done" in str(theirs)


def test_the_next_tick_is_run_by_whoever_comes_first_under_a_higher_token(client, rival, clock):
    first = client.tick(MINUTE, name="job").run(work)
    clock.advance(60)
    second = rival.tick(MINUTE, name="job").run(work)

    assert second.token > first.token
    assert second.tick > first.tick


def test_a_short_job_is_not_run_again_when_it_has_ended_before_the_next_host_comes(client, rival, clock):
    """arq#196, gocron#841: the mark outlives the job, and any difference of clocks."""
    ran = [client.tick(MINUTE, name="job").run(work)]
    for _ in range(20):
        clock.advance(0.4)
        ran.append(rival.tick(MINUTE, name="job").run(work))

    assert [bool(one) for one in ran] == [True] + [False] * 20


def test_a_run_that_outlasts_many_ttls_keeps_its_tick(client, rival, pass_time):
    """rq#1354, rq-scheduler#312: a lock of five seconds, and a job that took longer."""
    with client.tick(10 * MINUTE, name="job") as tick:
        pass_time(tick.lease, 60)
        theirs = rival.tick(10 * MINUTE, name="job").run(work)
        tick.check()

    assert theirs.reason is SkipReason.RUNNING
    assert rival.tick(10 * MINUTE, name="job").run(work).reason is SkipReason.DONE


def test_a_function_is_decorated(client):
    @once_per_tick(MINUTE, name="job", client=client)
    def add(one: int, *, other: int) -> int:
        """Adds."""
        return one + other

    assert add.__name__ == "add"
    assert add.__doc__ == "Adds."
    assert add(1, other=2).result == 3
    assert add(1, other=2).reason is SkipReason.DONE


def test_a_method_is_decorated(client):
    class Reports:
        total = 40

        @once_per_tick(MINUTE, name="job", client=client)
        def add(self, more: int) -> int:
            return self.total + more

    assert Reports().add(2).result == 42


def test_a_body_runs_on_one_host_and_raises_elsewhere(client, rival):
    with client.tick(MINUTE, name="job") as tick:
        assert isinstance(tick, Tick)
        assert current_tick() is tick
        assert (tick.name, tick.attempt, tick.by_hand) == ("job", 1, False)
        tick.check()
        with pytest.raises(TickSkipped) as running, rival.tick(MINUTE, name="job"):
            pytest.fail("two bodies ran")
    with pytest.raises(TickSkipped) as done, rival.tick(MINUTE, name="job"):
        pytest.fail("two bodies ran")

    assert running.value.skipped.reason is SkipReason.RUNNING
    assert done.value.skipped.reason is SkipReason.DONE
    assert current_tick() is None
    assert current() is None


def test_skipping_is_a_line_of_its_own(client, rival):
    ran = []
    for one in (client, rival):
        with contextlib.suppress(TickSkipped), one.tick(MINUTE, name="job"):
            ran.append(one)

    assert ran == [client]


def test_a_call_near_no_tick_asks_nothing_of_the_store(client, backend):
    skipped = client.tick("@daily", name="job").run(work)

    assert (skipped.reason, skipped.tick) == (SkipReason.NOT_DUE, None)
    assert backend.calls == []


# -- what it costs


def test_a_tick_that_is_not_ours_costs_one_round_trip(client, backend, open_client, store, clock):
    rival = open_client(store.backend(), clock=clock)
    for _ in range(3):
        assert rival.tick(MINUTE, name="job").run(work)
        backend.calls.clear()

        assert client.tick(MINUTE, name="job").run(work).reason is SkipReason.DONE

        assert [call.op for call in backend.calls] == ["read"]
        clock.advance(60)


def test_a_tick_that_somebody_runs_costs_one_round_trip(client, backend, rival):
    with rival.tick(MINUTE, name="job"):
        assert client.tick(MINUTE, name="job").run(work).reason is SkipReason.RUNNING

    assert [call.op for call in backend.calls] == ["read"]


def test_our_own_tick_costs_three_round_trips(client, rival, backend, clock):
    client.election("settled").campaign().resign()  # the store's first use is paid for once, by whoever comes first
    rival.tick(4.0, name="job").run(work)
    clock.advance(4)  # no renewal is due yet, which would be counted too
    backend.calls.clear()

    assert client.tick(4.0, name="job").run(work)

    assert [call.op for call in backend.calls] == ["read", "swap", "swap"]


def test_a_tick_after_our_own_costs_two(client, backend, clock):
    client.tick(4.0, name="job").run(work)
    clock.advance(4)
    backend.calls.clear()

    assert client.tick(4.0, name="job").run(work)

    assert [call.op for call in backend.calls] == ["swap", "swap"]


# -- how it ends


def test_how_it_ended_is_kept_with_the_job(client, rival, clock):
    client.tick(MINUTE, name="job").run(work)
    clock.advance(60)
    with pytest.raises(ZeroDivisionError):
        rival.tick(MINUTE, name="job").run(lambda: 1 / 0)
    clock.advance(60)
    with pytest.raises(KeyboardInterrupt), client.tick(MINUTE, name="job"):
        raise KeyboardInterrupt

    job = rival.job("job")

    assert [outcome.how for outcome in job.history] == [Ending.OK, Ending.FAILED, Ending.INTERRUPTED]
    assert [outcome.host.split()[0] for outcome in job.history][1] == "rival"
    assert job.schedule == "@every 60s"
    assert job.next > job.history[-1].tick
    assert job.running is None


def test_a_job_that_never_ran_is_none(client):
    client.election("plain").campaign().resign()

    assert client.job("never") is None
    assert client.job("plain") is None


def test_a_job_that_runs_is_seen_running(client, rival):
    with client.tick(MINUTE, name="job") as tick:
        assert rival.job("job").running.token == tick.token


def test_what_failed_at_most_once_is_not_run_again(client, rival):
    with pytest.raises(ZeroDivisionError):
        client.tick(MINUTE, name="job").run(lambda: 1 / 0)

    assert rival.tick(MINUTE, name="job").run(work).reason is SkipReason.FAILED


@pytest.mark.parametrize(("code", "how"), [(None, Ending.OK), (0, Ending.OK), (3, Ending.FAILED)])
def test_a_body_that_ends_the_program_ends_as_the_program_does(client, code, how):
    with pytest.raises(SystemExit), client.tick(MINUTE, name="job"):
        raise SystemExit(code)

    assert client.job("job").history[-1].how is how


# -- a store on its worst days


def about_the_job(keys):
    return "name/job" in keys


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.NEVER_SENT, Fault.BUG, Fault.LATE])
@pytest.mark.parametrize("nth", [0, 1], ids=["take", "release"])
def test_a_reply_that_is_lost_runs_nothing_twice_and_loses_no_outcome(
    client, backend, rival, clock, in_background, fault, nth
):
    calls = []
    client.election("warm").campaign().resign()
    swaps = itertools.count()
    backend.inject(fault, when=lambda keys: about_the_job(keys) and next(swaps) == nth)

    running = in_background(lambda: client.tick(MINUTE, name="job", window=600).run(lambda: calls.append(1)))
    while not running:
        clock.advance(0.05)
        time.sleep(0.002)
    backend.deliver_late()

    assert isinstance(running[0], Ran), running
    assert calls == [1]
    until = time.monotonic() + 20
    while not (job := rival.job("job")) or job.running is not None:  # a release may still be tried again
        assert time.monotonic() < until
        clock.advance(0.05)
        time.sleep(0.002)
    assert [outcome.how for outcome in job.history] == [Ending.OK]
    assert rival.tick(MINUTE, name="job", window=600).run(work).reason in (SkipReason.DONE, SkipReason.NOT_DUE)


def test_what_the_store_refuses_is_told_and_nothing_is_run(client, backend):
    backend.inject(Fault.REFUSE, when=about_the_job)

    with pytest.raises(BackendRefused):
        client.tick(MINUTE, name="job").run(lambda: pytest.fail("it ran"))

    assert client.tick(MINUTE, name="job").run(work)


def test_a_store_that_forgets_lets_nobody_run_until_it_is_settled(client, rival, store, clock, in_background):
    assert client.tick(MINUTE, name="job", window=600).run(work)
    assert not rival.tick(MINUTE, name="job", window=600).run(work)
    store.forget(wipe=True)

    again = in_background(lambda: rival.tick(MINUTE, name="job", window=600).run(work))
    waited = 0.0
    while not again:
        clock.advance(0.25)
        waited += 0.25
        time.sleep(0.002)

    assert waited >= 30
    assert again[0], "the mark is forgotten with all else; what keeps two from running at a time is not"


# -- takeover


def test_a_dead_runner_is_followed_at_least_once_under_a_higher_token(client, rival, clock, in_background, eventually):
    dead = client.tick(MINUTE, name="job", runs="at-least-once")
    token = entered_for_good(dead).token
    standby = in_background(lambda: rival.tick(MINUTE, name="job", runs="at-least-once").run(work))
    client._engine.abandon()  # as if its process were gone: nothing is said to the store
    while not standby:
        clock.advance(0.25)
        time.sleep(0.002)

    [outcome] = standby

    assert isinstance(outcome, Ran), outcome
    assert outcome.token > token
    assert outcome.attempt == 2
    assert [one.how for one in rival.job("job").history] == [Ending.DIED, Ending.OK]


def test_who_stands_by_goes_when_the_runner_is_done(client, rival, in_background, eventually, clock):
    with client.tick(MINUTE, name="job", runs="at-least-once"):
        standby = in_background(lambda: rival.tick(MINUTE, name="job", runs="at-least-once").run(work))
        eventually(lambda: rival._engine.jobs)
        assert standby == []
    eventually(lambda: standby)

    assert standby[0].reason is SkipReason.DONE


def test_who_stands_by_takes_over_from_a_body_that_was_interrupted(client, rival, in_background, eventually):
    with (  # noqa: PT012 - what is raised is raised by the body's last line
        pytest.raises(KeyboardInterrupt),
        client.tick(MINUTE, name="job", runs="at-least-once"),
    ):
        standby = in_background(lambda: rival.tick(MINUTE, name="job", runs="at-least-once").run(work))
        eventually(lambda: rival._engine.jobs)
        raise KeyboardInterrupt
    eventually(lambda: standby)

    assert standby[0].attempt == 2


def test_an_unfinished_tick_goes_first_and_then_the_new_one(client, rival, clock):
    with pytest.raises(KeyboardInterrupt), client.tick(MINUTE, name="job", runs="at-least-once", window=600):
        raise KeyboardInterrupt
    clock.advance(60)
    seen = []

    outcome = rival.tick(MINUTE, name="job", runs="at-least-once", window=600).run(
        lambda: seen.append((current_tick().at, current_tick().attempt, current_tick().token))
    )

    assert [attempt for _, attempt, _ in seen] == [2, 1]
    assert seen[0][0] < seen[1][0] == outcome.tick
    assert seen[0][2] < seen[1][2]


def test_a_run_whose_lease_was_lost_says_nothing_and_somebody_is_told(client, rival, clock):
    with pytest.raises(LeaseLost), client.tick(MINUTE, name="job"):
        clock.advance(40)

    assert rival.job("job").running is not None


# -- overlap


def test_a_tick_is_skipped_while_an_earlier_one_runs(client, rival, clock, pass_time):
    with client.tick(MINUTE, name="job", max_run=None) as tick:
        pass_time(tick.lease, 60)
        skipped = rival.tick(MINUTE, name="job").run(work)
        here = client.tick(MINUTE, name="job").run(work)

    assert reasons(skipped, here) == [SkipReason.OVERLAP, SkipReason.OVERLAP]


@pytest.mark.parametrize(("window", "reason"), [(30, SkipReason.LATE), (600, SkipReason.SUPERSEDED)])
def test_who_is_queued_in_one_process_goes_when_it_is_too_late(
    client, in_background, pass_time, eventually, window, reason
):
    with client.tick(MINUTE, name="job", max_run=None) as tick:
        pass_time(tick.lease, 120)
        queued = client.tick(MINUTE, name="job", at=tick.at + timedelta(minutes=1), overlap="queue", window=window)
        gone = in_background(lambda: queued.run(work))
        eventually(lambda: gone)

    assert reasons(*gone) == [reason]


def test_a_tick_is_queued_while_an_earlier_one_runs(client, rival, in_background, pass_time, eventually):
    with client.tick(MINUTE, name="job") as tick:
        pass_time(tick.lease, 60)
        queued = in_background(lambda: rival.tick(MINUTE, name="job", overlap="queue").run(work))
        here = in_background(lambda: client.tick(MINUTE, name="job", overlap="queue").run(work))
        eventually(lambda: rival._engine.jobs)
        assert queued == []
        assert here == []
    eventually(lambda: queued and here)

    assert set(reasons(*queued, *here)) - {SkipReason.DONE, SkipReason.RUNNING} == {"ran"}


def test_ticks_that_come_more_often_than_a_ttl_outlive_a_dead_host(
    open_client, store, clock, in_background, monkeypatch
):
    """Trap D7: crontab lines whose windows are shorter than it takes to see that a leader is dead. Each is a process of
    its own, which has observed nothing before."""
    with monkeypatch.context() as patch:
        patch.setattr("leaderlock._terms.kernel_identity", lambda: ("another kernel", "its time"))
        dead = open_client(store.backend(), clock=clock)
    entered_for_good(dead.tick(5.0, name="job"))
    dead._engine.abandon()

    calls = []
    for _ in range(12):
        client = open_client(store.backend(), clock=clock)
        calls.append(in_background(lambda client=client: client.tick(5.0, name="job").run(work)))
        for _ in range(20):
            clock.advance(0.25)
            time.sleep(0.005)

    until = time.monotonic() + 20
    while not all(calls):
        assert time.monotonic() < until, "some wait for ever"
        clock.advance(0.25)
        time.sleep(0.005)
    outcomes = reasons(*(outcome for [outcome] in calls))
    # For a ttl it may be alive, by the wall clock; for another one it is looked at; then every tick is run.
    assert "ran" in outcomes[:9], outcomes
    assert outcomes[9:] == ["ran"] * 3, outcomes


def test_ticks_that_come_more_often_than_a_store_settles_are_run_in_the_end(open_client, clock, in_background):
    """The same trap: a Redis that was restarted, and lines whose every process would give up before it is settled."""
    store = MemoryStore(keeps_memory=False)
    calls = []
    for _ in range(10):
        client = open_client(store.backend(), clock=clock, ttl=2)
        calls.append(in_background(lambda client=client: client.tick(5.0, name="job").run(work)))
        for _ in range(20):
            clock.advance(0.25)
            time.sleep(0.005)

    until = time.monotonic() + 20
    while not all(calls):
        assert time.monotonic() < until, "some wait for ever"
        clock.advance(0.25)
        time.sleep(0.005)
    outcomes = reasons(*(outcome for [outcome] in calls))
    assert outcomes[8:] == ["ran"] * 2, outcomes


def test_one_process_never_runs_a_tick_twice(client, in_background, eventually):
    begun, go = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(20)

    running = in_background(lambda: client.tick(MINUTE, name="job").run(slow))
    begun.wait(20)
    again = client.tick(MINUTE, name="job").run(work)
    go.set()
    eventually(lambda: running)

    assert reasons(again, *running) == [SkipReason.RUNNING, "ran"]


def test_a_job_that_calls_itself_is_told(client):
    outcomes = []
    client.tick(MINUTE, name="job").run(lambda: outcomes.append(client.tick(MINUTE, name="job").run(work)))

    assert reasons(*outcomes) == [SkipReason.RUNNING]


# -- the other options


def test_a_run_that_takes_too_long_loses_its_lease_and_is_told(client, rival, clock, eventually):
    with (  # noqa: PT012 - as above
        pytest.raises(LeaseLost, match="more than 5 s") as lost,
        client.tick(MINUTE, name="job", max_run=5) as tick,
    ):
        clock.advance(5.1)
        eventually(lambda: not tick.is_held)
        tick.check()

    assert lost.value.reason == "too long"
    eventually(lambda: rival.job("job").history)
    assert rival.job("job").history[-1].how is Ending.TOO_LONG


def runs_kept() -> int:
    gc.collect()
    return sum(isinstance(one, Held) for one in gc.get_objects())


def test_a_run_that_is_over_is_not_kept_until_it_would_have_taken_too_long(client):
    before = runs_kept()

    for _ in range(300):
        assert client.tick(name="job", now=True, max_run=3600).run(work)

    assert runs_kept() - before < 150


def test_what_fails_is_called_again_inside_the_window(client, clock, in_background, eventually):
    calls = []

    def fails_twice() -> str:
        calls.append(current_tick().token)
        if len(calls) < 3:
            raise OSError("not yet")
        return "done"

    running = in_background(
        lambda: client.tick(
            MINUTE, name="job", runs="at-least-once", retries=2, back_off=lambda state: 2.0 * state.attempt_number
        ).run(fails_twice)
    )
    while not running:
        clock.advance(0.1)
        time.sleep(0.002)

    assert running[0].result == "done"
    assert running[0].attempt == 3
    assert len(calls) == 3
    assert client.job("job").history[-1].attempt == 3


def test_what_is_tried_again_is_told_which_attempt_that_is(client):
    told = []

    def fails_once() -> None:
        told.append(current_tick().attempt)
        if len(told) < 2:
            raise OSError("not yet")

    client.tick(MINUTE, name="job", runs="at-least-once", retries=1, back_off=lambda state: 0.0).run(fails_once)

    assert told == [1, 2]


def test_an_attempt_that_runs_for_too_long_is_recorded_as_the_one_that_it_is(client, clock, eventually):
    told = []

    def fails_then_hangs() -> None:
        told.append(current_tick())
        if len(told) < 2:
            raise OSError("not yet")
        clock.advance(3)
        eventually(lambda: not current_tick().is_held)

    options = {"runs": "at-least-once", "retries": 1, "max_run": 2, "back_off": lambda state: 0.0}
    with pytest.raises(LeaseLost):
        client.tick(MINUTE, name="job", **options).run(fails_then_hangs)

    eventually(lambda: client.job("job").history)
    assert (client.job("job").history[-1].how, client.job("job").history[-1].attempt) == (Ending.TOO_LONG, 2)


def test_what_fails_with_all_its_retries_is_over_for_everybody(client, rival):
    with pytest.raises(OSError, match="never"):
        client.tick(MINUTE, name="job", runs="at-least-once", retries=3, back_off=lambda state: 0.0).run(fails)

    assert client.job("job").history[-1].attempt == 4
    assert rival.tick(MINUTE, name="job", runs="at-least-once").run(work).reason is SkipReason.FAILED


def fails() -> None:
    raise OSError("never")


def test_a_with_statement_is_tried_again_by_later_calls_as_often_as_it_has_retries(client, rival):
    for host in (client, rival):
        with pytest.raises(OSError, match="never"), host.tick(MINUTE, name="job", runs="at-least-once", retries=1):
            fails()

    assert client.job("job").history[-1].attempt == 2
    assert client.tick(MINUTE, name="job", runs="at-least-once", retries=1).run(work).reason is SkipReason.FAILED


def test_what_cannot_be_tried_again_inside_the_window_is_not(client):
    with pytest.raises(OSError, match="never"):
        client.tick(MINUTE, name="job", runs="at-least-once", retries=3, back_off=lambda state: 90.0).run(fails)

    assert client.job("job").history[-1].attempt == 1


def test_a_paused_job_is_not_run_until_it_is_resumed(client, rival):
    assert rival.pause("job")
    assert not rival.pause("job")
    paused = client.tick(MINUTE, name="job").run(work)
    by_hand = client.tick(MINUTE, name="job", now=True).run(work)
    assert client.job("job").paused_by.startswith("rival")
    assert client.resume("job")
    assert not client.resume("job")
    resumed = client.tick(MINUTE, name="job").run(work)

    assert reasons(paused, by_hand, resumed) == [SkipReason.PAUSED, "ran", "ran"]
    assert paused.by.startswith("rival")


def test_a_running_job_is_paused_after_its_run_or_not_in_time(client, rival):
    with client.tick(MINUTE, name="job"), pytest.raises(CampaignTimeout):
        rival.pause("job", timeout=0)

    assert rival.pause("job", timeout=10)


@pytest.mark.parametrize("schedule", [None, "0 3 * * *"], ids=["no schedule", "one that is hours off"])
def test_a_run_by_hand_needs_no_tick(client, rival, schedule):
    outcome = client.tick(schedule, name="job", now=True).run(work)

    assert outcome
    assert client.job("job").history[-1].by_hand
    assert rival.tick("13 22 * * *" if schedule else MINUTE, name="job").run(work), "it used up no tick"


# -- what people should look at


def test_the_store_that_does_not_answer_is_told(client, backend, clock, in_background, eventually):
    backend.inject(Fault.NEVER_SENT, times=None)

    asking = in_background(lambda: client.tick(MINUTE, name="job").run(work))
    while not asking:
        clock.advance(0.25)
        time.sleep(0.002)

    assert isinstance(asking[0], BackendUnavailable)


def test_two_jobs_of_one_name_are_refused(client):
    client.tick(MINUTE, name="job").run(work)

    with pytest.raises(UsageError, match="give one of them another name"):
        client.tick("0 3 * * *", name="job", misfire="run").run(work)


def test_a_job_that_ran_elsewhere_at_another_schedule_is_warned_of(client, rival, caplog):
    rival.tick(MINUTE, name="job").run(work)
    client.tick("* * * * *", name="job").run(work)

    assert "if these are two jobs" in caplog.text


def test_the_name_of_an_election_with_a_note_of_its_own_is_no_jobs(client, rival):
    with client.election("job") as lease:
        lease.save_note(b"up to 17")

    with pytest.raises(UsageError, match="give the job another"):
        rival.tick(MINUTE, name="job").run(work)
    with pytest.raises(UsageError, match="give the job another"):
        rival.pause("job")
    with client.election("job") as lease:
        assert lease.note == b"up to 17"


@pytest.mark.parametrize("options", [{}, {"runs": "at-least-once"}, {"overlap": "queue"}, {"now": True}], ids=str)
def test_a_name_that_an_election_leads_is_no_jobs(client, rival, options):
    with client.election("job"), pytest.raises(UsageError, match="led by something that is no job"):
        rival.tick(MINUTE, name="job", **options).run(work)

    assert rival.tick(MINUTE, name="job").run(work)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_job_whose_name_something_else_leads_is_not_waited_for_in_silence(
    client, rival, clock, in_background, by_hand
):
    client.tick(MINUTE, name="job", now=by_hand).run(work)
    clock.advance(60)
    with client.election("job"):
        asking = in_background(lambda: rival.tick(MINUTE, name="job").run(work))
        for _ in range(100):
            if asking:
                break
            clock.advance(0.25)
            time.sleep(0.005)

    assert isinstance(asking[0], UsageError), asking
    assert "led by something that is no job" in str(asking[0])


def test_who_only_edits_a_jobs_record_is_waited_for(client, rival, in_background, eventually):
    rival.pause("job")
    editing = client.election("job").campaign()
    asking = in_background(lambda: rival.tick(MINUTE, name="job", now=True).run(work))
    eventually(lambda: rival._engine.jobs)
    assert asking == []

    editing.resign()
    eventually(lambda: asking)

    assert reasons(*asking) == ["ran"]


def test_a_dead_stranger_is_followed(client, rival, clock, in_background):
    client.election("job").campaign()
    client._engine.abandon()
    clock.advance(60)

    assert rival.tick(MINUTE, name="job").run(work)


def test_pausing_a_name_that_an_election_leads_leaves_its_note_alone(client, rival):
    with client.election("job") as lease:
        with pytest.raises(UsageError, match="cannot be paused or resumed: it is led by something that is no job"):
            rival.pause("job")
        lease.save_note(b"17")
        with pytest.raises(UsageError, match="its note is not a job's"):
            rival.pause("job", timeout=0.5)

    with client.election("job") as lease:
        assert int(lease.note) == 17


@pytest.mark.parametrize("has_run", [False, True])
def test_resuming_what_is_not_paused_writes_nothing(client, rival, has_run):
    if has_run:
        rival.tick(MINUTE, name="job").run(work)
    before = rival.status("job")

    assert not client.resume("job")

    assert rival.status("job")._replace(settled=before.settled) == before
    assert rival.names() == ["job"] * has_run


def test_what_is_paused_already_is_not_written_again_nor_a_run_waited_for(client, rival, clock, in_background):
    client.pause("job")
    with client.tick(name="job", now=True):
        assert not rival.pause("job", timeout=0)


def test_jobs_that_nobody_is_at_are_not_remembered_for_ever(client, monkeypatch):
    monkeypatch.setattr("leaderlock._ticks.slot.KEPT", 3)

    with client.tick(MINUTE, name="at it"):
        for number in range(10):
            client.tick(name=f"once-{number}", now=True).run(work)
        gc.collect()

        assert sorted(client._engine.jobs_in_use) == ["at it", "once-7", "once-8", "once-9"]
        assert client.tick(MINUTE, name="at it").run(work).reason is SkipReason.RUNNING


def test_a_tick_that_is_left_twice_says_so(client):
    ticking = client.tick(MINUTE, name="job")
    with ticking:
        pass

    with pytest.raises(UsageError, match="left more often than entered"):
        ticking.__exit__(None, None, None)


def test_a_tick_that_was_run_a_day_ahead_of_its_time_is_warned_of(client, rival, clock, caplog):
    clock.step_wall(86_400)
    rival.tick(MINUTE, name="job").run(work)
    clock.step_wall(-86_400)

    skipped = client.tick(MINUTE, name="job").run(work)

    assert skipped.reason is SkipReason.NEWER
    assert "one host's clock is wrong" in caplog.text
    client.resume("job")
    assert client.tick(MINUTE, name="job").run(work)


def test_a_dead_runner_is_told_of_once(client, rival, clock, caplog):
    entered_for_good(client.tick(MINUTE, name="job"))
    client._engine.abandon()
    clock.advance(60)

    with caplog.at_level(logging.WARNING):
        assert rival.tick(MINUTE, name="job").run(work)

    assert "never said how it ended" in caplog.text
    assert rival.job("job").history[0].how is Ending.DIED


# -- bad input


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"name": ""}, ValueError, "the name of a job must not be empty"),
        ({"name": "a//b"}, ValueError, "between slashes"),
        ({"name": 7}, TypeError, "the name of a job is a string"),
        ({"schedule": "0 0 31 2 *"}, ValueError, "no month that is named"),
        ({"schedule": 0}, ValueError, "an interval of 0 s"),
        ({"zone": "Mars/Olympus"}, ValueError, "Europe/Berlin"),
        ({"retries": 2}, ValueError, "at-most-once excludes"),
        ({"back_off": 3}, TypeError, "tenacity's wait_"),
        ({"client": "redis://x"}, TypeError, "what connect"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_said(client, options, error, words):
    with pytest.raises(error, match=words):
        once_per_tick(**{"schedule": "@hourly", "name": "job", "client": client, **options})


def test_a_zone_belongs_to_an_expression(client):
    from leaderlock import Schedule

    with pytest.raises(ValueError, match="a Schedule has its own"):
        client.tick(Schedule(60), name="job", zone="UTC")
    with pytest.raises(TypeError, match="needs a schedule"):
        client.tick(name="job")


def test_a_tick_of_a_closed_client_is_refused_at_once(client):
    client.close()

    with pytest.raises(UsageError, match="this client is closed: open another"):
        client.tick(MINUTE, name="job")


@pytest.mark.parametrize("kind", ["asynchronous generator", "generator", "class", "number"])
def test_what_cannot_be_run_is_refused(client, kind):
    async def asynchronous():
        yield

    def generator():
        yield

    functions = {"asynchronous generator": asynchronous, "generator": generator, "class": int, "number": 7}
    with pytest.raises(TypeError, match="once_per_tick"):
        once_per_tick(MINUTE, name="job", client=client)(functions[kind])


# -- what does not run inside the call


@pytest.mark.parametrize("runs", ["at-most-once", "at-least-once"])
def test_a_coroutine_that_a_wrapper_hides_is_refused_and_its_tick_not_booked_as_well(client, runs):
    async def body(ran):
        pytest.fail("ran outside of its tick")

    retries = 1 if runs == "at-least-once" else 0
    job = once_per_tick(MINUTE, name="job", client=client, runs=runs, retries=retries)(lambda: body(1))

    with pytest.raises(TypeError, match=r"after the call, unguarded.*asyncio\.run"):
        job()
    assert [outcome.how for outcome in client.job("job").history] == [Ending.FAILED]
