"""What a signal to the wrapper means at each stage of a run, and that none which is the command's is lost."""

from __future__ import annotations

import signal

import pytest

from leaderlock.cli._signals import Signals, Withdrawn
from leaderlock.cli.guardian import FORWARDED


class Keeper:
    """Keeps what the command was sent."""

    def __init__(self):
        self.sent = []

    def forward(self, number):
        self.sent.append(number)


@pytest.fixture(autouse=True)
def handlers():
    """None that the tests were started with, as behind `nohup`; afterwards those again."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in FORWARDED}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def keeper():
    return Keeper()


@pytest.fixture
def signals(keeper):
    return Signals(keeper)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_before_the_election_a_signal_that_ends_withdraws_once(signals, keeper, number):
    with pytest.raises(Withdrawn) as caught:
        signal.raise_signal(number)
    signal.raise_signal(number)  # what follows must come to its end

    assert (caught.value.number, caught.value.name) == (number, number.name)
    assert keeper.sent == []


def test_before_the_election_a_signal_that_ends_nothing_does_nothing(signals, keeper):
    signal.raise_signal(signal.SIGUSR1)

    signals.hold()
    signals.forward()

    assert keeper.sent == []
    assert not signals.was_told_to_end


def test_what_came_while_the_command_was_being_started_is_its_own_in_order_and_once(signals, keeper):
    signals.hold()
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)
    assert keeper.sent == []

    signals.forward()
    signals.forward()

    assert keeper.sent == [signal.SIGUSR1, signal.SIGTERM]
    assert signals.was_told_to_end


def test_while_the_command_runs_a_signal_is_its_own_at_once(signals, keeper):
    signals.forward()

    signal.raise_signal(signal.SIGUSR1)
    was_told_to_end = signals.was_told_to_end
    signal.raise_signal(signal.SIGTERM)

    assert keeper.sent == [signal.SIGUSR1, signal.SIGTERM]
    assert (was_told_to_end, signals.was_told_to_end) == (False, True)


@pytest.mark.parametrize(
    ("number", "for_good"),
    [(signal.SIGTERM, True), (signal.SIGINT, True), (signal.SIGQUIT, True), (signal.SIGHUP, False)],
)
def test_a_command_that_goes_on_after_hup_was_not_told_to_go(signals, number, for_good):
    signals.forward()

    signal.raise_signal(number)

    assert (signals.was_told_to_end, signals.was_told_to_go) == (True, for_good)


def test_what_was_kept_for_one_command_is_not_sent_to_the_next(signals, keeper):
    signals.hold()
    signal.raise_signal(signal.SIGUSR1)

    signals.withdraw()
    signals.hold()
    signals.forward()

    assert keeper.sent == []


def test_what_came_during_a_release_ends_the_campaign_that_would_follow(signals, keeper):
    """As with ``--restart``: whoever was told to end once is not told again."""
    signals.hold()
    signal.raise_signal(signal.SIGUSR1)
    signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Withdrawn) as caught:
        signals.withdraw()
    signal.raise_signal(signal.SIGTERM)  # what follows must come to its end

    assert caught.value.number == signal.SIGTERM
    assert keeper.sent == []


def test_after_the_block_a_signal_changes_nothing_any_more(signals, keeper):
    with signals:
        signals.forward()

    signal.raise_signal(signal.SIGTERM)

    assert keeper.sent == []
    assert not signals.was_told_to_end


def test_what_was_ignored_stays_ignored(keeper):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    Signals(keeper)
    signal.raise_signal(signal.SIGHUP)

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
