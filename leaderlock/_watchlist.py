"""What a client watches at its store: hints that it is time to look, and nothing to rely on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from leaderlock._journal import Journal
from leaderlock.backend import Backend, View

__all__ = ["Watchlist"]


class Watchlist:
    """Keys that are watched, one by one; not thread-safe. A driver that fails costs time: without a hint, there is a
    look every third of a ttl.

    Args:
        woken: called from any thread with a key that may have changed, and with what it held then if that was told.
    """

    def __init__(self, backend: Backend, journal: Journal, woken: Callable[[str, View | None], None]) -> None:
        self._backend = backend
        self._journal = journal
        self._woken = woken
        self._stops: dict[str, Callable[[], None]] = {}
        self._missed: dict[str, None] = {}
        """Those that the driver could not watch, as where threads or descriptors have run out."""

    def __len__(self) -> int:
        return len(self._stops)

    def watch(self, key: str) -> None:
        try:
            self._stops[key] = self._backend.watch([key], partial(self._tell, key))
        except Exception as error:  # whatever a driver raises
            if not self._missed:  # said once, until all are watched again
                self._journal.warn("the backend cannot watch %s", key, exc_info=error)
            self._missed[key] = None
        else:
            self._missed.pop(key, None)

    def try_again(self) -> None:
        """Watch what could not be watched before, as far as that goes now."""
        while self._missed:
            key = next(iter(self._missed))
            self.watch(key)
            if key in self._missed:
                return

    def _tell(self, key: str, shown: View | None) -> None:
        self._woken(key, shown if shown is not None and key in shown.seen else None)

    def unwatch(self, key: str) -> None:
        self._missed.pop(key, None)
        stop = self._stops.pop(key, None)
        if stop is not None:
            try:
                stop()
            except Exception as error:  # as above
                self._journal.warn("the backend cannot stop watching %s", key, exc_info=error)

    def unwatch_all(self) -> None:
        self._missed.clear()
        for key in self._stops.copy():  # in one step of C, with the GIL and without: two may close a client at once
            self.unwatch(key)
