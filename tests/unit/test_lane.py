"""A lane: one thread, one call after the other, and nothing that can end it but its end."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from leaderlock._calls import Calls
from leaderlock._clock import SteadyClock
from leaderlock._lane import Lane
from leaderlock._protocol.events import Ask, Unread, Viewed, Woken
from leaderlock._thread import OwnThread
from leaderlock.testing import Fault, FaultyBackend, MemoryBackend


@pytest.fixture
def backend():
    return FaultyBackend(MemoryBackend())


@pytest.fixture
def heard():
    return SimpleQueue()


@pytest.fixture
def lane(backend, heard):
    lane = Lane("test", Calls(backend, SteadyClock()), 1.0, heard.put)
    yield lane
    backend.release_hung()
    lane.stop()
    lane.join(10)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "leaderlock-test"]


def test_its_thread_starts_with_its_first_errand(lane, heard):
    assert threads() == []

    lane.push(Ask(("settled",)))

    assert isinstance(heard.get(timeout=10), Viewed)
    assert len(threads()) == 1


def test_what_has_piled_up_goes_in_one_call_and_wakes_are_told_once(lane, backend, heard):
    hung = backend.inject(Fault.HANG, op="read")
    lane.push(Ask(("settled",)))
    while not hung.hits:
        pass
    for number in range(5):
        lane.push(Ask((f"name/{number}",)))
        lane.push(Woken("name/x"))
    backend.calls.clear()
    backend.release_hung()

    assert isinstance(heard.get(timeout=10), Unread)
    assert heard.get(timeout=10) == Woken("name/x")
    assert len(heard.get(timeout=10).view.seen) == 5
    assert backend.count("read") == 1


@pytest.mark.parametrize("fault", [Fault.BUG, Fault.NEVER_SENT, Fault.REFUSE, Fault.LOST_BEFORE])
def test_no_answer_is_an_answer_and_the_lane_goes_on(lane, backend, heard, fault):
    backend.inject(fault, op="read")

    lane.push(Ask(("settled",)))
    assert isinstance(heard.get(timeout=10), Unread)

    lane.push(Ask(("settled",)))
    assert isinstance(heard.get(timeout=10), Viewed)


def test_a_stopped_lane_carries_nothing_and_ends(lane, backend, heard):
    lane.push(Ask(("settled",)))
    heard.get(timeout=10)
    lane.stop()
    lane.join(10)
    backend.calls.clear()

    lane.push(Ask(("settled",)))

    assert threads() == []
    assert backend.calls == []


def test_a_thread_whose_start_was_interrupted_is_started_by_the_next_and_runs_once(monkeypatch):
    ran, over = [], threading.Event()

    def body():
        ran.append(threading.current_thread())
        over.wait(10)

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    start = threading.Thread.start
    own = OwnThread("test", body)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            own.start()
    own.start()
    own.start()
    over.set()
    own.join(10)

    assert len(ran) == 1
    assert threads() == []
