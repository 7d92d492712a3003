"""Which calls a caller makes on his own thread, and that none is handed to him twice."""

from __future__ import annotations

import pytest

from leaderlock._handed import EVERYTHING, Handed
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import Ask, Kind, Lane, Put, Scan
from leaderlock._protocol.records import NameRecord
from leaderlock.backend import ABSENT, Write

OTHERS = [
    Ask(("name/b",), "b"),
    Ask(("settled",)),
    Scan("name/"),
    Scan("name/", lane=Lane.SESSION),
    Ask(("session/s",), "a", Lane.SESSION),
]
"""Calls that are not for who works on the name ``a``."""


def put(kind, owner, *, session="", lane=Lane.NAMES):
    write = Write(f"key/{owner}", ABSENT, b"x")
    return Put(kind, write, owner, "memory", 1, Instant(0.0, 0.0, 0.0), lane, NameRecord("w", session, 1))


@pytest.fixture
def mine():
    return Handed("a")


@pytest.mark.parametrize(
    "call", [Ask(("name/a",), "a"), put(Kind.TAKE, "a", session="s"), put(Kind.OPEN, "s"), put(Kind.SETTLE, "settled")]
)
def test_a_caller_makes_what_his_name_needs(mine, call):
    assert mine.takes(call)
    assert mine.next_calls() == [call]


@pytest.mark.parametrize("call", [*OTHERS, put(Kind.TAKE, "b", session="s"), put(Kind.RENEW, "s", lane=Lane.SESSION)])
def test_a_caller_makes_nothing_for_others(mine, call):
    assert not mine.takes(call)
    assert mine.next_calls() == []


@pytest.mark.parametrize("call", [*OTHERS, put(Kind.TAKE, "b"), put(Kind.RENEW, "s", lane=Lane.SESSION)])
def test_who_waits_for_everything_makes_every_call(call):
    assert Handed(EVERYTHING).takes(call)


def test_a_take_travels_with_the_open_of_its_session_whatever_its_name(mine):
    assert mine.takes(put(Kind.OPEN, "s"))

    assert not mine.takes(put(Kind.TAKE, "b", session="another"))
    assert not mine.takes(Ask(("name/b",), "b"))
    assert mine.takes(put(Kind.TAKE, "b", session="s"))


def test_each_call_is_handed_over_once_and_known_for_ever(mine):
    first, second = Ask(("name/a",), "a"), put(Kind.TAKE, "a")
    mine.takes(first)
    handed = [mine.next_calls()]
    mine.takes(second)
    handed += [mine.next_calls(), mine.next_calls()]

    assert handed == [[first], [second], []]
    assert mine.calls == [first, second]
