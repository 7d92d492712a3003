"""Deadlines as pairs of instants, and durations validated together."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock._clock import SteadyClock, kernel_identity
from leaderlock._protocol.clocks import FOREVER, PAST, Deadline, Instant, Timing

seconds = st.floats(0, 1e6)


def test_after_a_sleep_and_a_slew_a_wait_of_a_hundred_seconds_is_a_hundred_seconds():
    """Counted from one origin, the greater of two readings would say so after 92.4 (ADR 0006)."""
    start = Instant(0.0, 0.0, 0.0)
    asleep = Instant(10.0, 0.0, 10.0)
    wait = Deadline.after(asleep, 100.0)
    after_93 = Instant(asleep.boot + 93 * 1.083, asleep.raw + 93, 0.0)

    assert start.plus(1) == Instant(1.0, 1.0, 1.0)
    assert max(after_93.boot, after_93.raw) > max(asleep.boot, asleep.raw) + 100
    assert not wait.has_passed(after_93)
    assert not wait.has_passed(Instant(asleep.boot + 99.9 * 1.083, asleep.raw + 99.9, 0.0))
    assert wait.has_passed(Instant(asleep.boot + 100 * 1.083, asleep.raw + 100, 0.0))


@given(seconds, seconds, seconds, seconds)
def test_a_claim_never_stands_when_a_wait_for_as_long_is_over(since, length, boot, raw):
    start = Instant(since, since, 0.0)
    now = Instant(since + boot, since + raw, 0.0)
    end = Deadline.after(start, length)

    assert not (end.is_ahead(now) and end.has_passed(now))
    assert (end.remaining(now) > 0) == end.is_ahead(now)
    assert (end.to_wait(now) <= 0) == end.has_passed(now)


@given(seconds, seconds)
def test_the_quick_look_never_says_more_than_the_whole_one(length, boot):
    """On the first clock's word alone, while that is slewed by no more than any is."""
    start = Instant(0.0, 0.0, 0.0)
    end = Deadline.after(start, length)
    raw = boot / 0.86  # the first clock runs as slowly as the steepest slew makes it
    now = Instant(boot, raw, 0.0)

    if now.boot < end.surely:
        assert end.is_ahead(now)


def test_the_ends_of_time():
    now = Instant(5.0, 5.0, 5.0)

    assert not PAST.is_ahead(now)
    assert PAST.has_passed(now)
    assert FOREVER.is_ahead(now)
    assert FOREVER.to_wait(now) == math.inf


@pytest.mark.parametrize(
    ("what", "length"),
    [
        *itertools.product(["ttl", "rho", "longest"], ["", "15", None, True, [15], 15j]),
        *itertools.product(["renew_every"], ["", "15", True, [15], 15j]),
    ],
)
def test_a_duration_is_a_number(what, length):
    with pytest.raises(TypeError, match=f"{what} is a number of seconds, not {type(length).__name__}"):
        Timing(**{"ttl": 15, "rho": 0.005, what: length})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ttl": 0}, "between 0.1 s and 86400 s; 15 s suits most"),
        ({"ttl": -5}, "between 0.1 s"),
        ({"ttl": 0.05}, "between 0.1 s"),
        ({"ttl": math.nan}, "must be finite"),
        ({"ttl": math.inf}, "must be finite"),
        ({"ttl": 1e9, "longest": 1e9}, "between 0.1 s"),
        ({"ttl": 31}, "exceeds the namespace's longest .30 s.; give every client of this namespace longest=31"),
        ({"longest": 100_000}, "at most a day"),
        ({"rho": 0.5}, "fraction between 0 and 0.2"),
        ({"rho": -0.1}, "fraction between 0 and 0.2"),
        ({"renew_every": 8}, "leave room to retry before ttl .15 s.; use at most 7.5 s"),
        ({"renew_every": -1}, "renew_every .-1 s. must be above zero"),
    ],
)
def test_durations_that_cannot_work_are_refused_with_the_rule_and_the_numbers(options, text):
    with pytest.raises(ValueError, match=text):
        Timing(**{"ttl": 15, "rho": 0.005, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": 0.1},
        {"ttl": 86_400, "longest": 86_400},
        {"ttl": 30},
        {"rho": 0},
        {"rho": 0.2},
        {"renew_every": 7.5},
    ],
    ids=str,
)
def test_what_the_refusals_name_as_the_utmost_is_taken(options):
    timing = Timing(**{"ttl": 15, "rho": 0.005, **options})

    assert {what: getattr(timing, what) for what in options} == options


def test_less_than_a_second_is_not_cut_to_none():
    timing = Timing(ttl=0.3, rho=0.005)

    assert timing.renew_every == pytest.approx(0.1)
    assert timing.attempt == pytest.approx(0.075)


@given(st.floats(0.1, 30), st.floats(0, 0.2), seconds, st.floats(0, 60))
def test_a_claim_ends_before_a_rival_that_saw_it_may_bury_it(ttl, rho, sent, travelled):
    timing = Timing(ttl=ttl, rho=rho)
    claim = timing.claim(Instant(sent, sent, 0.0))
    wait = timing.wait_out(Instant(sent + travelled, sent + travelled, 0.0), ttl)

    assert claim.boot <= wait.boot
    assert claim.raw <= wait.raw


def test_the_machine_s_clocks_go_on_and_agree():
    clock = SteadyClock()
    before = clock.now()
    after = clock.now()

    assert after.boot >= before.boot
    assert after.raw >= before.raw
    assert 0 < clock.rho <= 0.1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="these are Linux's names of them")
def test_a_step_of_the_wall_clock_moves_no_deadline_and_a_suspended_machine_s_time_counts(monkeypatch):
    """The one clock counts suspend, the other is not slewed, and neither is the wall clock, which anybody may set."""
    readings = {time.CLOCK_BOOTTIME: 5000.0, time.CLOCK_MONOTONIC_RAW: 4000.0}
    monkeypatch.setattr(time, "clock_gettime", readings.__getitem__)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "monotonic", lambda: 3000.0)
    clock = SteadyClock()

    assert clock.boot() == 5000.0
    assert clock.now() == Instant(boot=5000.0, raw=4000.0, wall=2e9)
    assert clock.rho == 0.005


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_two_processes_of_one_kernel_know_that_they_are():
    program = "from leaderlock._clock import kernel_identity; print(*kernel_identity())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)

    assert tuple(done.stdout.split()) == kernel_identity()
