"""Ctrl-C at the worst moments: nothing leaks, nothing hangs, and the name is free again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextvars import copy_context

import pytest

from leaderlock import LeaderLockError, Lease, UsageError, connect, only_on_leader
from leaderlock._bell import Bell
from leaderlock._client import engine_of
from leaderlock._engine import Engine
from leaderlock.testing import Fault, FaultyBackend, MemoryStore

STORM = """
import logging, random, signal, sys, threading, time, traceback
from leaderlock import LeaderLockError, connect
from leaderlock.testing import MemoryStore

logging.disable(logging.CRITICAL)
is_armed = False

def interrupt(_, frame):
    global is_armed
    if is_armed:
        is_armed = False
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
until, rounds, hits = time.monotonic() + float(sys.argv[1]), 0, 0
while time.monotonic() < until:
    rounds += 1
    store = MemoryStore()
    with connect(store.backend(), ttl=0.5) as client, connect(store.backend(), ttl=0.5) as rival:
        try:
            is_armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 2.5e-3))
            with client.election("a") as lease:
                lease.save_note(b"x")
            is_armed = False
        except KeyboardInterrupt as error:
            hits += 1
            # The first bytecode of __exit__ is the one place that Python lets nobody guard.
            places = [(frame.f_code.co_name, line == frame.f_code.co_firstlineno)
                      for frame, line in traceback.walk_tb(error.__traceback__)]
            if places[1:] == [("__exit__", True), ("interrupt", False)]:
                lease.resign()
        signal.setitimer(signal.ITIMER_REAL, 0)
        is_armed = False
        for one in (rival, client) if rounds % 2 else (client, rival):
            with one.election("a", timeout=10) as lease:
                lease.check()
    until_ended = time.monotonic() + 2
    while threading.active_count() > 1 and time.monotonic() < until_ended:
        time.sleep(0.001)
    assert threading.active_count() == 1, threading.enumerate()
print(rounds, hits)
"""


def test_ctrl_c_before_a_body_is_left_has_ended_the_term_when_it_is_raised(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    def lead():
        with client.election("a"):
            monkeypatch.setattr(Lease, "__exit__", interrupted)

    with connect(MemoryStore().backend()) as client:
        for _ in range(20):
            with pytest.raises(KeyboardInterrupt):
                copy_context().run(lead)  # which keeps the lease that nobody has left
            client.election("a").campaign(timeout=0).resign()


@pytest.mark.slow
def test_ctrl_c_at_any_moment_of_a_campaign_and_a_release_leaves_the_client_usable(run_program):
    """Hundreds of times, a fraction of a millisecond after the start: whatever it hits, both clients can lead then."""
    done = run_program(STORM, os.environ.get("LEADERLOCK_CHAOS_SECONDS", "8"), timeout=110)

    assert done.returncode == 0, done.stderr
    rounds, hits = map(int, done.stdout.split())
    assert 5 < hits < rounds


SCRIPT = """
import sys, threading, time
from leaderlock import connect
from leaderlock.testing import Fault, FaultyBackend
from leaderlock_sqlite import open_backend

url, slowness = sys.argv[1:]
backend = FaultyBackend(open_backend(url, namespace="default"))
client = connect(backend, ttl=2)
if slowness == "hung":
    client.election("warm up").campaign().resign()
    backend.inject(Fault.HANG, op="any", times=None)
elif slowness == "slow":
    backend.delay(0.3)
try:
    print("campaigning", flush=True)
    with client.election("a"):
        print("elected", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
client.close()
until = time.monotonic() + 5
while threading.active_count() > 1 and time.monotonic() < until:
    time.sleep(0.01)
print("left", [thread.name for thread in threading.enumerate()][1:], flush=True)
"""


@pytest.mark.parametrize("slowness", ["quick", "slow", "hung", "held"])
@pytest.mark.parametrize("after", [0.0, 0.1, 0.4])
def test_ctrl_c_frees_the_name_and_leaves_no_thread(tmp_path, slowness, after):
    url = f"sqlite:///{tmp_path}/store"
    with connect(url, ttl=2) as client:
        if slowness == "held":
            lease = client.election("a").campaign()
        command = [sys.executable, "-c", SCRIPT, url, slowness]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "campaigning\n"
            time.sleep(after)  # chaos: the signal arrives anywhere
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=20)

        assert process.returncode == 0
        assert told.splitlines()[-2:] == ["interrupted", "left []"]
        if slowness == "held":
            lease.check()
            lease.resign()
        with client.election("a", timeout=10):
            pass


def test_an_interrupted_campaign_cannot_win_later(client, rival, backend, clock, eventually):
    """In the middle of a take whose outcome nobody knows."""

    def interrupt():
        raise KeyboardInterrupt

    client.election("b").campaign()
    backend.before(interrupt, when=lambda keys: keys[0] == "name/a")
    with pytest.raises(KeyboardInterrupt):
        client.election("a").campaign()

    eventually(lambda: clock.advance(0.05) or engine_of(client)._machine._names._busy.keys() <= {"b"})
    assert rival.election("a").leader() is None
    assert client.election("a").campaign(timeout=5).is_held


def test_a_second_ctrl_c_in_the_handling_of_the_first_leaves_nothing_under_way(
    client, rival, backend, clock, eventually
):
    def interrupt():
        sys.settrace(trace)
        raise KeyboardInterrupt

    def trace(frame, event, _):
        if frame.f_code.co_name == "fail":
            sys.settrace(None)
            raise KeyboardInterrupt

    client.election("b").campaign()
    backend.before(interrupt, when=lambda keys: keys[0] == "name/a")
    try:
        with pytest.raises(KeyboardInterrupt):
            client.election("a").campaign()
    finally:
        sys.settrace(None)

    eventually(lambda: clock.advance(0.05) or engine_of(client)._machine._names._busy.keys() <= {"b"})
    assert rival.election("a").leader() is None
    assert client.election("a").campaign(timeout=5).is_held


def test_a_campaign_interrupted_while_its_take_is_late_frees_the_name(client, rival, backend, clock, eventually):
    client.election("b").campaign()
    backend.inject(Fault.LATE, when=lambda keys: keys[0] == "name/a")
    backend.before(lambda: (_ for _ in ()).throw(KeyboardInterrupt), op="read", when=lambda keys: "name/a" in keys)
    try:
        client.election("a").campaign(timeout=0)
    except BaseException as error:
        assert isinstance(error, KeyboardInterrupt | TimeoutError)  # noqa: PT017 - either is how it may end

    eventually(lambda: clock.advance(0.05) or engine_of(client)._machine._names._busy.keys() <= {"b"})
    backend.deliver_late()

    assert rival.election("a").leader() is None


def test_a_signal_handler_that_calls_leaderlock_in_the_middle_of_leaderlock_is_refused_and_nothing_hangs(client):
    engine = engine_of(client)
    refused = []

    def handler(*_):
        try:
            client.election("b").campaign()
        except UsageError as error:
            refused.append(str(error))

    def trace(frame, event, _):
        if frame.f_code.co_name == "handle" and "machine" in frame.f_code.co_filename and not refused:
            sys.settrace(None)
            handler()

    sys.settrace(trace)
    try:
        lease = client.election("a").campaign()
    finally:
        sys.settrace(None)

    assert "signal handler" in refused[0]
    lease.check()
    assert not engine._steps._is_busy


def test_a_signal_handler_that_lets_the_refusal_go_on_into_what_it_has_interrupted_breaks_it(client, eventually):
    """The machine, which was in the middle of a step, has not refused anything."""
    engine, told = engine_of(client), []
    client.election("b").campaign().on_lost(told.append)
    broken = engine._machine

    def trace(frame, event, _):
        if frame.f_code.co_name == "pursue":
            sys.settrace(None)
            client.election("c").campaign()

    sys.settrace(trace)
    try:
        with pytest.raises(LeaderLockError, match="gave up its leases"):
            client.election("a").campaign()
    finally:
        sys.settrace(None)

    assert engine._machine is not broken
    eventually(lambda: told)
    assert client.election("c").campaign(timeout=5).is_held


def test_a_signal_handler_that_calls_the_function_it_has_interrupted_is_refused_and_nothing_hangs(client, backend):
    """While the function's first call is at the store."""
    refused = []

    @only_on_leader("a", client=client)
    def act():
        return "acted"

    def handler():
        try:
            act()
        except UsageError as error:
            refused.append(str(error))

    client.election("b").campaign()
    backend.before(handler, when=lambda keys: keys[0] == "name/a")

    assert act() == "acted"
    assert refused


def test_a_real_signal_handler_may_resign(tmp_path):
    """Where it interrupts nothing of leaderlock's, which is almost always."""
    program = """
import os, signal, sys
from leaderlock import connect
client = connect(sys.argv[1])
lease = client.election("a").campaign()
signal.signal(signal.SIGUSR1, lambda *_: print(lease.resign()))
os.kill(os.getpid(), signal.SIGUSR1)
lease.wait_lost(5)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, f"sqlite:///{tmp_path}/store"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )

    assert done.stdout == "True\n"


def test_closing_interrupted_still_stops_every_thread():
    backend = FaultyBackend(MemoryStore().backend())
    client = connect(backend, ttl=1)
    client.election("a").campaign()

    def interrupt():
        raise KeyboardInterrupt

    backend.before(interrupt, when=lambda keys: keys[0].startswith("session/"))
    with pytest.raises(KeyboardInterrupt):
        client.close()

    assert not [one for one in threading.enumerate() if one.name.startswith("leaderlock")]
    with pytest.raises(UsageError):
        client.names()


def test_whoever_else_closes_a_client_waits_for_no_answer_that_an_interrupted_close_has_given_up(
    client, backend, eventually
):
    others = []

    def interrupt():
        others.append(threading.Thread(target=client.close))
        others[0].start()
        eventually(lambda: sys._current_frames()[others[0].ident].f_code is Bell.wait.__code__)
        raise KeyboardInterrupt

    client.election("a").campaign()
    backend.before(interrupt, when=lambda keys: keys[0].startswith("session/"))
    with pytest.raises(KeyboardInterrupt):
        client.close()
    others[0].join(2)

    assert not others[0].is_alive()


def test_a_client_whose_close_was_interrupted_before_it_began_can_be_closed(monkeypatch):
    client = connect(MemoryStore().backend(), ttl=1)
    lease = client.election("a").campaign()
    close = Engine.close

    def interrupted(engine, timeout):
        monkeypatch.setattr(Engine, "close", close)
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        client.close()
    client.close()

    assert not lease.is_held
    assert not [one for one in threading.enumerate() if one.name.startswith("leaderlock")]


def test_a_signal_amid_a_campaign_is_not_narrated_as_an_outage(client, backend, caplog, eventually):
    def interrupt():
        raise KeyboardInterrupt

    told = []
    backend.before(interrupt, op="read")

    with pytest.raises(KeyboardInterrupt):
        client.election("a").campaign(on_waiting=told.append)
    client.close()  # what was still to be said is said

    assert told == []
    assert "does not answer" not in caplog.text
