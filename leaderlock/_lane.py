"""A lane: one thread that carries calls to the store, one after the other, whatever has piled up in one call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

from leaderlock._calls import Calls
from leaderlock._protocol.events import Ask, Event, Put, Scan, Woken

__all__ = ["Errand", "Lane"]

Errand: TypeAlias = Put | Ask | Scan | Woken


class Lane:
    """Starts its thread when there is something to carry. A call that hangs holds up this lane, and no other."""

    def __init__(self, name: str, calls: Calls, timeout: float, post: Callable[[Event], None]) -> None:
        self._name = name
        self._calls = calls
        self._timeout = timeout
        self._post = post
        self._waiting: list[Errand] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def push(self, errand: Errand) -> None:
        """Have this carried soon. Never blocks; may be called from a driver's own threads."""
        with self._changed:
            if self._stopped:
                return
            self._waiting.append(errand)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"leaderlock-{self._name}", daemon=True)
                self._thread.start()
            self._changed.notify()

    def stop(self) -> None:
        """Carry nothing more; the call under way ends by its own time-out."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify()

    def join(self, timeout: float) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
                errands, self._waiting = self._waiting, []
            calls: list[Put | Ask | Scan] = []
            for key in {errand.key: None for errand in errands if isinstance(errand, Woken)}:
                self._post(Woken(key))
            calls.extend(errand for errand in errands if not isinstance(errand, Woken))
            self._calls.carry(calls, self._timeout, self._post)
