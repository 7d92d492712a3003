"""How one thread waits for others: a bell that an interruption cannot leave locked; and who is called at a change."""

from __future__ import annotations

import queue
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Bell", "Listeners"]


class Bell:
    """Rung by any thread, from anywhere; waited for by one.

    Not a ``threading.Condition``: Ctrl-C between the acquisition of its lock and the first line under it leaves that
    held for ever, and the engine behind it. A ``SimpleQueue`` is written in C, and may be used in a signal handler.
    """

    __slots__ = ("__weakref__", "_rings")

    def __init__(self) -> None:
        self._rings: queue.SimpleQueue[None] = queue.SimpleQueue()

    def ring(self) -> None:
        """Wake whoever waits, or will wait next. Never blocks."""
        self._rings.put(None)

    def wait(self, seconds: float | None = None) -> None:
        """Return when it has been rung since the last wait, or after ``seconds``; may return for nothing."""
        try:
            self._rings.get(timeout=seconds)
            while True:
                self._rings.get_nowait()
        except queue.Empty:
            pass


class Listeners:
    """Who is called at a change, quickly and without blocking. Any thread may come or go, also amid a call, and be
    collected as garbage while it listens: so there is no lock, and a list, whose methods are atomic."""

    __slots__ = ("_all",)

    def __init__(self) -> None:
        self._all: list[Callable[[], object]] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have it called at every change to come; returns what stops that."""
        self._all.append(callback)

        def stop() -> None:
            with suppress(ValueError):
                self._all.remove(callback)

        return stop

    def tell(self) -> None:
        for callback in tuple(self._all):
            callback()
