"""Renewal on the store's worst days: what may go wrong between two answers, and what must not follow from it."""

from __future__ import annotations

import logging
import random
import threading
import time

import pytest
import tenacity

from leaderlock import LeaseLost, LossReason
from leaderlock._callbacks import Callbacks
from leaderlock._client import engine_of
from leaderlock._clock import SteadyClock
from leaderlock._journal import Journal
from leaderlock.testing import Fault


def about_sessions(keys):
    return any(key.startswith("session/") for key in keys)


def test_the_session_is_renewed_every_third_of_a_ttl(client, backend, clock, pass_time):
    lease = client.election("a").campaign()
    swaps = backend.count("swap")

    pass_time(lease, 30)

    assert backend.count("swap") - swaps == 6
    assert lease.is_held


def test_a_renewal_that_never_returns_does_not_delay_loss(client, backend, clock, eventually):
    lease = client.election("a").campaign()
    lost = threading.Event()
    lease.on_lost(lambda _: lost.set())
    hung = threading.Event()
    hanging = backend.before(hung.wait, times=None)

    clock.advance(5.1)
    eventually(lambda: hanging.hits)  # from here on nothing but the deadline's own timer is left to fire
    clock.advance(10)

    assert not lease.is_held
    assert lost.wait(10)
    hung.set()


def test_the_deadline_fires_without_any_call(client, backend, clock):
    lease = client.election("a").campaign()
    lost = threading.Event()
    lease.on_lost(lambda _: lost.set())
    backend.calls.clear()
    with backend.inject(Fault.HANG, op="any", times=None):
        clock.advance(14.93)
        assert not lease.is_held
        assert lost.wait(10)

    assert lease.lost_reason is LossReason.EXPIRED


def test_a_blip_of_the_store_deposes_nobody(client, backend, clock, eventually):
    """Unknown is jeopardy, not loss; the same term goes on with the same token."""
    lease = client.election("a").campaign()
    token = lease.token
    blip = backend.inject(Fault.NEVER_SENT, op="any", times=None)
    clock.advance(5.1)
    eventually(lambda: lease.state == "jeopardy")
    assert lease.is_held

    blip.cancel()
    eventually(lambda: clock.advance(0.05) or lease.state == "leading")

    assert lease.token == token
    assert lease.is_held


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.BUG, Fault.REFUSE, Fault.LATE, Fault.CUT])
def test_a_failed_renewal_is_tried_again_while_the_deadline_is_ahead(client, backend, clock, eventually, fault):
    lease = client.election("a").campaign()
    backend.inject(fault, when=about_sessions, times=3)

    clock.advance(5.1)
    eventually(lambda: clock.advance(0.05) or (lease.state == "leading" and lease.remaining > 10))

    assert clock.boot() - 1_000 < 14
    backend.deliver_late()
    clock.advance(5)
    eventually(lambda: lease.remaining > 10)


@pytest.mark.parametrize("op", ["read", "swap", "any"])
def test_a_driver_s_bugs_never_kill_the_loop(client, backend, clock, eventually, caplog, op):
    lease = client.election("a").campaign()
    with caplog.at_level(logging.CRITICAL), backend.inject(Fault.BUG, op=op, times=None) as bug:
        clock.advance(5.1)
        eventually(lambda: bug.hits)

    eventually(lambda: clock.advance(0.02) or lease.remaining > 12)
    assert lease.is_held


def test_the_deadline_is_counted_from_before_sending(client, backend, clock, eventually):
    """An answer that comes late leaves less, not a whole ttl."""
    backend.before(lambda: clock.advance(2), when=about_sessions)
    lease = client.election("a").campaign()
    assert lease.remaining == pytest.approx(15 * 0.995 - 2)
    opened = lease.deadline
    backend.before(lambda: clock.advance(3), when=about_sessions)

    clock.advance(5.1)
    eventually(lambda: lease.deadline != opened)

    assert lease.remaining == pytest.approx(15 * 0.995 - 3)


def test_a_late_answer_does_not_revive_a_lease_whose_deadline_has_passed(client, backend, clock, eventually):
    lease = client.election("a").campaign()
    backend.before(lambda: clock.advance(11), when=about_sessions)

    clock.advance(5.1)
    eventually(lambda: lease.state == "lost")

    clock.advance(0.1)
    assert not lease.is_held


def test_a_hung_read_does_not_delay_a_renewal(client, backend, clock, eventually):
    lease = client.election("a").campaign()
    answer = threading.Event()
    hung = backend.before(answer.wait, op="read", times=None)  # not even its time-out ends it

    try:
        for _ in range(6):
            clock.advance(5)
            eventually(lambda: lease.remaining > 10)
        assert hung.hits
        lease.check()
    finally:
        answer.set()


def test_callbacks_that_block_or_raise_never_delay_renewals(client, pass_time):
    lost, kept = client.election("lost").campaign(), client.election("kept").campaign()
    stuck = threading.Event()
    lost.on_lost(lambda _: stuck.wait(30))
    lost.on_lost(lambda _: 1 / 0)
    client.resign("lost", now=True)

    pass_time(kept, 60)

    kept.check()
    stuck.set()


class Strategy:
    """What a user may hand in as ``wait``; notes when it was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def __call__(self, state):
        self.asked.append(state.attempt_number)
        return self.answer() if callable(self.answer) else self.answer


@pytest.mark.parametrize(
    "answer", [0, -5, 1e9, float("inf"), float("nan"), None, "soon", lambda: 1 / 0], ids=lambda value: repr(value)[:8]
)
def test_a_broken_wait_strategy_costs_no_lease(open_client, backend, clock, eventually, caplog, answer):
    strategy = Strategy(answer)
    lease = open_client(backend, clock=clock, back_off=strategy).election("a").campaign()
    with caplog.at_level(logging.CRITICAL, "leaderlock"):
        failing = backend.inject(Fault.NEVER_SENT, when=about_sessions, times=2)
        clock.advance(5.1)
        eventually(lambda: clock.advance(0.02) or (failing.left == 0 and lease.remaining > 10))

    assert strategy.asked[:2] == [1, 2]
    assert clock.boot() - 1_000 < 14


@pytest.mark.parametrize("wait", [tenacity.wait_fixed(0.5), tenacity.wait_none(), tenacity.wait_random(0, 0.2)])
def test_tenacity_s_own_strategies_serve(open_client, backend, clock, eventually, wait):
    lease = open_client(backend, clock=clock, back_off=wait).election("a").campaign()
    backend.inject(Fault.NEVER_SENT, when=about_sessions, times=2)

    clock.advance(5.1)
    eventually(lambda: clock.advance(0.02) or lease.remaining > 10)


def test_a_wait_strategy_is_asked_for_its_seconds(open_client, backend, clock, eventually):
    lease = open_client(backend, clock=clock, back_off=Strategy(2.0)).election("a").campaign()
    failing = backend.inject(Fault.NEVER_SENT, when=about_sessions)
    clock.advance(5)
    eventually(lambda: failing.hits)
    eventually(lambda: lease.state == "jeopardy")
    swaps = backend.count("swap")

    clock.advance(1.9)
    time.sleep(0.05)  # as long as it takes to see nothing happen
    assert backend.count("swap") == swaps
    clock.advance(0.2)
    eventually(lambda: backend.count("swap") > swaps)


def test_back_off_has_jitter_grows_and_is_cut():
    from leaderlock._backoff import BackOff

    back_off = BackOff(None, 15, Journal(Callbacks(), SteadyClock()))

    first = {back_off(1) for _ in range(50)}
    late = [back_off(12) for _ in range(50)]

    assert len(first) > 40
    assert len(set(late)) > 40
    assert max(late) > max(first)
    assert max(late) <= 15 / 4


def test_a_busy_main_thread_keeps_its_lease(open_client, backend):
    """Renewal has a thread of its own: pure Python that never waits cannot stop it."""
    lease = open_client(backend, ttl=2).election("a").campaign()
    until, count = time.monotonic() + 4.5, 0

    while time.monotonic() < until:
        count += 1
        if not lease.is_held:
            raise LeaseLost("lost", reason=str(lease.lost_reason))

    assert lease.state == "leading"


def test_a_store_that_loses_every_third_answer_keeps_its_leader(client, backend, clock, eventually):
    lease = client.election("a").campaign()
    engine = engine_of(client)
    dice = random.Random(1)
    backend.inject(Fault.LOST_AFTER, times=None, when=lambda _: dice.random() < 1 / 3)

    def is_at_rest():
        with engine.locked():  # not between the moment when a timer is due and what it does
            return engine._clockwork._timers.next_in(clock.now()) and engine._machine._sessions.current.renewing is None

    for _ in range(300):
        clock.advance(0.2)
        eventually(lambda: not lease.is_held or is_at_rest())

    lease.check()
