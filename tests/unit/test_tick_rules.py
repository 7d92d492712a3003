"""Run it, wait, or leave it: what a job's record means to whoever comes with a tick."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leaderlock import Schedule
from leaderlock._protocol.candidacy import Wish
from leaderlock._ticks.record import Ending, JobRecord, Owed, Pause, Run
from leaderlock._ticks.rules import (
    Leave,
    Policy,
    SkipReason,
    Take,
    Want,
    due,
    finish,
    pause,
    resume,
    when_free,
    while_led,
)

MINUTES = Schedule(60)
ONCE = Policy()
AGAIN = Policy(runs="at-least-once", retries=1)
T = 6_000.0


def want(
    tick: float = T, policy: Policy = ONCE, *, until: float = T + 60, host: str = "me", by_hand: bool = False
) -> Want:
    return Want(tick=tick, until=until, policy=policy, host=host, schedule="@every 60s", zone="UTC", by_hand=by_hand)


def taken(record: JobRecord, wish: Want, now: float = T, token: int = 7) -> Take:
    verdict = when_free(record, wish, now, token)
    assert isinstance(verdict, Take), verdict
    return verdict


def ran(policy: Policy = ONCE, how: Ending = Ending.OK, *, again: bool = False, tick: float = T) -> JobRecord:
    """A job of which one tick was run by somebody else."""
    take = taken(JobRecord(), want(tick, policy, until=tick + 60, host="other"), tick)
    return finish(take.record, how, tick + 1, policy, again=again)


def running(policy: Policy = ONCE, *, tick: float = T, until: float = T + 60) -> JobRecord:
    return taken(JobRecord(), want(tick, policy, until=until, host="other"), tick).record


# -- which tick is meant


@pytest.mark.parametrize(("off", "tick"), [(0, T), (-29.9, T), (29.9, T), (30.1, T + 60)])
def test_a_call_means_the_nearest_tick(off, tick):
    assert due(MINUTES, ONCE, T + off).tick == tick


def test_a_call_far_from_every_tick_means_none():
    daily = Schedule("@daily")

    assert due(daily, ONCE, 86_400 * 5 + 299).tick == 86_400 * 5
    assert due(daily, ONCE, 86_400 * 5 + 301) is None
    assert due(daily, ONCE, 86_400 * 5 - 301) is None
    assert due(daily, Policy(tolerance=4_000), 86_400 * 5 - 3_600).tick == 86_400 * 5


def test_a_missed_tick_is_run_where_that_is_asked_for_and_inside_its_window():
    daily = Schedule("@daily")
    late = 86_400 * 5 + 7_200

    assert due(daily, Policy(misfire="run"), late).tick == 86_400 * 5
    assert due(daily, Policy(misfire="run", window=7_200), late).tick == 86_400 * 5
    assert due(daily, Policy(misfire="run", window=7_199), late) is None


def test_the_window_ends_with_the_next_tick_or_when_it_is_said():
    assert due(MINUTES, ONCE, T).until == T + 60
    assert due(MINUTES, Policy(window=300), T).until == T + 300
    assert due(MINUTES, Policy(window=1), T).until == T + 30, "never before the tolerance is over"


# -- at most once


def test_a_new_tick_is_marked_by_the_very_write_that_takes_the_name():
    take = taken(JobRecord(), want())

    assert take.record.newest == T
    assert take.record.running == Run(T, 7, "me", T, 1, T + 60)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (Ending.OK, "done"),
        (Ending.FAILED, "failed"),
        (Ending.TOO_LONG, "failed"),
        (Ending.INTERRUPTED, "failed"),
    ],
)
@pytest.mark.parametrize("is_led", [True, False])
def test_a_tick_that_ran_is_left(how, reason, is_led):
    record = ran(how=how)

    left = while_led(record, want(), T, T) if is_led else when_free(record, want(), T, 9)

    assert left == Leave(SkipReason(reason), "other")


def test_a_tick_that_runs_is_left_without_asking_whether_its_runner_lives():
    assert while_led(running(), want(), T, T) == Leave(SkipReason.RUNNING, "other")


def test_a_tick_whose_runner_died_is_not_begun_again():
    assert when_free(running(), want(), T, 9) == Leave(SkipReason.DIED, "other")


def test_the_next_tick_buries_the_dead_run_and_tells_of_it():
    take = taken(running(), want(T + 60, until=T + 120), T + 60, 9)

    assert take.died.tick == T
    assert [(one.tick, one.how, one.finished) for one in take.record.history] == [(T, Ending.DIED, None)]
    assert take.record.running.tick == T + 60


def test_an_older_tick_is_left():
    assert when_free(ran(), want(T - 60, until=T), T - 60, 9) == Leave(SkipReason.NEWER)


def test_a_tick_whose_window_is_over_is_left():
    assert when_free(JobRecord(), want(), T + 61, 9) == Leave(SkipReason.LATE)
    assert while_led(running(tick=T - 60), want(), T + 61, T + 60) == Leave(SkipReason.LATE)


# -- overlap


def test_an_earlier_run_that_lives_is_not_waited_for_and_one_that_is_dead_is_followed():
    assert while_led(running(tick=T - 60), want(), T, T) is Wish.TRY


def test_a_queued_tick_waits_until_a_later_one_comes():
    queue = want(policy=Policy(overlap="queue", window=600), until=T + 600)

    assert while_led(running(tick=T - 60), queue, T + 59, T) is Wish.WAIT
    assert while_led(running(tick=T - 60), queue, T + 60, T + 60) == Leave(SkipReason.SUPERSEDED, "other")


def test_a_name_that_is_led_by_no_run_is_waited_for_if_it_is_a_jobs():
    assert while_led(ran(tick=T - 60), want(), T, T) is Wish.WAIT
    assert while_led(JobRecord(), want(), T, T) is Wish.WAIT


def test_at_least_once_queues_unless_it_is_told_to_skip():
    assert while_led(running(AGAIN, tick=T - 60), want(policy=AGAIN), T, T) is Wish.WAIT
    skips = replace(AGAIN, overlap="skip")
    assert while_led(running(AGAIN, tick=T - 60), want(policy=skips), T, T) is Wish.TRY


# -- at least once


def test_who_promises_a_run_stands_by_while_another_runs_it():
    assert while_led(running(AGAIN), want(policy=AGAIN), T + 1, T) is Wish.WAIT
    assert while_led(running(AGAIN), want(policy=AGAIN), T + 60, T) == Leave(SkipReason.RUNNING, "other")


def test_a_dead_run_is_taken_over_with_a_further_attempt():
    take = taken(running(AGAIN), want(policy=AGAIN), T + 20, 9)

    assert (take.record.running.tick, take.record.running.attempt, take.record.running.token) == (T, 2, 9)
    assert take.record.outcome_of(T).how is Ending.DIED


def test_a_dead_run_whose_window_is_over_is_left_and_the_next_tick_is_run():
    take = taken(running(AGAIN, until=T + 30), want(T + 60, AGAIN, until=T + 120), T + 60, 9)

    assert take.record.running.tick == T + 60
    assert take.record.owed == ()


def test_an_unfinished_tick_goes_first_and_the_new_one_is_owed():
    unfinished = running(AGAIN, until=T + 300)

    first = taken(unfinished, want(T + 60, AGAIN, until=T + 360), T + 60, 9)
    assert (first.record.running.tick, first.record.running.attempt) == (T, 2)
    assert first.record.owed == (Owed(T + 60, T + 360, 0),)

    done = finish(first.record, Ending.OK, T + 61, AGAIN, again=False)
    second = taken(done, want(T + 60, AGAIN, until=T + 360), T + 62, 10)
    assert (second.record.running.tick, second.record.running.attempt) == (T + 60, 1)
    assert second.record.owed == ()


def test_an_interrupted_run_is_owed_to_whoever_comes():
    record = ran(AGAIN, Ending.INTERRUPTED, again=True)

    assert taken(record, want(policy=AGAIN), T + 2, 9).record.running.attempt == 2
    assert when_free(record, want(), T + 2, 9) == Leave(SkipReason.DIED, "other"), "at most once, says this caller"


def test_a_run_that_failed_with_all_its_retries_is_over():
    assert when_free(ran(AGAIN, Ending.FAILED), want(policy=AGAIN), T + 2, 9) == Leave(SkipReason.FAILED, "other")


# -- the rest


def test_nothing_starts_before_it_was_held_for_long_enough():
    record = ran(Policy(hold_for=90))

    assert when_free(record, want(T + 60, until=T + 120), T + 60, 9) == Leave(SkipReason.HELD)
    assert isinstance(when_free(record, want(T + 120, until=T + 180), T + 120, 9), Take)


@pytest.mark.parametrize("is_led", [True, False])
def test_a_paused_job_is_left_until_it_is_resumed(is_led):
    record = pause(ran(tick=T - 60), "boss", T - 1)

    assert record.paused == Pause("boss", T - 1)
    left = while_led(record, want(), T, T) if is_led else when_free(record, want(), T, 9)
    assert left == Leave(SkipReason.PAUSED, "boss")
    assert isinstance(when_free(resume(record, T), want(), T, 9), Take)


def test_resuming_forgets_ticks_that_a_wrong_clock_ran_ahead_of_their_time():
    astray = ran(tick=T + 86_400)

    assert when_free(astray, want(), T, 9) == Leave(SkipReason.NEWER)
    assert isinstance(when_free(resume(astray, T - 1), want(), T, 9), Take)


def test_a_run_by_hand_asks_neither_schedule_nor_pause_and_uses_up_no_tick():
    record = pause(ran(tick=T - 60), "boss", T)

    take = taken(record, want(T - 0.5, by_hand=True), T - 0.5, 9)
    assert take.record.newest == T - 60
    after = finish(take.record, Ending.OK, T, ONCE, again=False)

    assert after.history[-1].by_hand
    assert isinstance(when_free(resume(after, T), want(), T, 10), Take)


def test_a_run_by_hand_does_not_overlap_unless_it_queues():
    assert while_led(running(), want(T + 1, by_hand=True), T + 1, T) is Wish.TRY
    queue = want(T + 1, Policy(overlap="queue"), by_hand=True)
    assert while_led(running(), queue, T + 1, T) is Wish.WAIT


def test_history_keeps_when_it_was_run_by_whom_and_how_it_ended():
    [outcome] = ran(how=Ending.FAILED).history

    assert outcome == (T, 7, "other", T, T + 1, Ending.FAILED, 1, False)


# -- options


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"runs": "exactly-once"}, ValueError, "'at-most-once', 'at-least-once'"),
        ({"overlap": "both"}, ValueError, "overlap is one of 'skip', 'queue'"),
        ({"misfire": "all"}, ValueError, "misfire is one of"),
        ({"tolerance": -1}, ValueError, "tolerance is a number of seconds"),
        ({"window": "1h"}, TypeError, "window is a number of seconds"),
        ({"hold_for": float("inf")}, ValueError, "hold_for is a number of seconds"),
        ({"hold_for": None}, TypeError, "hold_for is a number of seconds"),
        ({"max_run": 0}, ValueError, "max_run is a number of seconds, at least 0.001"),
        ({"retries": 1}, ValueError, "at-most-once excludes"),
        ({"retries": -1, "runs": "at-least-once"}, ValueError, "zero or more"),
        ({"retries": 1.5}, TypeError, "whole number"),
        ({"retries": True}, TypeError, "whole number"),
    ],
)
def test_an_option_that_cannot_work_is_refused_with_the_reason(options, error, words):
    with pytest.raises(error, match=words):
        Policy(**options)
