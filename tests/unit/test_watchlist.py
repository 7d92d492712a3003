"""What a client watches: as long as it wants to and no longer, whatever the driver makes of that."""

from __future__ import annotations

import pytest

from leaderlock._watchlist import Watchlist
from leaderlock.backend import ABSENT, View, Write
from leaderlock.testing import MemoryBackend


class Backend(MemoryBackend):
    """Does not watch, or does not stop watching, the keys that a test says."""

    def __init__(self):
        super().__init__()
        self.unwatchable, self.unstoppable = set(), set()

    def watch(self, keys, wake):
        if self.unwatchable.intersection(keys):
            raise RuntimeError("cannot watch")
        stop = super().watch(keys, wake)

        def stop_if_possible():
            stop()
            if self.unstoppable.intersection(keys):
                raise RuntimeError("cannot stop")

        return stop_if_possible

    def change(self, key):
        self.swap([Write(key, ABSENT, b"x")], self.read([key], timeout=1).memory, timeout=1)


class Journal:
    """Keeps what it is to warn of."""

    def __init__(self):
        self.warnings = []

    def warn(self, message, *arguments, exc_info=None):
        self.warnings.append(message % arguments)


@pytest.fixture
def backend():
    return Backend()


@pytest.fixture
def journal():
    return Journal()


@pytest.fixture
def woken():
    """Every wake, in order: the key, and what was shown."""
    return []


@pytest.fixture
def watches(backend, journal, woken):
    return Watchlist(backend, journal, lambda key, shown: woken.append((key, shown)))


def test_what_is_watched_no_longer_is_not_watched_at_the_store_either(watches, backend, woken):
    watches.watch("name/a")
    watches.watch("name/b")

    watches.unwatch("name/a")
    backend.change("name/a")
    backend.change("name/b")

    assert [key for key, _ in woken] == ["name/b"]
    assert len(watches) == len(backend._watches) == 1


def test_the_end_of_all_watches_is_the_end_of_each_though_a_driver_fails(watches, backend, journal):
    for key in ("name/a", "name/b", "name/c"):
        watches.watch(key)
    backend.unstoppable = {"name/a"}

    watches.unwatch_all()

    assert len(watches) == len(backend._watches) == 0
    assert journal.warnings == ["the backend cannot stop watching name/a"]


def test_what_a_driver_cannot_watch_is_warned_of_and_may_be_unwatched(watches, backend, journal):
    backend.unwatchable = {"name/a"}

    watches.watch("name/a")
    watches.unwatch("name/a")

    assert len(watches) == 0
    assert journal.warnings == ["the backend cannot watch name/a"]


def test_what_could_not_be_watched_is_watched_when_it_can_be_and_warned_of_once(watches, backend, journal, woken):
    backend.unwatchable = {"name/a", "name/b", "name/c"}
    for key in ("name/a", "name/b", "name/c"):
        watches.watch(key)
    watches.try_again()
    watches.unwatch("name/c")

    backend.unwatchable = {"name/b"}
    watches.try_again()
    backend.unwatchable = set()
    watches.try_again()
    for key in ("name/a", "name/b", "name/c"):
        backend.change(key)

    assert [key for key, _ in woken] == ["name/a", "name/b"]
    assert journal.warnings == ["the backend cannot watch name/a"]


def test_what_a_driver_shows_of_other_keys_is_a_wake_and_nothing_more(watches, woken):
    """A view without the key says nothing of it: neither that it is there, nor that it is not."""
    seen = MemoryBackend().read(["name/b"], timeout=1)
    assert isinstance(seen, View)

    watches._tell("name/a", seen)
    watches._tell("name/b", seen)
    watches._tell("name/b", None)

    assert woken == [("name/a", None), ("name/b", seen), ("name/b", None)]
