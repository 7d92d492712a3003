"""Users' callbacks: none is lost, and none stops the others."""

from __future__ import annotations

import threading

from leaderlock._callbacks import Callbacks

SOON = 5.0
"""Seconds that a thread is given before it is said to hang."""


class Queue:
    """Passes everything on; does something of a test's first, once, where something is about to be put."""

    def __init__(self, queue):
        self._queue = queue
        self.before_put = None

    def put(self, item):
        before, self.before_put = self.before_put, None
        if before is not None:
            before()
        self._queue.put(item)

    def get(self):
        return self._queue.get()

    def get_nowait(self):
        return self._queue.get_nowait()


def test_a_call_that_comes_while_they_are_stopped_is_made():
    callbacks = Callbacks()
    callbacks._queue = queue = Queue(callbacks._queue)
    callbacks.call(lambda: None)
    queue.before_put = lambda: callbacks.stop(SOON)
    made = threading.Event()

    callbacks.call(made.set)

    assert made.wait(SOON)


def test_a_call_that_comes_after_the_end_does_not_wait_for_another():
    callbacks = Callbacks()
    callbacks.call(lambda: None)
    callbacks.stop(SOON)
    hang, made = threading.Event(), threading.Event()

    callbacks.call(lambda: hang.wait(SOON))
    callbacks.call(made.set)

    assert made.wait(SOON)
    hang.set()


def test_a_call_that_comes_after_the_end_does_not_wait_for_one_that_hung_before():
    callbacks = Callbacks()
    hang, made = threading.Event(), threading.Event()
    callbacks.call(lambda: hang.wait(2 * SOON))
    callbacks.stop(0.01)

    callbacks.call(made.set)

    assert made.wait(SOON)
    hang.set()
    callbacks._thread.join(SOON)
    assert not any(thread.is_alive() for thread in callbacks._thread._threads), "it waits for an end that was taken"


def test_calls_are_made_in_order_and_one_that_fails_stops_none(caplog):
    callbacks = Callbacks()
    made = []

    callbacks.call(lambda: made.append(1))
    callbacks.call(lambda: made.append(1 / 0))
    callbacks.call(lambda: made.append(2))
    callbacks.stop(SOON)

    assert made == [1, 2]
    assert "a callback raised" in caplog.text


def test_no_two_calls_are_made_at_once():
    callbacks = Callbacks()
    made_by = []

    for _ in range(20):
        callbacks.call(lambda: made_by.append(threading.current_thread()))
    callbacks.stop(SOON)

    assert len(made_by) == 20
    assert {thread.name for thread in made_by} == {"leaderlock-callbacks"}
    assert len(set(made_by)) == 1
