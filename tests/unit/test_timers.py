"""The engine's alarm clock, against a model that keeps a plain list."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from leaderlock._protocol.clocks import Deadline, Instant
from leaderlock._timers import Timers


def at(boot, raw=None):
    return Instant(boot, boot if raw is None else raw, 0.0)


def until(boot, raw=None):
    return Deadline(boot, boot if raw is None else raw, boot)


def test_a_timer_is_due_at_its_instant_and_once():
    timers = Timers()
    timers.set("a", until(10), patiently=False)

    assert timers.due(at(9.999)) == []
    assert timers.due(at(10)) == ["a"]
    assert timers.due(at(11)) == []
    assert len(timers) == 0


def test_setting_a_timer_replaces_its_earlier_setting():
    timers = Timers()
    timers.set("a", until(10), patiently=False)
    timers.set("a", until(20), patiently=False)

    assert timers.due(at(15)) == []
    assert timers.next_in(at(15)) == 5
    assert timers.due(at(20)) == ["a"]


def test_who_must_stop_is_due_when_one_clock_has_passed():
    """The one that stands still in suspend must not keep a claim alive, nor the one that is slewed."""
    for now in (at(10, 3), at(3, 10)):
        timers = Timers()
        timers.set("a", until(10), patiently=False)
        assert timers.due(now) == ["a"]


def test_who_waits_for_another_is_due_when_both_clocks_have_passed():
    timers = Timers()
    timers.set("a", until(10), patiently=True)

    assert timers.due(at(10, 3)) == []
    assert timers.due(at(12, 9.9)) == []
    assert timers.due(at(12, 10)) == ["a"]


def test_a_deadline_on_one_clock_alone_is_a_wait_too():
    timers = Timers()
    timers.set("a", Deadline(10.0, -math.inf, 10.0), patiently=True)

    assert timers.due(at(5)) == []
    assert timers.next_in(at(5)) == 5
    assert timers.due(at(10)) == ["a"]


def test_timers_that_cannot_be_compared_may_be_due_at_one_instant():
    timers, callbacks = Timers(), {object() for _ in range(10)}
    for callback in callbacks:
        timers.set(callback, until(10), patiently=False)

    assert set(timers.due(at(10))) == callbacks


def test_cancelling_is_for_ever_and_may_be_for_nothing():
    timers = Timers()
    timers.set("a", until(10), patiently=False)
    timers.cancel("a")
    timers.cancel("never set")

    assert timers.next_in(at(0)) is None
    assert timers.due(at(100)) == []


def test_keeping_some_cancels_the_others():
    timers = Timers()
    for name in "abc":
        timers.set(name, until(10), patiently=False)
    timers.keep(lambda timer: timer == "b")

    assert timers.due(at(10)) == ["b"]


def test_what_was_replaced_a_thousand_times_leaves_nothing_behind():
    timers = Timers()
    for number in range(10_000):
        timers.set("a", until(number), patiently=False)

    assert len(timers._by_boot) < 200


times = st.integers(0, 30).map(float)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.sampled_from("abcd"), times, times, st.booleans()),
        st.tuples(st.just("cancel"), st.sampled_from("abcd")),
        st.tuples(st.just("pass"), times, times),
    ),
    max_size=40,
)


@given(steps)
def test_timers_do_what_a_plain_list_would(steps):
    timers, model, now = Timers(), {}, at(0.0)
    for step in steps:
        match step:
            case ("set", name, boot, raw, patiently):
                timers.set(name, until(boot, raw), patiently=patiently)
                model[name] = (until(boot, raw), patiently)
            case ("cancel", name):
                timers.cancel(name)
                model.pop(name, None)
            case ("pass", boot, raw):
                now = at(now.boot + boot, now.raw + raw)
                due = {
                    name
                    for name, (end, patiently) in model.items()
                    if (end.has_passed(now) if patiently else not end.is_ahead(now))
                }
                assert set(timers.due(now)) == due
                model = {name: setting for name, setting in model.items() if name not in due}
        assert len(timers) == len(model)
        wait = timers.next_in(now)
        assert (wait is None) == (not model)
