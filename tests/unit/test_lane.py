"""A lane: one thread, one call after the other, and nothing that can end it but its end."""

from __future__ import annotations

import gc
import threading
from queue import SimpleQueue

import pytest

from leaderlock._calls import Calls
from leaderlock._clock import SteadyClock
from leaderlock._lane import Lane
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import Answered, Ask, Failure, Kind, Put, Scan, Scanned, Unread, Viewed, Woken
from leaderlock._thread import OwnThread, even_if_collected
from leaderlock.backend import ABSENT, Conflict, Seen, Swapped, Write
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


def test_a_scan_outlives_whoever_looks_through_all_objects_meanwhile(lane, backend, heard, monkeypatch):
    """A tuple that is being made of an iterator cannot be finished where somebody else holds it."""
    held = []

    def scan(prefix, *, timeout):
        yield "session/a", Seen(None, ABSENT)
        held.append(gc.get_objects())
        yield "session/b", Seen(None, ABSENT)

    monkeypatch.setattr(backend, "scan", scan)
    lane.push(Scan("session/", run=0))

    assert isinstance(heard.get(timeout=10), Scanned)


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


class Panic(BaseException):
    """As some libraries raise that are written in other languages."""


def test_a_driver_s_panic_is_an_answer_and_the_lane_outlives_it(lane, backend, heard):
    def panic():
        raise Panic

    once = backend.before(panic, op="read", times=1)

    lane.push(Ask(("settled",)))
    assert isinstance(heard.get(timeout=10), Unread)
    assert once.hits

    lane.push(Ask(("settled",)))
    assert isinstance(heard.get(timeout=10), Viewed)


def put(key, *, memory):
    write = Write(key, ABSENT, b"x")
    return Put(Kind.TAKE, write, key, memory, 1, Instant(0.0, 0.0, 0.0))


def test_two_writes_of_one_key_never_go_in_one_call(backend, heard):
    """A store that looks at all stamps before it writes would acknowledge both: two leaders."""
    memory = backend.read([], timeout=1).memory

    puts = [put(key, memory=memory) for key in ("name/a", "name/b", "name/a")]

    Calls(backend, SteadyClock()).carry(puts, 1.0, heard.put)

    first, second = heard.get_nowait(), heard.get_nowait()
    assert [one is other for one, other in zip((*first.puts, *second.puts), puts, strict=True)] == [True] * 3
    assert [[type(answer) for answer in event.answers] for event in (first, second)] == [[Swapped] * 2, [Conflict]]
    assert backend.count("swap") == 2


def test_after_a_write_that_was_not_answered_none_that_stands_behind_it_is_sent(backend, heard):
    """The next attempt at a store that does not answer is for the back-off to time."""
    memory = backend.read([], timeout=1).memory
    backend.inject(Fault.LOST_BEFORE, op="swap")
    puts = [put(key, memory=memory) for key in ("name/a", "name/a", "name/b")]

    Calls(backend, SteadyClock()).carry(puts, 1.0, heard.put)

    unanswered = [heard.get_nowait() for _ in puts]
    assert [(event.puts[0].write.key, event.failure) for event in unanswered] == [
        ("name/a", Failure.UNKNOWN),
        ("name/a", Failure.NEVER_SENT),
        ("name/b", Failure.NEVER_SENT),
    ]
    assert backend.count("swap") == 1


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_call_carries_more_than_the_store_takes(heard, at_once):
    backend = MemoryBackend()
    backend._traits = backend.traits._replace(max_batch=at_once)
    memory = backend.read([], timeout=1).memory
    keys = ["name/a", "name/b", "name/c"]

    Calls(backend, SteadyClock()).carry([*(put(key, memory=memory) for key in keys), Ask(keys)], 1.0, heard.put)

    events = [heard.get_nowait() for _ in range(heard.qsize())]
    written = [one.write.key for event in events if isinstance(event, Answered) for one in event.puts]
    read = [key for event in events if isinstance(event, Viewed) for key in event.view.seen]
    assert (written, read) == (keys, keys)


def test_a_scan_that_failed_is_told(backend, heard):
    backend.inject(Fault.NEVER_SENT, op="scan")

    Calls(backend, SteadyClock()).carry([Scan("name/")], 1.0, heard.put)

    assert heard.get_nowait().keys == ("name/",)


def test_a_scan_that_a_driver_s_panic_cut_short_is_told(lane, backend, heard):
    """Or a session that looks for its names on a new memory would wait for it until its deadline (rule 17)."""

    def panic():
        raise Panic

    backend.before(panic, op="scan", times=1)

    lane.push(Scan("name/"))

    assert heard.get(timeout=10).keys == ("name/",)


class Listing(MemoryBackend):
    """A thousand and one registers, and how many listings of them are held by anybody."""

    def __init__(self):
        super().__init__()
        self.begun = self.held = 0

    def scan(self, prefix, *, timeout):
        return self._list(prefix)

    def _list(self, prefix):
        self.begun += 1
        self.held += 1
        try:
            for number in range(1001):
                yield f"{prefix}{number}", Seen(None, ABSENT)
        finally:
            self.held -= 1


def keys_of(event):
    return [int(key.rpartition("/")[2]) for key, _ in event.items]


def test_of_the_scans_that_each_new_memory_begins_anew_one_is_kept_and_goes_on_where_it_stopped(heard):
    backend = Listing()
    calls = Calls(backend, SteadyClock())

    for run in range(1, 101):
        calls.carry([Scan("name/", run), Scan("session/", run)], 1.0, heard.put)
    assert backend.held == 2

    while not heard.empty():
        heard.get_nowait()
    for _ in range(2):
        calls.carry([Scan("name/", 100)], 1.0, heard.put)
    second, third = heard.get_nowait(), heard.get_nowait()

    assert (keys_of(second), second.finished) == (list(range(500, 1000)), False)
    assert (keys_of(third), third.finished) == ([1000], True)
    assert backend.held == 1


def test_a_scan_that_another_one_has_overtaken_begins_anew(heard):
    backend = Listing()
    calls = Calls(backend, SteadyClock())

    for run in (1, -1, 1):
        calls.carry([Scan("name/", run)], 1.0, heard.put)
    heard.get_nowait(), heard.get_nowait()

    assert keys_of(heard.get_nowait()) == list(range(500))
    assert (backend.begun, backend.held) == (3, 1)


@pytest.mark.parametrize("error", [None, ValueError(), KeyboardInterrupt()])
def test_what_a_block_owes_at_its_end_is_done_by_whoever_leaves_it(error):
    done_by = []

    even_if_collected(error, lambda: done_by.append(threading.current_thread()))

    assert done_by == [threading.current_thread()]


def test_what_a_block_owes_that_is_collected_as_garbage_is_done_on_another_thread():
    done_by = SimpleQueue()

    even_if_collected(GeneratorExit(), lambda: done_by.put(threading.current_thread()))

    assert done_by.get(timeout=10) is not threading.current_thread()


def test_a_thread_that_ends_before_it_can_tell_of_its_start_is_not_waited_for_without_end(lane, heard, monkeypatch):
    with monkeypatch.context() as short_of_memory:
        short_of_memory.setattr("leaderlock._thread.STARTING", 1)
        short_of_memory.setattr(lane._thread, "_start", lambda outcomes: None)
        with pytest.raises(RuntimeError, match="did not come to run"):
            lane.push(Ask(("settled",)))

    lane.push(Ask(("settled",)))

    assert isinstance(heard.get(timeout=10), Viewed)
