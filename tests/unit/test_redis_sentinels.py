"""What a client makes of what Sentinels say, told by hand."""

import errno
import time
from types import SimpleNamespace

import pytest
import redis

from leaderlock.errors import BackendUnavailable
from leaderlock_redis import _sentinel
from leaderlock_redis._sentinel import BySentinel
from leaderlock_redis._settings import Settings

OLD, NEW = ("old.example", 6379), ("new.example", 6379)
SOON, LONG = 5.0, 30.0


class Watched:
    """Three Sentinels, each with its epoch and its master, or silent; and the clock."""

    def __init__(self):
        pool = redis.ConnectionPool()
        self.sentinels = [Settings(pool, (f"s{number}", 26379)) for number in range(3)]
        self.master = BySentinel("main", Settings(pool), self.sentinels)
        self.now = 1000.0
        self.slowness = 0.0
        self.says(*[(5, OLD)] * 3)

    def says(self, *answers):
        self._answers = dict(zip(self.sentinels, answers, strict=True))

    def asked(self, sentinel, name, timeout):
        answer = self._answers[sentinel]
        if answer is None or self.slowness > timeout:
            self.now += timeout
            raise BackendUnavailable(f"{sentinel.place}: silent")
        self.now += self.slowness
        return answer

    def address(self):
        return self.master.settings(self.now + 5.0).address


@pytest.fixture
def watched(monkeypatch):
    watched = Watched()
    monkeypatch.setattr(_sentinel, "_asked", watched.asked)
    monkeypatch.setattr(_sentinel, "time", SimpleNamespace(monotonic=lambda: watched.now))
    return watched


def test_sentinels_that_were_set_up_anew_are_believed_again(watched):
    watched.address()

    watched.says(*[(0, NEW)] * 3)
    watched.now += LONG

    assert watched.address() == NEW
    assert watched.address() == NEW


@pytest.mark.parametrize(
    ("answers", "wait"),
    [
        ([(0, NEW), (0, NEW), (0, NEW)], SOON),
        ([(0, NEW), None, None], LONG),
    ],
    ids=["before gossip has reached all", "one of three"],
)
def test_sentinels_that_may_only_lag_behind_are_not_believed(watched, answers, wait):
    watched.address()

    watched.says(*answers)
    watched.now += wait

    with pytest.raises(BackendUnavailable, match="no Sentinel says"):
        watched.address()


def test_one_sentinel_that_knows_the_latest_is_believed_against_two_that_say_less(watched):
    watched.address()

    watched.says((0, NEW), (0, NEW), (5, OLD))
    watched.now += LONG

    assert {watched.address() for _ in range(3)} == {OLD}


def test_sentinels_far_away_are_waited_for_where_there_is_no_other(watched):
    watched.slowness = 0.5

    assert watched.address() == OLD


def moves(watched, settings):
    """Whether one of the next calls finds out that the master is another, and for how long all were held up."""
    found, held_up = False, 0.0
    for _ in range(5):
        watched.now += 1.1  # after which a Sentinel is asked again
        began = watched.now
        found |= watched.master.has_moved(settings, began + SOON)
        held_up += watched.now - began
    return found, held_up


def test_a_failover_is_heard_of_on_a_connection_that_stands_though_all_sentinels_are_far_away(watched):
    watched.slowness = 0.4
    settings = watched.master.settings(watched.now + SOON)

    watched.says(*[(6, NEW)] * 3)

    assert moves(watched, settings) == (True, pytest.approx(5 * 0.4))


def test_a_failover_is_heard_of_where_sentinels_are_far_away_all_of_a_sudden(watched):
    settings = watched.master.settings(watched.now + SOON)
    watched.slowness = 0.4

    watched.says(*[(6, NEW)] * 3)

    found, held_up = moves(watched, settings)
    assert found
    assert held_up == pytest.approx(3 * 0.3 + 4 * 0.4)


def test_while_all_sentinels_are_silent_a_master_that_answers_is_held_up_for_one_of_them(watched):
    watched.address()
    settings = watched.master.settings(watched.now + SOON)
    watched.says(None, None, None)
    watched.now += SOON
    watched.master.has_moved(settings, watched.now + SOON)  # finds out

    watched.now += SOON
    began = watched.now
    has_moved = watched.master.has_moved(settings, watched.now + SOON)

    assert not has_moved
    assert watched.now - began == pytest.approx(1.2)


def test_a_sentinel_that_answers_again_is_believed_though_the_others_are_silent(watched):
    watched.address()
    settings = watched.master.settings(watched.now + SOON)
    watched.says(None, None, None)
    watched.now += SOON
    watched.master.has_moved(settings, watched.now + SOON)

    watched.says(None, (6, NEW), None)

    assert moves(watched, settings)[0]


def test_without_descriptors_for_a_sentinel_a_master_that_answers_is_kept_and_none_is_found(watched, monkeypatch):
    there = watched.master.settings(watched.now + 5.0)
    monkeypatch.undo()

    def no_descriptor(settings, timeout):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Settings, "connection", no_descriptor)

    assert not watched.master.has_moved(there, time.monotonic() + 5.0)
    with pytest.raises(BackendUnavailable, match="Too many open files"):
        watched.master.settings(time.monotonic() + 5.0)
