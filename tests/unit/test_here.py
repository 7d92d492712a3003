"""What a caller does on his own thread: within his own time, and without hammering a store that does not answer."""

from __future__ import annotations

import pytest

from leaderlock._attendance import Attendance
from leaderlock._bell import Bell, Listeners
from leaderlock._here import AT_LEAST, PAUSE, Here
from leaderlock._protocol.events import Ask, RenewNow

ATTEMPT = 5.0
AN_ANSWER = object()


class World:
    """A machine that asks for reads, one after the other, a store that takes its time, and a clock that they move."""

    def __init__(self, takes):
        self.time, self.takes = 100.0, takes
        self.asks, self.unasked = 1, 0
        self.is_over = False
        self.within, self.pauses = [], []
        self.attendance = Attendance(lambda _: None)
        self.here = Here(
            self.tell,
            self,
            self,
            attempt=ATTEMPT,
            attendance=self.attendance,
            renewals=Listeners(),
            is_over=lambda: self.is_over,
        )

    def tell(self, event, mine):
        if event is not AN_ANSWER:
            self.unasked = self.asks
        if self.unasked and mine is not None:
            self.unasked -= 1
            mine.takes(Ask(("name/a",), "a"))

    def carry(self, calls, timeout, post):
        self.within.append(timeout)
        self.time += self.takes
        post(AN_ANSWER)

    def boot(self):
        return self.time

    def wait(self, bell, seconds):
        self.pauses.append(seconds)
        self.time += seconds


@pytest.mark.parametrize(
    ("budget", "within"),
    [(None, [5.0, 5.0, 5.0]), (60.0, [5.0, 5.0, 5.0]), (6.0, [5.0, 4.0, 2.0]), (3.0, [3.0, 1.0, AT_LEAST])],
)
def test_all_calls_share_the_caller_s_time_and_none_takes_longer_than_an_attempt(budget, within):
    world = World(takes=2.0)
    world.asks = 3

    world.here.drive(RenewNow(), "a", budget)

    assert world.within == pytest.approx(within)


def test_who_is_told_by_a_watch_acts_within_what_is_left_of_his_time():
    world, bell = World(takes=0.0), Bell()
    looks = []

    def done():
        looks.append(world.time)
        if len(looks) == 1:
            world.time += 7.0
            world.attendance.woken("name/a", None)
        return bool(world.within)

    assert world.here.attend("a", bell, done, until=110.0)
    assert world.within == pytest.approx([3.0])
    assert len(world.attendance) == 0


def test_a_renewal_that_is_not_enough_is_tried_again_after_a_pause():
    world = World(takes=0.01)

    assert not world.here.renew(lambda: False, budget=1.0)

    assert world.pauses[:-1] == [PAUSE] * (len(world.pauses) - 1)
    assert 10 < len(world.within) < 25
    assert all(within <= 1.0 for within in world.within)


def test_who_renews_waits_no_longer_than_it_takes():
    world = World(takes=0.01)

    assert world.here.renew(lambda: bool(world.within), budget=1.0)

    assert world.pauses == []
    assert len(world.within) == 1


@pytest.mark.parametrize("left", [0.0, 5.0])
def test_nobody_waits_for_an_engine_that_has_ended(left):
    world = World(takes=0.01)
    world.is_over = True

    assert not world.here.wait_for(Bell(), lambda: False, world.time + left)
    assert not world.here.renew(lambda: False, left)

    assert (world.pauses, world.within) == ([], [])


def test_who_waits_is_out_of_time_at_his_instant():
    world = World(takes=0.0)

    assert not world.here.wait_for(Bell(), lambda: False, world.time + 3.0)

    assert world.pauses == [3.0]
