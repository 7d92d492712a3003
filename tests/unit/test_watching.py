"""The watchers' bookkeeping: who is woken, when the thread begins and ends, and what is left behind."""

import os
import signal
import threading
import time

import pytest

from leaderlock.errors import UsageError
from leaderlock.watching import Ending, Listener, Watches

PATIENCE = 10.0


class Ear(Listener[str]):
    """Told of changes through a pipe, as a driver is by its server."""

    def __init__(self):
        self.told = os.pipe()
        self.ending = Ending()
        self.is_over = threading.Event()

    def listen(self, wake):
        wake(None)
        while not self.ending.is_set:
            for descriptor in self.ending.wait(PATIENCE, self.told[0]):
                wake(os.read(descriptor, 100).decode().split())
        self.ending.close()
        self.is_over.set()

    def end(self):
        self.ending.set()

    def tell(self, *keys):
        os.write(self.told[1], " ".join(keys).encode())


class Backend:
    """As much of a driver as watches need."""

    def __init__(self, make=Ear, **options):
        self.ears = []
        self.is_closed = False
        self._make = make
        self.watches = Watches("test-watch", self.listen, check=self.check, **options)

    def listen(self):
        self.ears.append(self._make())
        return self.ears[-1]

    def check(self):
        if self.is_closed:
            raise UsageError("closed")

    def close(self):
        self.is_closed = True
        self.watches.close()


@pytest.fixture
def backend():
    backend = Backend()
    yield backend
    backend.close()
    for ear in backend.ears:
        for descriptor in ear.told:
            os.close(descriptor)


class Sleeper:
    """Counts how often it is woken."""

    def __init__(self):
        self.wakes = 0
        self._condition = threading.Condition()

    def wake(self, _=None):
        with self._condition:
            self.wakes += 1
            self._condition.notify_all()

    def has(self, wakes):
        with self._condition:
            return self._condition.wait_for(lambda: self.wakes >= wakes, PATIENCE)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "leaderlock-test-watch"]


def eventually(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.005)
    return True


def test_who_watches_a_key_is_woken_for_it_and_for_no_other(backend):
    first, other, all_of_them = Sleeper(), Sleeper(), Sleeper()
    backend.watches.add(["a", "b"], first.wake)
    backend.watches.add(["c"], other.wake)
    backend.watches.add(["a", "c"], all_of_them.wake)
    before = first.wakes, other.wakes

    backend.ears[0].tell("b", "a")

    assert all_of_them.has(1)
    assert first.has(before[0] + 1)
    assert other.wakes <= before[1] + 1, "only for the beginning, which tells everybody"


def test_one_change_of_two_keys_wakes_their_watcher_once(backend):
    sleeper = Sleeper()
    backend.watches.add(["a", "b"], sleeper.wake)
    assert sleeper.has(1)

    backend.ears[0].tell("a", "b")
    backend.ears[0].tell("a")

    assert sleeper.has(2)
    assert sleeper.wakes <= 3


def test_a_wake_that_raises_keeps_no_other_from_being_woken(backend):
    def fail(_):
        raise RuntimeError("a caller's bug")

    sleepers = [Sleeper() for _ in range(5)]
    for sleeper in sleepers:
        backend.watches.add(["a"], fail)
        backend.watches.add(["a"], sleeper.wake)
    before = [sleeper.wakes for sleeper in sleepers]

    backend.ears[0].tell("a")

    assert all(sleeper.has(wakes + 1) for sleeper, wakes in zip(sleepers, before, strict=True))


def test_a_wake_may_stop_its_own_watch_and_add_another(backend):
    stops, sleeper = [], Sleeper()

    def wake(_):
        if stops:
            stops.pop()()
            backend.watches.add(["a"], sleeper.wake)

    kept = Sleeper()
    backend.watches.add(["a"], kept.wake)
    assert kept.has(1)
    stops.append(backend.watches.add(["a"], wake))
    backend.ears[0].tell("a")
    assert kept.has(2)
    eventually(lambda: not stops)

    backend.ears[0].tell("a")

    assert sleeper.has(1)


def test_the_thread_lives_from_the_first_watch_to_the_end_of_the_last(backend):
    assert not threads()

    stops = [backend.watches.add(["a"], Sleeper().wake) for _ in range(3)]
    for stop in stops[1:]:
        stop()
        stop()
    meanwhile = len(threads())
    stops[0]()

    assert meanwhile == 1
    assert eventually(lambda: not threads())
    assert len(backend.ears) == 1


def test_a_watch_after_the_last_one_begins_anew(backend):
    backend.watches.add(["a"], Sleeper().wake)()
    sleeper = Sleeper()
    backend.watches.add(["a"], sleeper.wake)
    assert sleeper.has(1)

    backend.ears[1].tell("a")

    assert sleeper.has(2)
    assert backend.ears[0].is_over.wait(PATIENCE)


def test_of_a_watch_that_was_stopped_nothing_is_kept_while_others_go_on(backend):
    """Or a client that watched a million names, one after the other, would know them all for ever."""
    backend.watches.add(["a", "b"], Sleeper().wake)

    backend.watches.add(["b", "c"], Sleeper().wake)()

    assert backend.watches._by_key.keys() == {"a", "b"}


def test_a_watch_of_no_key_is_a_watch_too(backend):
    sleeper = Sleeper()
    stop = backend.watches.add([], sleeper.wake)

    told = sleeper.has(1)
    stop()

    assert told
    assert eventually(lambda: not threads())


def test_a_listener_that_is_dear_stays_until_the_end():
    backend = Backend(until_closed=True)
    backend.watches.add(["a"], Sleeper().wake)()
    backend.watches.add(["a"], Sleeper().wake)()

    assert len(threads()) == len(backend.ears) == 1
    backend.close()
    assert not threads()


def test_a_close_ends_the_thread_and_wakes_nobody_any_more(backend):
    sleeper = Sleeper()
    stop = backend.watches.add(["a"], sleeper.wake)
    assert sleeper.has(1)

    backend.close()
    backend.close()
    stop()

    assert not threads()
    assert sleeper.wakes == 1
    with pytest.raises(UsageError):
        backend.watches.add(["a"], sleeper.wake)


def test_a_close_from_inside_a_wake_does_not_wait_for_itself(backend):
    closed = threading.Event()

    def wake(_):
        backend.close()
        closed.set()

    backend.watches.add(["a"], wake)

    assert closed.wait(PATIENCE)
    assert eventually(lambda: not threads())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_listener_that_died_the_next_watch_begins_another_for_all():
    class Mortal(Ear):
        def listen(self, wake):
            if not survivors:
                raise RuntimeError("a driver's bug")
            super().listen(wake)

    survivors = []
    backend, first, second = Backend(Mortal), Sleeper(), Sleeper()
    backend.watches.add(["a"], first.wake)
    eventually(lambda: not threads())
    survivors.append(True)

    backend.watches.add(["b"], second.wake)

    assert first.has(1)
    assert second.has(1)
    backend.close()


def test_a_start_that_is_interrupted_leaves_no_thread_behind(monkeypatch, backend):
    from leaderlock import watching

    class Interrupted(watching.OwnThread):
        def start(self):
            super().start()
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(watching, "OwnThread", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            backend.watches.add(["a"], Sleeper().wake)
    sleeper = Sleeper()
    assert eventually(lambda: not threads())

    backend.watches.add(["a"], sleeper.wake)

    assert sleeper.has(1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_can_stop_and_close_whatever_a_lock_of_the_parents_says(backend):
    stop = backend.watches.add(["a"], Sleeper().wake)
    with backend.watches._lock:  # as another thread might at the moment of the fork
        child = os.fork()
        if not child:
            signal.alarm(5)
            stop()
            backend.watches.close()
            os._exit(0)
        _, status = os.waitpid(child, 0)

    assert status == 0
    assert len(threads()) == 1


def test_an_ending_can_be_waited_for_and_said_at_any_time():
    ending = Ending()
    began = time.monotonic()
    timer = threading.Timer(0.05, ending.set)
    timer.start()

    ready = ending.wait(PATIENCE)
    ending.set()
    again = ending.wait(PATIENCE)
    ending.close()
    ending.set()
    ending.close()
    timer.join()

    assert (ready, again) == ([], [])
    assert time.monotonic() - began < PATIENCE


def test_an_ending_nobody_ever_waited_for_gives_its_descriptors_back():
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(20):
        Ending()

    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_an_end_that_was_interrupted_before_it_came_to_the_listener_is_made_by_the_next_close(backend, monkeypatch):
    backend.watches.add(["a"], lambda _: None)
    [ear] = backend.ears
    interrupted = []

    def end_the_second_time():
        if not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        ear.ending.set()

    monkeypatch.setattr(ear, "end", end_the_second_time)
    with pytest.raises(KeyboardInterrupt):
        backend.close()

    backend.close()

    assert ear.is_over.wait(PATIENCE)


def test_an_ending_that_was_interrupted_when_it_had_been_said_is_set(monkeypatch):
    """Or its listener would be woken again and again by what it does not take for its end."""
    ending, write = Ending(), os.write

    def write_and_raise(*arguments):
        write(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", write_and_raise)
    with pytest.raises(KeyboardInterrupt):
        ending.set()

    assert ending.is_set
    ending.close()
