"""ManualClock: time passes when a test says so, and those who wait are told."""

import gc
import threading

import pytest

from leaderlock._bell import Bell
from leaderlock._clock import Clock
from leaderlock._protocol.clocks import Instant
from leaderlock.testing import ManualClock


def test_it_stands_still_until_it_is_advanced():
    clock: Clock = ManualClock(start=10.0, wall=1000.0)

    readings = {clock.now() for _ in range(100)}

    assert readings == {Instant(10.0, 10.0, 1000.0)}
    assert clock.boot() == 10.0


def test_advancing_moves_all_clocks():
    clock = ManualClock(start=10.0, wall=1000.0)

    clock.advance(2.5)

    assert clock.now() == Instant(12.5, 12.5, 1002.5)
    assert clock.boot() == 12.5


def test_a_suspended_machine_stops_the_second_clock_alone():
    clock = ManualClock(start=10.0, wall=1000.0)

    clock.suspend(60.0)

    assert clock.now() == Instant(70.0, 10.0, 1060.0)


def test_a_slewed_clock_runs_at_another_rate_from_then_on():
    clock = ManualClock(start=0.0, wall=0.0)
    clock.advance(10.0)

    clock.slew(0.5)
    clock.advance(10.0)

    assert clock.now() == Instant(15.0, 20.0, 15.0)


def test_a_step_moves_the_wall_clock_alone():
    clock = ManualClock(start=10.0, wall=1000.0)

    clock.step_wall(-3600.0)

    assert clock.now() == Instant(10.0, 10.0, -2600.0)


@pytest.mark.parametrize(("method", "value"), [("advance", -1.0), ("suspend", -1.0), ("slew", 0.0), ("slew", -1.0)])
def test_a_steady_clock_does_not_go_back(method, value):
    clock = ManualClock(start=10.0)

    with pytest.raises(ValueError):
        getattr(clock, method)(value)

    assert clock.boot() == 10.0


def test_threads_that_advance_at_once_lose_no_second():
    clock = ManualClock(start=0.0)
    threads = [threading.Thread(target=lambda: [clock.advance(1.0) for _ in range(500)]) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert clock.boot() == 4000.0


def test_a_waiter_sees_an_hour_pass_at_once():
    clock, bell = ManualClock(), Bell()
    until = clock.boot() + 3600.0
    is_waiting, is_over = threading.Event(), threading.Event()

    def wait() -> None:
        while clock.boot() < until:
            is_waiting.set()
            clock.wait(bell, until - clock.boot())
        is_over.set()

    threading.Thread(target=wait, daemon=True).start()
    assert is_waiting.wait(5.0)

    was_over = is_over.is_set()
    clock.advance(3600.0)

    assert not was_over
    assert is_over.wait(5.0)


def test_a_waiter_is_woken_by_a_ring_as_by_time():
    clock, bell = ManualClock(), Bell()
    inbox, is_over = [], threading.Event()

    def wait() -> None:
        while not inbox:
            clock.wait(bell, 3600.0)
        is_over.set()

    threading.Thread(target=wait, daemon=True).start()
    inbox.append("event")
    bell.ring()

    assert is_over.wait(5.0)


def test_nothing_is_waited_for_when_no_time_is_left():
    clock, bell = ManualClock(), Bell()

    clock.wait(bell, 0.0)
    clock.wait(bell, -1.0)

    assert not clock._waiting


def test_who_no_longer_waits_is_forgotten():
    clock, bell = ManualClock(), Bell()
    clock.wait(bell, 1.0)

    del bell
    gc.collect()

    assert not clock._waiting
    clock.advance(1.0)
