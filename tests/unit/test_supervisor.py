"""What ``leaderlock run`` does with the news of its lease and the ends of its command, without processes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from leaderlock._protocol.candidacy import Asked, LossReason, Lost
from leaderlock._protocol.clocks import Deadline
from leaderlock.cli import _supervisor
from leaderlock.cli._supervisor import Supervisor
from leaderlock.cli._talk import Exit
from leaderlock.cli.guardian import Outcome, Why
from leaderlock.errors import LeaseLost

GRACE, TTL = 2.0, 10.0
EXITED = Outcome(Why.EXITED, 3 << 8)


def deadline(boot):
    return Deadline(boot, boot, 0.0)


class Lease:
    """One that is held until a test takes it away."""

    token, name = 7, "job"

    def __init__(self):
        self.deadline = deadline(1000.1239)
        self.is_held = True
        self.lost_reason = None
        self.ensured = []
        self.errors = []
        self.candidacy = SimpleNamespace(asked=False, leads=True)
        self.hear = None

    def ensure(self, seconds):
        self.ensured.append(seconds)
        if self.errors:
            raise self.errors.pop(0)

    def check(self):
        assert self.is_held

    def listen(self, hear):
        self.hear = hear

    def lose(self):
        """As a lease that is over says: its deadline lies in the past."""
        self.is_held, self.lost_reason, self.deadline = False, LossReason.EXPIRED, deadline(1.0)


class Keeper:
    """A guardian, and what it was told. ``waits``: what happens in each wait, and its outcome, if it has one."""

    def __init__(self):
        self.told = []
        self.spawned = []
        self.errors = []
        self.waits = []

    def spawn(self, argv, *, env, deadline, grace):
        if self.errors:
            raise self.errors.pop(0)
        self.spawned.append((argv, env, deadline, grace))

    def extend(self, deadline):
        self.told.append(("extend", deadline.boot))

    def end(self, grace):
        self.told.append(("end", grace))

    def wait(self, seconds):
        happening = self.waits.pop(0)
        return happening() if callable(happening) else happening


class Signals:
    def __init__(self):
        self.modes = []

    def __getattr__(self, mode):
        return lambda: self.modes.append(mode)


@pytest.fixture
def lease(monkeypatch):
    monkeypatch.setattr(_supervisor, "course_of", lambda lease: lease)
    return Lease()


@pytest.fixture
def keeper():
    return Keeper()


@pytest.fixture
def signals():
    return Signals()


@pytest.fixture
def supervisor(keeper, signals):
    options = SimpleNamespace(argv=["work"], url=None)
    client = SimpleNamespace(ttl=TTL, namespace="n")
    return Supervisor(options, GRACE, client, keeper, signals)


def test_a_command_is_told_a_deadline_that_is_not_later_than_its_lease_s(supervisor, keeper, lease):
    keeper.waits = [EXITED]

    ended = supervisor.run(lease)

    ((_, env, until, grace),) = keeper.spawned
    assert env["LEADERLOCK_DEADLINE"] == "1000.123"
    assert (until, grace) == (lease.deadline, GRACE)
    assert (ended.code, ended.how) == (3, "exited")


def test_a_lease_that_has_less_left_than_ending_takes_is_renewed_before_each_attempt_to_start(
    supervisor, keeper, signals, lease
):
    keeper.errors, keeper.waits = [ValueError("stopped meanwhile")], [EXITED]

    supervisor.run(lease)

    assert lease.ensured == [GRACE + TTL / 10] * 2
    assert signals.modes == ["hold", "withdraw", "hold", "forward", "hold"]
    assert len(keeper.spawned) == 1


def test_a_lease_that_is_lost_before_the_start_starts_nothing(supervisor, keeper, signals, lease):
    lease.errors = [LeaseLost("over", reason="expired")]
    lease.lose()

    ended = supervisor.run(lease)

    assert (ended.code, ended.how) == (Exit.LOST, "lost")
    assert not keeper.spawned
    assert signals.modes == ["hold"], "nothing may interrupt the release"


@pytest.mark.parametrize("news", [{"asked": True}, {"leads": False}])
def test_news_that_came_before_there_was_anything_to_end_ends_the_command(supervisor, keeper, lease, news):
    vars(lease.candidacy).update(news)
    keeper.waits = [Outcome(Why.ASKED, 15)]

    ended = supervisor.run(lease)

    assert keeper.told == [("end", GRACE)]
    assert ended.how == "lost"


@pytest.mark.parametrize("news", [Lost(LossReason.EXPIRED), Asked()])
def test_a_loss_and_a_request_end_the_command(supervisor, keeper, lease, news):
    keeper.waits = [lambda: lease.hear(news), Outcome(Why.ASKED, 15)]

    ended = supervisor.run(lease)

    assert keeper.told == [("end", GRACE)]
    assert (ended.code, ended.how) == (Exit.LOST, "lost")


def test_the_guardian_hears_of_each_renewal_once_and_not_of_the_past_in_which_an_ended_lease_lies(
    supervisor, keeper, lease
):
    def renewed():
        lease.deadline = deadline(1003.0)

    keeper.waits = [lambda: None, renewed, lambda: None, lease.lose, Outcome(Why.ASKED, 15)]

    supervisor.run(lease)

    assert keeper.told == [("extend", 1003.0)], "the past would have it killed without its grace"


@pytest.mark.parametrize(
    ("outcome", "is_lost", "code", "how"),
    [
        (Outcome(Why.ASKED, 15), False, Exit.TOO_LONG, "too long"),
        (Outcome(Why.ASKED, 15), True, Exit.LOST, "lost"),
        (Outcome(Why.DEADLINE, 9), False, Exit.LOST, "lost"),
        (Outcome(Why.GUARDIAN_LOST, None), False, Exit.BROKEN, "guardian lost"),
        (EXITED, False, 3, "exited"),
    ],
)
def test_a_command_that_runs_for_too_long_is_ended_and_what_ended_it_is_told(
    supervisor, keeper, lease, outcome, is_lost, code, how
):
    def end():
        if is_lost:
            lease.lose()
        return outcome

    keeper.waits = [lambda: None, lambda: None, end]

    ended = supervisor._replace(max_run=0.0).run(lease)

    assert keeper.told == [("end", GRACE)], "it is asked once"
    assert (ended.code, ended.how) == (code, how)
