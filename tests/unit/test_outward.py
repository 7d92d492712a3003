"""What follows from a step, carried out; and what is left of it when the machine behind it is given up: nothing."""

from __future__ import annotations

import gc
import weakref

import pytest

from leaderlock._bell import Bell
from leaderlock._outward import Outward
from leaderlock._protocol.candidacy import Candidacy, Cause, Elected, Failed, LossReason, Lost, Released, State
from leaderlock._protocol.clocks import Deadline
from leaderlock._protocol.events import Arm, Tell, Watch
from leaderlock._watchlist import Watchlist
from leaderlock.errors import LeaderLockError
from leaderlock.testing import MemoryBackend

BROKEN = LeaderLockError("leaderlock failed")


class Clockwork:
    """Keeps what was set."""

    def __init__(self):
        self.set_timers = []

    def set(self, timer, until, *, patiently):
        self.set_timers.append(timer)

    def cancel_timers(self):
        self.set_timers.clear()


class Journal:
    """Says nothing."""

    def news(self, candidacy, news):
        pass


class Audience:
    """Hears its news."""

    def __init__(self):
        self.told = []

    def tell(self, news):
        self.told.append(news)


@pytest.fixture
def clockwork():
    return Clockwork()


@pytest.fixture
def watches():
    return Watchlist(MemoryBackend(), Journal(), lambda *_: None)


@pytest.fixture
def outward(clockwork, watches):
    return Outward(lanes={}, clockwork=clockwork, watches=watches, journal=Journal(), back_off=None, ended=Bell())


@pytest.fixture
def candidate(outward):
    """One who was brought to where a test wants him, and whom ``outward`` owes his end."""

    def bring(*causes):
        candidacy = Candidacy("a", patient=True, audience=Audience())
        outward.expect([candidacy])
        for cause in causes:
            candidacy.move(cause)
        return candidacy

    return bring


def test_a_machine_that_is_given_up_leaves_no_timer_and_no_watch_behind(outward, clockwork, watches):
    outward.carry_out([Arm("renewal", Deadline(5.0, 5.0, 0.0)), Watch("name/a"), Watch("name/b")], None)
    assert (len(clockwork.set_timers), len(watches)) == (1, 2)

    outward.give_up(LossReason.FAILED, BROKEN)

    assert (len(clockwork.set_timers), len(watches)) == (0, 0)


def test_who_waits_for_his_election_is_told_that_it_failed_though_the_machine_had_elected_him(outward, candidate):
    """A loss would end nobody's wait for an outcome."""
    waiting, elected = candidate(Cause.CAMPAIGN), candidate(Cause.CAMPAIGN, Cause.ELECTED)

    outward.give_up(LossReason.FAILED, BROKEN)

    assert waiting.audience.told == elected.audience.told == [Failed(BROKEN)]


def test_who_was_told_of_his_election_is_told_of_its_end(outward, candidate):
    leader, resigned = candidate(Cause.CAMPAIGN, Cause.ELECTED), candidate(Cause.CAMPAIGN, Cause.ELECTED)
    outward.carry_out([Tell(leader, Elected(1, b"")), Tell(resigned, Elected(2, b""))], None)
    resigned.move(Cause.RESIGN)

    outward.give_up(LossReason.FAILED, BROKEN)

    assert leader.audience.told[1:] == [Lost(LossReason.FAILED)]
    assert resigned.audience.told[1:] == [Released(acknowledged=False)]


def test_everybody_is_told_his_end_once_however_often_it_comes(outward, candidate):
    candidacy = candidate(Cause.CAMPAIGN)

    outward.give_up(LossReason.FAILED, BROKEN)
    outward.give_up(LossReason.CLOSED, BROKEN)

    assert candidacy.audience.told == [Failed(BROKEN)]


def test_who_never_became_a_candidate_is_told_nothing_and_forgotten(outward, candidate):
    refused, untouched = candidate(), candidate()
    outward.expect_no_more([refused])

    outward.give_up(LossReason.FAILED, BROKEN)

    assert untouched.state is State.IDLE
    assert refused.audience.told == untouched.audience.told == []


def test_only_who_leads_and_knows_it_is_said_to_lead(outward, candidate):
    leader, untold, resigned = (candidate(Cause.CAMPAIGN, Cause.ELECTED) for _ in range(3))
    leader.name, untold.name, resigned.name = "leads", "untold", "resigned"
    outward.carry_out([Tell(leader, Elected(1, b"")), Tell(resigned, Elected(2, b""))], None)
    resigned.move(Cause.RESIGN)

    assert outward.leading() == ["leads"]


def test_who_was_refused_is_not_kept(outward, candidate):
    refused = candidate()
    audience = weakref.ref(refused.audience)

    outward.expect_no_more([refused])

    del refused
    gc.collect()
    assert audience() is None
