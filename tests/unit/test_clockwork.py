"""The thread that fires timers: it sleeps until the next one and no longer, whatever is set meanwhile."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from leaderlock._clockwork import Clockwork
from leaderlock._protocol.clocks import Deadline, Instant
from leaderlock.errors import LeaderLockError

SOON = 10.0
"""Seconds that a thread is given before it is said to hang."""


class Clock:
    """Stands where a test puts it, and says for how long somebody is about to wait. Only the bell ends a wait."""

    def __init__(self):
        self.boot, self.raw = 1000.0, 5000.0
        self.waits: SimpleQueue[float] = SimpleQueue()

    def now(self):
        return Instant(self.boot, self.raw, 0.0)

    def wait(self, bell, seconds):
        self.waits.put(seconds)
        bell.wait(SOON)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def done():
    """What the clockwork has done, in order."""
    return SimpleQueue()


@pytest.fixture
def lock():
    return threading.RLock()


@pytest.fixture
def clockwork(clock, done, lock):
    clockwork = Clockwork(clock, locked=lambda: lock, look=lambda _: done.put("look"), fire=done.put, failed=done.put)
    yield clockwork
    clockwork.stop()
    clockwork.join(SOON)


def after(clock, seconds):
    return Deadline.after(clock.now(), seconds)


def heard(done, count):
    return [done.get(timeout=SOON) for _ in range(count)]


def test_it_sleeps_until_the_next_timer_is_due(clockwork, clock, lock):
    with lock:
        clockwork.set("late", after(clock, 70.0), patiently=False)
        clockwork.set("soon", after(clock, 7.0), patiently=False)

    assert clock.waits.get(timeout=SOON) == pytest.approx(7.0)


def test_an_earlier_timer_cuts_a_sleep_short(clockwork, clock, lock):
    with lock:
        clockwork.set("late", after(clock, 70.0), patiently=False)
    clock.waits.get(timeout=SOON)

    with lock:
        clockwork.set("soon", after(clock, 7.0), patiently=False)

    while clock.waits.get(timeout=SOON / 2) != pytest.approx(7.0):
        pass


def test_it_looks_before_it_fires_anything_and_fires_what_is_due_with_the_lock_held(clock, done, lock):
    def fire(timer):
        done.put((timer, lock._is_owned()))

    clockwork = Clockwork(clock, locked=lambda: lock, look=lambda _: done.put("look"), fire=fire, failed=done.put)
    with lock:
        clockwork.set("a", after(clock, 0.0), patiently=False)

    assert heard(done, 2) == ["look", ("a", True)]
    clockwork.stop()
    clockwork.join(SOON)


def test_a_callback_that_leaderlock_refuses_keeps_no_timer_from_being_fired(clockwork, clock, done, lock):
    def refused():
        raise LeaderLockError("told already")

    with lock:
        clockwork.call_in(0.0, refused)
        clockwork.set("a", after(clock, 0.0), patiently=False)

    assert heard(done, 2) == ["look", "a"]


def test_timers_are_cancelled_without_the_callbacks(clockwork, clock, done, lock):
    with lock:
        clockwork.set("a", after(clock, 0.0), patiently=False)
        clockwork.call_in(0.0, lambda: done.put("called"))
        clockwork.cancel_timers()

    assert heard(done, 2) == ["look", "called"]


def test_a_cancelled_timer_is_not_fired(clockwork, clock, done, lock):
    with lock:
        clockwork.set("a", after(clock, 0.0), patiently=False)
        clockwork.set("b", after(clock, 0.0), patiently=False)
        clockwork.cancel("a")

    assert heard(done, 2) == ["look", "b"]


def test_a_stop_cuts_a_sleep_short(clockwork, clock, lock):
    with lock:
        clockwork.set("late", after(clock, 70.0), patiently=False)
    clock.waits.get(timeout=SOON)

    clockwork.stop()

    clockwork.join(SOON / 2)
    assert not any(thread.is_alive() for thread in clockwork._thread._threads)
