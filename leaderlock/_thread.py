"""One thread of leaderlock's own, started when it is first needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

__all__ = ["OwnThread"]


class OwnThread:
    """A daemon thread that runs once, however often and by whomever it is started.

    Ctrl-C in the middle of ``Thread.start`` leaves a thread that runs, or one that never will, and nobody can tell
    which. So the next one who needs it starts another; the first of them that comes to run is it, the others end.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self._name = f"leaderlock-{name}"
        self._run = run
        self._claim = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_started = False

    def start(self) -> None:
        """Start it, unless that was done. Raises ``RuntimeError`` where there can be no more threads."""
        if self._is_started:
            return
        thread = threading.Thread(target=self._body, name=self._name, daemon=True)
        self._threads.append(thread)
        thread.start()
        self._is_started = True

    def join(self, timeout: float) -> None:
        """Wait for its end, at most ``timeout`` seconds; not for itself, nor for what never ran."""
        for thread in tuple(self._threads):
            if thread is not threading.current_thread():
                with suppress(RuntimeError):
                    thread.join(timeout)

    def _body(self) -> None:
        if self._claim.acquire(blocking=False):
            self._run()
