"""Steps: each of them whole, or that machine never takes another, whoever interrupts what and how often."""

from __future__ import annotations

import threading

import pytest

from leaderlock import _steps
from leaderlock._callbacks import Callbacks
from leaderlock._clock import SteadyClock
from leaderlock._journal import Journal
from leaderlock._protocol.candidacy import Candidacy, LossReason, State
from leaderlock._protocol.clocks import FOREVER, PAST, Timing
from leaderlock._protocol.events import Campaign, RenewNow, Withdraw
from leaderlock._protocol.records import Holder
from leaderlock._protocol.setting import Setting
from leaderlock._steps import Steps
from leaderlock.errors import LeaderLockError, UsageError


class Outward:
    """Carries nothing out, and is interrupted as often as a test says when it has to give up."""

    def __init__(self):
        self.expected, self.given_up, self.interruptions = [], [], 0
        self.has_given_up = threading.Event()

    def carry_out(self, effects, mine):
        pass

    def expect(self, candidacies):
        self.expected += candidacies

    def expect_no_more(self, candidacies):
        for candidacy in candidacies:
            self.expected.remove(candidacy)

    def give_up(self, reason, error):
        if self.interruptions:
            self.interruptions -= 1
            raise SystemExit
        self.given_up.append((reason, threading.current_thread()))
        self.has_given_up.set()


@pytest.fixture
def outward():
    return Outward()


@pytest.fixture
def steps(outward):
    setting = Setting(
        timing=Timing(ttl=15.0, rho=0.005),
        holder=Holder("host", 1, "program", "label"),
        durability="memory",
        keeps_memory=True,
        kernel=None,
        new_id=lambda: "id",
    )
    return Steps(setting, SteadyClock(), outward, Journal(Callbacks(), SteadyClock()))


def interrupt_step(steps, monkeypatch, error=KeyboardInterrupt):
    """In the middle of the next one."""

    def handle(event, now):
        raise error

    monkeypatch.setattr(steps.machine, "handle", handle)


def take(steps, event=RenewNow()):  # noqa: B008 - a value
    with steps.lock:
        steps.take(event, None)


def test_a_machine_that_was_interrupted_takes_no_further_step(steps, outward, monkeypatch):
    machine = steps.machine
    interrupt_step(steps, monkeypatch)

    with pytest.raises(KeyboardInterrupt):
        take(steps)

    assert steps.machine is not machine
    assert outward.given_up == [(LossReason.FAILED, threading.current_thread())]
    take(steps)
    assert len(outward.given_up) == 1


def test_no_claim_survives_an_interruption_though_a_second_one_keeps_all_news_of_it_from_being_told(
    steps, outward, monkeypatch
):
    monkeypatch.setattr(_steps, "hand_over", lambda *_: None)
    standing = steps.machine.standing
    standing.until = FOREVER
    outward.interruptions = 1
    interrupt_step(steps, monkeypatch)

    with pytest.raises(SystemExit):
        take(steps)

    assert standing.until is PAST
    assert not outward.given_up


def test_what_a_second_interruption_has_left_is_done_before_the_next_step(steps, outward, monkeypatch):
    monkeypatch.setattr(_steps, "hand_over", lambda *_: None)
    outward.interruptions = 1
    interrupt_step(steps, monkeypatch)
    with pytest.raises(SystemExit):
        take(steps)
    assert not outward.given_up

    take(steps)

    assert len(outward.given_up) == 1


def test_what_a_second_interruption_has_left_is_done_where_nobody_comes(steps, outward, monkeypatch):
    outward.interruptions = 1
    interrupt_step(steps, monkeypatch)

    with pytest.raises(SystemExit):
        take(steps)

    assert outward.has_given_up.wait(10)
    assert outward.given_up[0][1] is not threading.current_thread()


def test_who_mends_after_somebody_else_has_mended_takes_nothing_from_anybody(steps, outward, monkeypatch):
    handed_over = []
    monkeypatch.setattr(_steps, "hand_over", lambda _, arguments: handed_over.append(arguments[0]))
    outward.interruptions = 1
    interrupt_step(steps, monkeypatch)
    with pytest.raises(SystemExit):
        take(steps)
    take(steps)
    machine = steps.machine

    [mend] = handed_over
    mend()

    assert steps.machine is machine
    assert len(outward.given_up) == 1


def test_who_comes_next_may_be_interrupted_too(steps, outward, monkeypatch):
    monkeypatch.setattr(_steps, "hand_over", lambda *_: None)
    outward.interruptions = 4
    interrupt_step(steps, monkeypatch)
    for _ in range(3):
        with pytest.raises(SystemExit):
            take(steps)

    take(steps)

    assert len(outward.given_up) == 1


def test_a_mistake_of_ours_is_told_as_such(steps, outward, monkeypatch):
    interrupt_step(steps, monkeypatch, ZeroDivisionError("division by zero"))

    with pytest.raises(LeaderLockError, match="gave up its leases: ZeroDivisionError"):
        take(steps)

    assert outward.given_up


def test_an_error_like_the_machine_s_own_refusal_is_none_if_the_machine_did_not_refuse(steps, outward, monkeypatch):
    """A signal handler that called leaderlock was refused, and let that go on into what it had interrupted."""
    interrupt_step(steps, monkeypatch, UsageError("let the handler set a flag"))

    with pytest.raises(LeaderLockError, match="gave up its leases"):
        take(steps)

    assert outward.given_up


def test_a_refusal_changes_nothing_and_nobody_is_expected_who_was_refused(steps, outward):
    machine, first, second = steps.machine, Candidacy("a", patient=True), Candidacy("a", patient=True)
    take(steps, Campaign([first]))

    with pytest.raises(UsageError, match="already campaigns"):
        take(steps, Campaign([second]))

    assert steps.machine is machine
    assert outward.expected == [first]
    assert not outward.given_up
    take(steps, Withdraw(first))
    assert first.state is State.WITHDRAWN


def test_who_calls_in_the_middle_of_a_step_is_refused_and_the_step_goes_on(steps, monkeypatch):
    refused, handle = [], steps.machine.handle

    def call_back(event, now):
        with pytest.raises(UsageError) as error:
            take(steps)
        refused.append(str(error.value))
        return handle(event, now)

    monkeypatch.setattr(steps.machine, "handle", call_back)

    take(steps)

    assert "signal handler" in refused[0]
