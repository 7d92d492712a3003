"""A lease in the hands of its holder: looks, ensure, notes, the end, and the news of it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from leaderlock import BackendRefused, BackendUnavailable, LeaseLost, LossReason
from leaderlock._client import engine_of
from leaderlock._lease import course_of
from leaderlock.testing import Fault


def about_names(keys):
    return keys[0].startswith("name/")


# -- looks


def test_a_look_takes_no_lock_and_makes_no_call(client, backend, clock, in_background, eventually):
    """Not near its deadline either, where both clocks are read."""
    lease = client.election("a").campaign()
    clock.advance(4.9)
    assert lease._boot() < lease.deadline.surely
    backend.calls.clear()

    def look():
        lease.check()
        return lease.is_held, lease.remaining > 1, lease.state, lease.lost_reason

    for _ in range(2):
        with engine_of(
            client
        ).locked():  # by another thread than the one that looks: who has the lock may take it again
            looked = in_background(look)
            eventually(lambda looked=looked: looked)
        assert looked == [(True, True, "leading", None)]
        lease._candidacy.standing.until = lease.deadline._replace(surely=0.0)
    assert backend.calls == []


def test_the_token_never_changes_during_a_term(client, pass_time):
    lease = client.election("a").campaign()
    token = lease.token

    pass_time(lease, 60)
    lease.save_note(b"x")

    assert lease.token == token


def test_tokens_rise_over_terms_clients_and_wipes(client, rival, store):
    tokens = []
    for candidate in (client, rival, client, client):
        with candidate.election("a") as lease:
            tokens.append(lease.token)
    store.forget(wipe=True)
    rival.init(force=True)
    with rival.election("a", timeout=20) as lease:
        tokens.append(lease.token)

    assert tokens == sorted(set(tokens))


# -- ensure


def test_ensure_renews_only_when_less_is_left(client, backend, clock):
    lease = client.election("a").campaign()
    swaps = backend.count("swap")
    lease.ensure(10)
    assert backend.count("swap") == swaps

    clock.advance(1)
    lease.ensure(14.5)

    assert backend.count("swap") == swaps + 1
    assert lease.remaining >= 14.5


@pytest.mark.parametrize("seconds", [15, 14.93, -1, float("nan"), float("inf")])
def test_ensure_refuses_what_no_renewal_can_leave(client, seconds):
    lease = client.election("a").campaign()

    with pytest.raises(ValueError, match="longer ttl or ask for less"):
        lease.ensure(seconds)


def test_ensure_may_be_asked_for_no_time_at_all(client, backend):
    lease = client.election("a").campaign()
    swaps = backend.count("swap")

    lease.ensure(0)

    assert backend.count("swap") == swaps


def test_ensure_of_a_silent_store_says_so_and_keeps_the_lease(open_client, backend):
    lease = open_client(backend, ttl=2).election("a").campaign()
    with backend.inject(Fault.NEVER_SENT, op="any", times=None):
        time_left = lease.remaining

        with pytest.raises(BackendUnavailable, match="could not be renewed"):
            lease.ensure(min(time_left, 1.9899))
    lease.check()


def test_ensure_waits_for_a_renewal_under_way_and_then_renews_once_more(open_client, backend, in_background):
    """One that was sent a while ago cannot leave as much as was asked for."""
    lease = open_client(backend, ttl=4).election("a").campaign()
    backend.delay(0.3, op="swap", times=1)

    early = in_background(lambda: lease.ensure(3.97))
    time.sleep(0.05)
    lease.ensure(3.9)

    assert lease.remaining > 3.5
    assert early in ([], [None])


def test_a_wall_clock_that_jumped_makes_ensure_renew_before_it_answers(client, backend, clock):
    lease = client.election("a").campaign()
    swaps = backend.count("swap")

    clock.step_wall(60)
    lease.ensure(1)

    assert backend.count("swap") > swaps
    swaps = backend.count("swap")
    lease.ensure(1)
    assert backend.count("swap") == swaps


def test_a_renewal_sent_before_the_wall_clock_jumped_proves_nothing(client, backend, clock, in_background, eventually):
    lease = client.election("a").campaign()
    hung = backend.inject(Fault.HANG)
    clock.advance(5.1)
    eventually(lambda: hung.hits)
    swaps = backend.count("swap")

    clock.step_wall(60)
    ensured = in_background(lambda: lease.ensure(1))
    backend.release_hung()

    eventually(lambda: ensured)
    assert ensured == [None]
    assert backend.count("swap") > swaps


def test_a_wall_clock_set_back_makes_nothing_suspect(client, backend, clock):
    lease = client.election("a").campaign()
    swaps = backend.count("swap")

    clock.step_wall(-3600)
    lease.ensure(1)

    assert backend.count("swap") == swaps
    assert lease.is_held


def test_what_was_done_under_a_lease_leaves_nobody_listening(client, backend):
    """Or a term of a year would keep every note that it ever saved."""
    lease = client.election("a").campaign()

    lease.save_note(b"x")
    lease.wait_lost(timeout=0)
    backend.inject(Fault.REFUSE, when=about_names)
    with pytest.raises(BackendRefused):
        lease.save_note(b"y")

    assert course_of(lease)._listeners == []


# -- the end


def test_resigning_ends_the_claim_before_the_store_is_told(client, backend, clock, in_background, eventually):
    lease = client.election("a").campaign()
    hung = backend.inject(Fault.HANG)

    resigned = in_background(lease.resign)
    eventually(lambda: hung.hits)

    assert not lease.is_held
    assert resigned == []
    with pytest.raises(LeaseLost, match="was resigned"):
        lease.check()
    backend.release_hung()
    eventually(lambda: clock.advance(0.1) or resigned)


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.NEVER_SENT, Fault.REFUSE, Fault.BUG])
def test_a_lost_reply_to_a_release_is_not_a_false_not_owned(client, rival, backend, clock, in_background, fault):
    lease = client.election("a").campaign()
    backend.inject(fault, when=about_names)

    resigned = in_background(lease.resign)
    while not resigned:
        clock.advance(0.01)
        time.sleep(0.001)

    assert resigned == [True]
    assert rival.election("a").campaign(timeout=0).is_held


def test_a_second_resignation_does_not_claim_that_the_first_is_acknowledged(client, backend):
    lease = client.election("a").campaign()
    backend.inject(Fault.LATE, when=about_names)
    assert not lease.resign(timeout=0)

    assert not lease.resign(timeout=0)


def test_resigning_twice_and_what_is_lost_does_nothing(client, clock, eventually):
    lease, lost = client.election("a").campaign(), client.election("b").campaign()
    assert lease.resign()
    assert lease.resign()
    assert lease.lost_reason is None

    clock.advance(60)
    eventually(lambda: lost.state == "lost")

    assert not lost.resign()
    assert lost.lost_reason is LossReason.EXPIRED


def test_a_release_that_the_store_never_heard_of_is_not_acknowledged_when_its_session_ends(
    client, backend, rival, clock, in_background, eventually, caplog
):
    lease = client.election("a").campaign()
    lease.save_note(b"one")
    with (
        backend.inject(Fault.NEVER_SENT, op="any", times=None),
        caplog.at_level(logging.INFO, "leaderlock"),
    ):
        resigned = in_background(lambda: lease.resign(timeout=600, note=b"two"))
        eventually(lambda: lease.state == "resigned")
        eventually(lambda: clock.advance(0.1) or resigned)
        assert resigned == [False]
        eventually(lambda: "the store has not acknowledged it" in caplog.text)
    assert not lease.resign()

    assert rival.election("a").campaign().note == b"one"


# -- the news


def test_listeners_are_called_in_order_each_once_and_one_that_raises_stops_nobody(client, clock, eventually, caplog):
    lease = client.election("a").campaign()
    called = []
    lease.on_lost(lambda lease: called.append((1, lease)))
    lease.on_lost(lambda lease: 1 / 0)
    lease.on_lost(lambda lease: called.append((2, lease)))

    with caplog.at_level(logging.CRITICAL):
        clock.advance(60)
        eventually(lambda: len(called) == 2)

    assert called == [(1, lease), (2, lease)]
    assert not lease.is_held


def test_a_listener_that_calls_sys_exit_does_not_silence_the_ones_after_it(client, clock, eventually, caplog):
    lease = client.election("a").campaign()
    called = threading.Event()
    lease.on_lost(lambda _: exit(1))
    lease.on_lost(lambda _: called.set())

    with caplog.at_level(logging.CRITICAL, "leaderlock"):
        clock.advance(60)

        assert called.wait(10)


def test_a_listener_of_a_lease_that_is_lost_already_is_called_at_once(client, clock, eventually):
    lease = client.election("a").campaign()
    clock.advance(60)
    eventually(lambda: lease.state == "lost")
    called = threading.Event()

    lease.on_lost(lambda _: called.set())

    assert called.wait(10)


def test_a_listener_of_a_lease_lost_by_closing_is_called_also_afterwards(client):
    lease = client.election("a").campaign()
    before, after = threading.Event(), threading.Event()
    lease.on_lost(lambda _: before.set())
    client.close()

    lease.on_lost(lambda _: after.set())

    assert before.wait(10)
    assert after.wait(10)


def test_a_listener_is_not_called_for_a_resignation(client, eventually):
    lease = client.election("a").campaign()
    called = []
    lease.on_lost(called.append)

    lease.resign()
    client.close()

    assert called == []


def test_a_listener_is_a_function(client):
    with pytest.raises(TypeError, match="on_lost takes a function"):
        client.election("a").campaign().on_lost("print")


def test_a_listener_is_no_coroutine_function_which_nobody_would_await(client):
    with pytest.raises(TypeError, match="on_lost takes a plain function"):
        client.election("a").campaign().on_lost(asyncio.sleep)


def test_wait_lost_says_why(client, clock, in_background, eventually):
    lease = client.election("a").campaign()
    waiting = in_background(lease.wait_lost)
    assert lease.wait_lost(timeout=0) is None

    clock.advance(60)
    eventually(lambda: waiting)

    assert waiting == [LossReason.EXPIRED]


def test_wait_lost_ends_with_a_resignation(client, in_background, eventually):
    lease = client.election("a").campaign()
    waiting = in_background(lease.wait_lost)

    lease.resign()
    eventually(lambda: waiting)

    assert waiting == [None]
