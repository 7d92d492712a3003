"""Users' callbacks: on a thread of their own, in order, isolated. They can never kill or delay a renewal."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

__all__ = ["Callbacks"]

_log: Final = logging.getLogger("leaderlock")


class Callbacks:
    """A queue of calls to make. Its thread starts with the first one."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def call(self, callback: Callable[[], object]) -> None:
        self._queue.put(callback)
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="leaderlock-callbacks", daemon=True)
                    self._thread.start()

    def stop(self, timeout: float) -> None:
        """Make the calls that are queued, then end; wait for that at most ``timeout`` seconds."""
        self._queue.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while (callback := self._queue.get()) is not None:
            try:
                callback()
            except Exception:  # the user's code is kept away from ours, and its failure is told to the user
                _log.exception("a callback raised")
