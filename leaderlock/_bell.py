"""How one thread waits for others: a bell that an interruption cannot leave locked."""

from __future__ import annotations

import queue

__all__ = ["Bell"]


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
