"""Replies: delivered, lost, late, twice, cut; and a store that is away or does not answer."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from leaderlock.backend import ABSENT, Backend, Conflict, Seen, Swapped, Write
from leaderlock.errors import BackendUnavailable, OutcomeUnknown
from leaderlock.testing._faulty import Fault, FaultyBackend
from leaderlock.testing.contract._hooks import TIMEOUT, Hooks, attempt, eventually, look, memory_of, put

KEY = "name/a"
SHORT = 0.5
SOON = 5.0
"""Seconds within which a call whose time-out is SHORT must be over, on a busy machine."""


class Interrupted(BaseException):
    """What a signal handler raises, as Ctrl-C does."""


class Replies(Hooks):
    @pytest.fixture
    def faulty(self, backend: Backend) -> FaultyBackend:
        return FaultyBackend(backend)

    def test_a_request_that_was_never_sent_changes_nothing(self, faulty: FaultyBackend) -> None:
        stamp = put(faulty, KEY, b"old")

        with faulty.inject(Fault.NEVER_SENT), pytest.raises(BackendUnavailable) as raised:
            attempt(faulty, Write(KEY, stamp, b"mine"))

        assert not isinstance(raised.value, OutcomeUnknown)
        assert look(faulty, KEY) == Seen(b"old", stamp)

    def test_a_request_lost_on_its_way_is_seen_not_to_be_there(self, faulty: FaultyBackend) -> None:
        stamp = put(faulty, KEY, b"old")

        with faulty.inject(Fault.LOST_BEFORE), pytest.raises(OutcomeUnknown):
            attempt(faulty, Write(KEY, stamp, b"mine"))

        assert look(faulty, KEY) == Seen(b"old", stamp)

    def test_an_answer_lost_on_its_way_is_recognised_by_what_is_there(self, faulty: FaultyBackend) -> None:
        stamp = put(faulty, KEY, b"old")
        with faulty.inject(Fault.LOST_AFTER), pytest.raises(OutcomeUnknown):
            attempt(faulty, Write(KEY, stamp, b"mine"))

        (again,) = attempt(faulty, Write(KEY, stamp, b"mine"))

        assert isinstance(again, Conflict)
        assert again.seen.value == b"mine"
        assert again.seen == look(faulty, KEY)

    def test_a_late_request_is_applied_where_nobody_moved_the_stamp(self, faulty: FaultyBackend) -> None:
        stamp = put(faulty, KEY, b"old")
        with faulty.inject(Fault.LATE), pytest.raises(OutcomeUnknown):
            attempt(faulty, Write(KEY, stamp, b"mine"))
        meanwhile = look(faulty, KEY)

        faulty.deliver_late()

        assert meanwhile == Seen(b"old", stamp)
        assert look(faulty, KEY).value == b"mine"

    def test_a_late_request_changes_nothing_once_the_stamp_moved(self, faulty: FaultyBackend) -> None:
        stamp = put(faulty, KEY, b"old")
        with faulty.inject(Fault.LATE), pytest.raises(OutcomeUnknown):
            attempt(faulty, Write(KEY, stamp, b"mine"))
        touched = put(faulty, KEY, b"old", stamp)

        late = faulty.deliver_late()

        assert late == [[Conflict(Seen(b"old", touched))]]
        assert look(faulty, KEY) == Seen(b"old", touched)

    def test_a_late_creation_changes_nothing_once_something_is_there(self, faulty: FaultyBackend) -> None:
        with faulty.inject(Fault.LATE), pytest.raises(OutcomeUnknown):
            attempt(faulty, Write(KEY, ABSENT, b"mine"))
        touched = put(faulty, KEY, b"touched")

        late = faulty.deliver_late()

        assert late == [[Conflict(Seen(b"touched", touched))]]
        assert look(faulty, KEY) == Seen(b"touched", touched)

    def test_a_request_that_arrives_twice_is_applied_once(self, faulty: FaultyBackend) -> None:
        stamp = put(faulty, KEY, b"old")

        with faulty.inject(Fault.TWICE):
            answers = attempt(faulty, Write(KEY, stamp, b"mine"), Write("name/b", ABSENT, b"mine"))

        seen = faulty.read([KEY, "name/b"], timeout=TIMEOUT).seen
        assert answers == [Swapped(seen[KEY].stamp), Swapped(seen["name/b"].stamp)]

    def test_the_rest_of_a_batch_cut_in_the_middle_can_be_sent_again(self, faulty: FaultyBackend) -> None:
        writes = [Write(f"name/{number}", ABSENT, b"mine") for number in range(4)]
        with faulty.inject(Fault.CUT), pytest.raises(OutcomeUnknown):
            attempt(faulty, *writes)

        again = attempt(faulty, *writes)

        assert [type(answer) for answer in again] == [Conflict, Conflict, Swapped, Swapped]
        assert all(look(faulty, write.key).value == b"mine" for write in writes)

    def test_while_the_store_is_away_calls_say_so_in_time_and_afterwards_they_work(
        self, backend: Backend, outage: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._fail_in_time_and_recover(backend, outage)

    def test_while_the_store_does_not_answer_calls_say_so_in_time_and_afterwards_they_work(
        self, backend: Backend, freeze: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._fail_in_time_and_recover(backend, freeze)

    @staticmethod
    def _fail_in_time_and_recover(backend: Backend, trouble: Callable[[], AbstractContextManager[object]]) -> None:
        memory, stamp = memory_of(backend), put(backend, KEY, b"old")
        began = time.monotonic()
        with trouble():
            with pytest.raises(BackendUnavailable):
                backend.read([KEY], timeout=SHORT)
            with pytest.raises(BackendUnavailable) as raised:
                backend.swap([Write(KEY, stamp, b"mine")], memory, timeout=SHORT)
            with pytest.raises(BackendUnavailable):
                list(backend.scan("name/", timeout=SHORT))
            took = time.monotonic() - began

        seen = eventually(lambda: look(backend, KEY))

        assert took < SOON
        if isinstance(raised.value, OutcomeUnknown):
            assert seen.value in (b"old", b"mine")
        else:
            assert seen == Seen(b"old", stamp), "a request that was said to be never sent was applied"

    def test_an_interrupted_call_never_hands_its_answer_to_the_next(
        self, backend: Backend, freeze: Callable[[], AbstractContextManager[object]]
    ) -> None:
        stamps = {key: put(backend, key, key.encode()) for key in ("name/a", "name/b")}

        def interrupt(*_: object) -> None:
            raise Interrupted

        main, was = threading.get_ident(), signal.signal(signal.SIGUSR1, interrupt)
        timer = threading.Timer(SHORT, signal.pthread_kill, (main, signal.SIGUSR1))
        try:
            with freeze():
                timer.start()
                with pytest.raises(Interrupted):
                    backend.read(["name/a"], timeout=TIMEOUT)
        finally:
            if timer.is_alive():
                timer.join()  # else its signal would meet the old handler, which ends the process
            signal.signal(signal.SIGUSR1, was)

        for _ in range(5):
            assert eventually(lambda: look(backend, "name/b")) == Seen(b"name/b", stamps["name/b"])
