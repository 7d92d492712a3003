"""The guardian decides, without processes: when it looks, when it asks and when it kills, and what it never starts."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket

import pytest

from leaderlock._protocol.clocks import Deadline, Instant
from leaderlock.cli import _keeper
from leaderlock.cli._keeper import SLICE, Why, _Job, _Keeper

GRACE, MARGIN = 0.5, 0.1


class Clock:
    """Stands where a test puts it."""

    def __init__(self):
        self.boot = 1000.0

    def now(self):
        return Instant(self.boot, self.boot + 50.0, 0.0)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sent(monkeypatch):
    """Every signal that the command's group was sent, or its kin."""
    sent = []
    monkeypatch.setattr(_keeper, "signal_group", lambda pid, number: sent.append(number))
    monkeypatch.setattr(_keeper, "signal_kin", lambda number, group: sent.append(number))
    return sent


@pytest.fixture
def keeper(clock, sent):
    """One in this very process, which has taken over no signal and adopts nobody."""
    keeper = object.__new__(_Keeper)
    keeper.clock, keeper.job, keeper.received = clock, None, b""
    keeper.channel, keeper.wrapper = socket.socketpair()
    yield keeper
    keeper.channel.close()
    keeper.wrapper.close()


@pytest.fixture
def guard(keeper, clock):
    """Have it guard a command until so many seconds from now."""

    def start(seconds, *, grace=GRACE, margin=MARGIN):
        keeper.job = _Job(4711, Deadline.after(clock.now(), seconds), grace, margin)
        return keeper.job

    return start


def test_it_looks_again_when_the_command_is_to_be_asked_to_end(keeper, guard):
    guard(0.9)
    assert keeper.pause() == pytest.approx(400.0)

    guard(0.9, grace=0.0)
    assert keeper.pause() == pytest.approx(800.0)

    guard(60.0)
    assert keeper.pause() == SLICE * 1000


def test_the_command_has_its_whole_grace_before_it_is_killed_and_is_killed_before_its_deadline(
    keeper, guard, clock, sent
):
    job = guard(10.0)
    clock.boot += 10.0 - GRACE - 0.01
    keeper.enforce(job)
    assert sent == []

    clock.boot += 0.01
    keeper.enforce(job)
    assert sent == [signal.SIGTERM, signal.SIGCONT]
    clock.boot += GRACE - MARGIN
    keeper.enforce(job)

    assert sent == [signal.SIGTERM, signal.SIGCONT, signal.SIGKILL]
    assert job.why is Why.DEADLINE


def test_who_is_asked_to_end_is_killed_after_the_grace_and_not_later_whatever_is_asked_then(keeper, guard, clock, sent):
    job = guard(10.0)
    keeper.obey({"kind": "end", "grace": 2.0})
    clock.boot += 1.0
    keeper.obey({"kind": "end", "grace": 2.0})
    keeper.obey({"kind": "deadline", "deadline": Deadline.after(clock.now(), 60.0)[:2]})
    clock.boot += 1.0
    keeper.enforce(job)

    assert sent == [signal.SIGTERM, signal.SIGCONT, signal.SIGKILL]
    assert job.why is Why.ASKED


def test_a_long_grace_ends_before_the_deadline(keeper, guard, clock, sent):
    job = guard(10.0)
    keeper.obey({"kind": "end", "grace": 60.0})
    clock.boot += 10.0 - MARGIN

    keeper.enforce(job)

    assert sent[-1] == signal.SIGKILL


def test_a_renewal_puts_the_end_off(keeper, guard, clock, sent):
    job = guard(10.0)
    keeper.obey({"kind": "deadline", "deadline": Deadline.after(clock.now(), 20.0)[:2]})
    clock.boot += 10.0

    keeper.enforce(job)

    assert sent == []


def test_a_command_that_has_ended_is_sent_no_signal_as_its_number_may_be_another_s(keeper, guard, sent):
    job = guard(10.0)
    keeper.obey({"kind": "signal", "number": signal.SIGUSR1})
    job.status = 0
    keeper.obey({"kind": "signal", "number": signal.SIGUSR2})

    assert sent == [signal.SIGUSR1]


@pytest.mark.parametrize("left", [MARGIN, 0.0, -5.0])
def test_a_guardian_that_was_held_up_starts_nothing_that_it_could_not_end_in_time(keeper, clock, monkeypatch, left):
    monkeypatch.setattr(os, "fork", lambda: pytest.fail("it was started"))
    deadline = Deadline(clock.now().boot + left, clock.now().raw + left, 0.0)

    keeper.obey({"kind": "spawn", "argv": ["x"], "env": {}, "deadline": deadline[:2], "grace": GRACE, "margin": MARGIN})

    assert json.loads(keeper.wrapper.recv(4096)) == {"kind": "exited", "status": None, "why": "deadline"}
    assert keeper.job is None


# -- after the command has ended, and what it left running


@pytest.fixture
def kin(monkeypatch):
    """Every signal for the command's kin, and whose group it went to first."""
    kin = []
    monkeypatch.setattr(_keeper, "signal_kin", lambda number, group: kin.append((number, group)))
    return kin


def test_what_a_command_leaves_running_is_asked_woken_and_killed_after_its_grace(
    keeper, guard, clock, kin, monkeypatch
):
    job = guard(60.0)
    reaped = iter([({job.pid: 0}, False), ({}, False)])
    monkeypatch.setattr(_keeper, "reap", lambda: next(reaped))
    monkeypatch.setattr(_keeper, "LINUX", True)

    keeper.bury(job)
    keeper.enforce(job)
    assert kin == [(signal.SIGTERM, None), (signal.SIGCONT, None)]
    assert keeper.pause() == pytest.approx(GRACE * 1000)
    clock.boot += GRACE
    keeper.enforce(job)

    assert kin[2:] == [(signal.SIGKILL, None)], "the group's number may be another's by now"
    assert keeper.job is job, "something is left"


def test_a_command_that_lives_is_killed_with_its_group(keeper, guard, clock, sent, kin):
    job = guard(10.0, grace=0.0)
    clock.boot += 10.0 - MARGIN - 0.01
    keeper.enforce(job)
    assert not kin

    clock.boot += 0.01
    keeper.enforce(job)

    assert sent == [signal.SIGTERM, signal.SIGCONT]
    assert kin == [(signal.SIGKILL, job.pid)]


def test_what_does_not_die_is_killed_again_ever_more_seldom(keeper, guard, clock, sent):
    job = guard(0.0)
    pauses = []
    for _ in range(2000):
        keeper.enforce(job)
        pauses.append(keeper.pause())

    assert sent.count(signal.SIGKILL) == 2000
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (2.0, SLICE * 1000)


# -- what goes wrong in the guardian itself


def test_a_command_that_cannot_be_forked_is_told_and_guarded_no_further(keeper, clock, monkeypatch):
    def fail():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fail)

    keeper.obey(spawn(clock, 10.0))

    failed, exited = map(json.loads, keeper.wrapper.recv(4096).splitlines())
    assert failed == {"kind": "failed", "detail": "cannot fork: Resource temporarily unavailable"}
    assert (exited["kind"], os.waitstatus_to_exitcode(exited["status"])) == ("exited", 126)
    assert keeper.job is None
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {signal.SIGTERM, signal.SIGCHLD}


def spawn(clock, left):
    deadline = Deadline.after(clock.now(), left)
    return {"kind": "spawn", "argv": ["x"], "env": {}, "deadline": deadline[:2], "grace": GRACE, "margin": MARGIN}


@pytest.mark.parametrize(("left", "is_orphan", "runs"), [(10.0, False, True), (0.0, False, False), (10.0, True, False)])
def test_a_child_becomes_the_command_only_under_its_guardian_and_before_its_deadline(
    keeper, clock, monkeypatch, left, is_orphan, runs
):
    class Left(Exception):
        """The child would be gone now."""

    def leave(code):
        raise Left

    became = []
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(os, "execvpe", lambda *command: became.append(command))
    monkeypatch.setattr(_keeper, "die_with_parent", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    guardian = os.getppid() + (1 if is_orphan else 0)

    with pytest.raises(Left):
        keeper.become(["x"], {}, Deadline.after(clock.now(), left), guardian)

    assert became == ([("x", ["x"], {})] if runs else [])


def test_a_guardian_that_breaks_takes_the_command_along(keeper, kin, monkeypatch, capsys):
    class Left(Exception):
        """The guardian would be gone now."""

    def leave(code):
        raise Left(code)

    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(_keeper, "name_process", lambda name: None)
    monkeypatch.setattr(_keeper, "close_inherited", lambda *, keep: 1 / 0)

    with pytest.raises(Left, match="70"):
        _keeper.run_keeper(keeper.channel)

    assert kin == [(signal.SIGKILL, None)]
    assert "ZeroDivisionError" in capsys.readouterr().err
