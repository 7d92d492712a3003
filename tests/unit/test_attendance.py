"""Who attends to a name is told what its watch brings; nothing that was brought is told to nobody."""

from __future__ import annotations

import pytest

from leaderlock._attendance import Attendance, Attending
from leaderlock._bell import Bell
from leaderlock._protocol.events import Woken

KEY = "name/a"


@pytest.fixture
def left():
    """What a lane has to see to."""
    return []


@pytest.fixture
def attendance(left):
    return Attendance(left.append)


@pytest.fixture
def first(attendance):
    """One who attends."""
    attending = Attending(Bell())
    assert attendance.begin(KEY, attending)
    return attending


def test_what_nobody_attends_to_is_left_to_a_lane(attendance, first, left):
    attendance.woken("name/b", None)

    assert left == [Woken("name/b")]
    assert not first.woken


def test_who_attends_is_told_and_no_lane_sees_to_it_too(attendance, first, left):
    attendance.woken(KEY, None)

    assert first.bell._rings.qsize() == 1
    assert first.take() == Woken(KEY)
    assert left == []


def test_after_the_end_whoever_comes_next_attends(attendance, first):
    second = Attending(Bell())
    assert not attendance.begin(KEY, second)

    attendance.end(KEY, first)

    assert len(attendance) == 0
    assert attendance.begin(KEY, second)


def test_the_end_of_who_only_waited_is_not_the_end_of_who_attends(attendance, first, left):
    second = Attending(Bell())
    attendance.begin(KEY, second)

    attendance.end(KEY, second)
    attendance.woken(KEY, None)

    assert first.woken
    assert left == []


def test_what_came_too_late_for_who_attended_is_left_to_a_lane(attendance, first, left):
    attendance.woken(KEY, None)
    attendance.woken(KEY, None)

    attendance.end(KEY, first)

    assert left == [Woken(KEY), Woken(KEY)]
    assert not first.woken


def test_an_end_may_come_twice(attendance, first, left):
    attendance.end(KEY, first)
    attendance.end(KEY, first)

    assert len(attendance) == 0
    assert left == []
