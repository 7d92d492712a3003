"""The guardian decides, without processes: when it looks, when it asks and when it kills, and what it never starts."""

from __future__ import annotations

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
