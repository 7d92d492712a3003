"""Threads of one client in each other's way, each stopped at the one line where it matters."""

from __future__ import annotations

import threading

import pytest

from leaderlock import LeaseLost, UsageError, aio
from leaderlock._aio.client import access_of
from leaderlock._client import engine_of
from leaderlock._protocol.events import Kind, Lane, Put
from leaderlock.testing import Fault

USES = [
    pytest.param(lambda lease: lease.resign(), id="resign"),
    pytest.param(lambda lease: lease.save_note(b"x"), id="save_note"),
    pytest.param(lambda lease: lease.ensure(14.9), id="ensure"),
]


def check_ended_as_documented(outcome):
    """Whoever resigns has what he wants, or is told that the store has not said so; anybody else has lost it."""
    assert outcome is False or (isinstance(outcome, LeaseLost) and outcome.reason == "closed")


def outcome_of(use, lease):
    try:
        return use(lease)
    except Exception as error:
        return error


# -- a client that is closed meanwhile


@pytest.mark.parametrize("use", USES)
def test_a_lease_that_is_used_while_its_client_is_closed_is_over_and_no_usage_error(
    client, backend, clock, in_background, eventually, use
):
    lease = client.election("a").campaign()
    clock.advance(1)
    at_store, closed = threading.Event(), threading.Event()

    def wait_at_store():
        at_store.set()
        assert closed.wait(20)

    backend.before(wait_at_store)
    used = in_background(lambda: use(lease))
    assert at_store.wait(20)

    client.close()
    closed.set()

    eventually(lambda: used)
    check_ended_as_documented(used[0])


@pytest.mark.parametrize("use", USES)
def test_a_lease_whose_client_is_closed_just_before_the_call_reaches_it_is_over_and_no_usage_error(
    client, clock, monkeypatch, use
):
    lease = client.election("a").campaign()
    clock.advance(1)
    boot = clock.boot

    def close_first():
        monkeypatch.setattr(clock, "boot", boot)
        client.close()
        return boot()

    monkeypatch.setattr(clock, "boot", close_first)
    lease._boot = boot

    check_ended_as_documented(outcome_of(use, lease))


def test_an_observer_whose_client_is_closed_during_a_look_has_seen_the_end(client, backend):
    backend.before(client.close, op="read")

    assert list(client.election("a").observe()) == []


def test_an_observer_that_is_collected_stops_its_watch_on_a_thread_that_holds_no_lock_of_the_drivers(
    client, backend, monkeypatch, eventually
):
    """Garbage is collected anywhere: also in the middle of the driver's own books, on the thread that keeps them."""
    stopped_on = []
    monkeypatch.setattr(backend, "watch", lambda *_: lambda: stopped_on.append(threading.current_thread()))
    terms = client.election("a").observe()
    next(terms)

    del terms

    eventually(lambda: stopped_on)
    assert threading.current_thread() not in stopped_on


def test_a_store_that_is_opened_while_its_client_is_being_closed_is_not_left_open(in_loop):
    client = aio.connect("memory:")
    access = access_of(client)
    end = access.off.end

    def open_behind(last):
        ended = end(last)
        ended.result(20)
        with pytest.raises(UsageError, match="closed"):
            access.open()
        return ended

    access.off.end = open_behind
    in_loop(client.close)

    assert access.client is None


def test_a_child_forked_while_its_parent_closes_the_client_can_close_it_too(run_program):
    program = """
import asyncio, os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
from leaderlock import aio
from leaderlock._aio.client import access_of
client = aio.connect("memory:")
access = access_of(client)
access.open()
closes, go_on = threading.Event(), threading.Event()
close = access.client.close

def close_slowly():
    closes.set()
    go_on.wait(30)
    close()

access.client.close = close_slowly
closing = access.close()
assert closes.wait(30)
pid = os.fork()
if pid == 0:
    access.client.close = close
    code = 1
    try:
        asyncio.run(asyncio.wait_for(client.close(), 10))
        code = 0
    finally:
        os._exit(code)
assert os.waitpid(pid, 0)[1] == 0, "the child hangs"
go_on.set()
closing.result(30)
"""
    done = run_program(program)

    assert (done.returncode, done.stderr) == (0, "")


# -- two campaigns at once


def test_a_take_is_sent_with_the_open_of_its_session_whoever_opens_it(
    client, rival, backend, clock, in_background, eventually
):
    """The thread that settles the store opens the session, and the name that is taken first is another thread's. A
    session that was never opened is never closed: whatever was taken for it would be nobody's, for a whole ttl."""
    asked, may_read = threading.Event(), threading.Event()

    def wait_to_read():
        asked.set()
        assert may_read.wait(20)

    def have_it_read():
        may_read.set()
        eventually(lambda: engine_of(client)._machine._names._busy["a"].epoch)

    backend.before(wait_to_read, op="read", when=lambda keys: "name/a" in keys)
    backend.before(have_it_read, when=lambda keys: keys == ("settled",))
    never_sent = backend.inject(Fault.NEVER_SENT, when=lambda keys: keys[0].startswith("session/"))
    sessions = engine_of(client)._machine._sessions
    backend.before(
        lambda: eventually(lambda: never_sent.hits and sessions.current is None), when=lambda keys: keys == ("name/a",)
    )

    first = in_background(lambda: client.election("a").campaign(timeout=5))
    assert asked.wait(20)
    second = in_background(lambda: client.election("b").campaign(timeout=5))
    eventually(lambda: clock.advance(0.01) or (first and second))

    assert all(lease.is_held for lease in (*first, *second))


def test_a_lane_that_is_quick_carries_a_take_with_the_open_of_its_session(
    client, backend, clock, monkeypatch, in_background, eventually
):
    """The second attempt, which a timer brings: the lane's thread wakes with the first call that is left to it."""
    lane = engine_of(client)._lanes[Lane.NAMES]
    push = lane.push

    def push_and_let_it_run(*errands):
        before = len(backend.calls)
        push(*errands)
        if any(isinstance(one, Put) and one.kind is Kind.OPEN for one in errands):
            eventually(lambda: len(backend.calls) > before)

    monkeypatch.setattr(lane, "push", push_and_let_it_run)
    backend.inject(Fault.NEVER_SENT, times=2, when=lambda keys: keys[0].startswith("session/"))

    campaign = in_background(lambda: client.election("a").campaign(timeout=5))
    eventually(lambda: clock.advance(0.01) or campaign)

    assert campaign[0].is_held
