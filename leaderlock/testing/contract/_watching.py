"""Watching: hints that come soon, and not after they were called off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

import pytest

from leaderlock.backend import ABSENT, Backend, Stamp, View, Write
from leaderlock.testing.contract._hooks import PATIENCE, Hooks, Opener, attempt, eventually, look, memory_of, put

KEY = "name/a"
QUICK = 0.005
"""Seconds: whoever polls so often that nobody has to wait longer is as good as pushed to, and may say so."""


class Ear:
    """Counts the wakes of a watch on ``backend``, and can wait for the next one.

    It looks before it waits, as every watcher must: a change that came between a wake and the look is not told again.
    """

    def __init__(self, backend: Backend) -> None:
        self.wakes = 0
        self._backend = backend
        self._heard = threading.Event()

    def wake(self, shown: View | None) -> None:
        self.wakes += 1
        self._heard.set()

    def hears(self, act: Callable[[], object]) -> bool:
        """Whether a wake came during ``act()`` or soon after it."""
        self._look()
        act()
        return self._heard.wait(PATIENCE)

    def delay(self, act: Callable[[], object]) -> float:
        """Seconds from the end of ``act()`` to the wake."""
        self._look()
        act()
        began = time.monotonic()
        assert self._heard.wait(PATIENCE)
        return time.monotonic() - began

    def _look(self) -> None:
        self._heard.clear()
        eventually(lambda: look(self._backend, KEY))


def rewrite(backend: Backend, key: str = KEY, value: bytes = b"x") -> Stamp:
    return put(backend, key, value, look(backend, key).stamp)


class Watching(Hooks):
    """A driver whose subscription takes a moment wakes once it stands, since a write may have gone before it."""

    def test_a_watch_wakes_for_a_write_of_the_same_client(self, backend: Backend) -> None:
        put(backend, KEY, b"old")
        ear = Ear(backend)

        backend.watch([KEY], ear.wake)

        assert ear.hears(lambda: rewrite(backend))

    def test_a_watch_wakes_for_a_write_of_another_client_again_and_again(self, open_backend: Opener) -> None:
        watcher, writer = open_backend(), open_backend()
        ear = Ear(watcher)
        put(writer, KEY, b"old")

        watcher.watch([KEY], ear.wake)

        assert all(ear.hears(lambda: rewrite(writer)) for _ in range(5))

    def test_a_watch_wakes_for_a_creation_and_for_a_deletion(self, open_backend: Opener) -> None:
        watcher, writer = open_backend(), open_backend()
        ear = Ear(watcher)

        watcher.watch([KEY], ear.wake)

        assert ear.hears(lambda: put(writer, KEY, b"new"))
        assert ear.hears(lambda: put(writer, KEY, None, look(writer, KEY).stamp))
        assert ear.hears(lambda: put(writer, KEY, b"new"))

    def test_what_a_watch_shows_was_there(self, open_backend: Opener) -> None:
        """It need not show anything; but a name is taken by what it shows."""
        watcher, writer = open_backend(), open_backend()
        shown: list[View] = []
        ear = Ear(watcher)

        def wake(view: View | None) -> None:
            shown.extend([] if view is None else [view])
            ear.wake(view)

        def write(value: bytes) -> None:
            written[rewrite(writer, value=value)] = value

        written = {put(writer, KEY, b"0"): b"0"}
        watcher.watch([KEY], wake)
        for number in range(1, 6):
            assert ear.hears(partial(write, b"%d" % number))
        memory, floor = memory_of(watcher), watcher.read([], timeout=5).floor

        assert all(written[view.seen[KEY].stamp] == view.seen[KEY].value for view in shown if KEY in view.seen)
        assert {view.memory for view in shown} <= {memory}
        assert all(view.floor <= floor for view in shown)

    def test_a_store_pushes_exactly_if_its_traits_say_so(self, open_backend: Opener) -> None:
        watcher, writer = open_backend(), open_backend()
        ear = Ear(watcher)
        watcher.watch([KEY], ear.wake)
        ear.hears(lambda: rewrite(writer))

        delays = [ear.delay(lambda: rewrite(writer)) for _ in range(12)]

        if watcher.traits.pushes:
            assert sorted(delays)[6] < 1.0
        else:
            # Under load all are late; so a store that pushes may get away with its denial, and no honest one fails.
            assert max(delays) > QUICK, "this store pushes: its traits must not deny it"

    @pytest.mark.parametrize("name", ["..", "a/b", "{a}", "*", "日本 👑"])
    def test_a_watch_wakes_for_a_key_of_any_characters(self, open_backend: Opener, name: str) -> None:
        watcher, writer = open_backend(), open_backend()
        ear = Ear(watcher)

        watcher.watch([f"name/{name}"], ear.wake)

        assert ear.hears(lambda: rewrite(writer, f"name/{name}"))

    def test_a_watch_of_a_thousand_keys_wakes_for_each(self, open_backend: Opener) -> None:
        watcher, writer = open_backend(), open_backend()
        ear = Ear(watcher)
        keys = [f"name/{number}" for number in range(1_000)]

        watcher.watch(keys, ear.wake)

        assert all(ear.hears(partial(rewrite, writer, key)) for key in (keys[0], keys[499], keys[-1]))

    def test_every_watch_of_a_key_wakes_and_one_called_off_leaves_the_others(self, open_backend: Opener) -> None:
        backend = open_backend()
        ears = [Ear(backend) for _ in range(3)]
        stops = [backend.watch([KEY], ear.wake) for ear in ears]

        heard = [ear.hears(lambda: rewrite(backend)) for ear in ears]
        stops[1]()
        still = [ear.hears(lambda: rewrite(backend)) for ear in (ears[0], ears[2])]

        assert all(heard)
        assert all(still)

    def test_a_watch_called_off_wakes_no_more(self, open_backend: Opener) -> None:
        watcher, writer = open_backend(), open_backend()
        ear, other = Ear(watcher), Ear(watcher)
        stop = watcher.watch([KEY], ear.wake)
        watcher.watch([KEY], other.wake)
        ear.hears(lambda: rewrite(writer))

        stop()
        wakes = ear.wakes
        heard = [other.hears(lambda: rewrite(writer)) for _ in range(3)]

        assert all(heard)
        assert ear.wakes <= wakes + 1, "more than the one wake that may have been on its way"

    def test_a_watch_can_be_called_off_twice_and_after_the_end(self, open_backend: Opener) -> None:
        backend = open_backend()
        stops = [backend.watch([KEY], Ear(backend).wake) for _ in range(2)]

        stops[0]()
        stops[0]()
        backend.close()

        stops[0]()
        stops[1]()

    def test_a_watch_can_be_called_off_from_inside_its_wake(self, open_backend: Opener) -> None:
        watcher, writer = open_backend(), open_backend()
        other = Ear(watcher)
        stops: list[Callable[[], None]] = []
        is_set, is_stopped, wakes = threading.Event(), threading.Event(), list[int]()

        def wake(_: View | None) -> None:
            wakes.append(1)
            if is_set.is_set():
                stops[0]()
                is_stopped.set()

        stops.append(watcher.watch([KEY], wake))
        is_set.set()
        rewrite(writer)
        was_stopped = is_stopped.wait(PATIENCE)
        watcher.watch([KEY], other.wake)
        before = len(wakes)

        heard = [other.hears(lambda: rewrite(writer)) for _ in range(3)]

        assert was_stopped
        assert all(heard)
        assert len(wakes) <= before + 1

    def test_a_closed_client_wakes_nobody(self, open_backend: Opener) -> None:
        closed, writer = open_backend(), open_backend()
        ear, other = Ear(closed), Ear(writer)
        closed.watch([KEY], ear.wake)
        writer.watch([KEY], other.wake)
        ear.hears(lambda: rewrite(writer))

        closed.close()
        wakes = ear.wakes
        heard = [other.hears(lambda: rewrite(writer)) for _ in range(3)]

        assert all(heard)
        assert ear.wakes <= wakes + 1

    def test_watches_called_off_leave_no_thread_behind(self, backend: Backend) -> None:
        ear = Ear(backend)
        stop = backend.watch([KEY], ear.wake)
        ear.hears(lambda: rewrite(backend))
        threads = threading.active_count()

        for number in range(50):
            backend.watch([KEY, f"name/{number}"], ear.wake)()
        stop()

        assert eventually(lambda: threading.active_count() <= threads)

    def test_a_watch_is_begun_at_once_also_while_the_store_is_away(
        self, backend: Backend, outage: Callable[[], AbstractContextManager[object]]
    ) -> None:
        attempt(backend, Write(KEY, ABSENT, b"old"))
        ear = Ear(backend)

        with outage():
            began = time.monotonic()
            backend.watch([KEY], ear.wake)
            took = time.monotonic() - began

        assert took < 1.0
        assert ear.hears(lambda: eventually(lambda: rewrite(backend)))
