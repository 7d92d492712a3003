"""Users' callbacks: on a thread of their own, in order, isolated. They can never kill or delay a renewal."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from leaderlock._thread import OwnThread

__all__ = ["Callbacks"]

_log: Final = logging.getLogger("leaderlock")


class Callbacks:
    """A queue of calls to make. Its thread starts with the first one, or with whoever wants to be sure of it."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._thread = OwnThread("callbacks", self._run)
        self._is_over = False

    def start(self) -> None:
        """Have the thread now, so that no call will ever wait for one. Raises ``RuntimeError`` where there can be no
        more threads."""
        if not self._is_over:
            self._thread.start()

    def call(self, callback: Callable[[], object]) -> None:
        """Have it made soon. Raises nothing: where there can be no more threads, it is made with the next one."""
        self._queue.put(callback)
        with suppress(RuntimeError):
            if self._is_over:  # somebody still listens to what a closed client has lost: nobody waits for him any more
                threading.Thread(target=self._make_rest, name="leaderlock-callback", daemon=True).start()
            else:
                self._thread.start()

    def stop(self, timeout: float) -> None:
        """Make the calls that are queued, then end; wait for that at most ``timeout`` seconds."""
        self._queue.put(None)
        self._thread.join(timeout)
        self._is_over = True  # also where a callback hangs: what comes from now on does not wait behind it

    def _run(self) -> None:
        while (callback := self._queue.get()) is not None:
            _make(callback)
        # In this order: what came before this line is made here, and whoever comes after it sees to his own.
        self._is_over = True
        self._make_rest()

    def _make_rest(self) -> None:
        is_end_taken = False
        with suppress(queue.Empty):
            while True:
                callback = self._queue.get_nowait()
                if callback is None:
                    is_end_taken = True
                else:
                    _make(callback)
        if is_end_taken:  # it may be meant for the thread that a callback still keeps
            self._queue.put(None)


def _make(callback: Callable[[], object]) -> None:
    try:
        callback()
    except BaseException:
        # The user's code is kept away from ours, and its failure is told to the user. Also sys.exit(), which cannot end
        # the process from here, and must not end the calls that come after it.
        _log.exception("a callback raised")
