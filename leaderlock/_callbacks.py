"""Users' callbacks: on a thread of their own, in order, isolated. They can never kill or delay a renewal."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["Callbacks"]

_log: Final = logging.getLogger("leaderlock")


class Callbacks:
    """A queue of calls to make. Its thread starts with the first one."""

    def __init__(self) -> None:
        self._queue: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def call(self, callback: Callable[[], object]) -> None:
        with self._changed:
            self._queue.append(callback)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="leaderlock-callbacks", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self, timeout: float) -> None:
        """Make the calls that are queued, then end; wait for that at most ``timeout`` seconds."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._stopped:
                    self._changed.wait()
                if not self._queue:
                    return
                callback = self._queue.popleft()
            try:
                callback()
            except Exception:  # the user's code is kept away from ours, and its failure is told to the user
                _log.exception("a callback raised")
