"""A lane: one thread that carries calls to the store, one after the other, whatever has piled up in one call."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable
from typing import TypeAlias

from leaderlock._calls import Calls, fail
from leaderlock._protocol.events import Call, Event, Failure, Woken
from leaderlock._thread import OwnThread
from leaderlock.errors import OutcomeUnknown

__all__ = ["Lane", "Load"]

Load: TypeAlias = Call | Woken


class Lane:
    """Starts its thread when there is something to carry. A call that hangs holds up this lane, and no other.

    Args:
        failed: told of an error of the lane's own, after which nobody knows what was not carried.
    """

    def __init__(
        self,
        name: str,
        calls: Calls,
        timeout: float,
        post: Callable[[Event], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._calls = calls
        self._timeout = timeout
        self._post = post
        self._waiting: queue.SimpleQueue[tuple[Load | None, ...]] = queue.SimpleQueue()
        self._thread = OwnThread(name, self._run, failed)
        self._stopped = False

    def push(self, *loads: Load) -> None:
        """Have these carried soon, none of them before the others are at hand. Never blocks; may be called from a
        driver's own threads. Raises ``RuntimeError`` where there can be no more threads: then none of them is."""
        if not self._stopped:
            self._thread.start()
        self._waiting.put(loads)

    def drop(self, calls: Iterable[Call], error: Exception) -> None:
        """Say of these, which were not pushed, that they never left."""
        fail(calls, Failure.NEVER_SENT, error, self._post)

    def stop(self) -> None:
        """Carry nothing more; the call under way ends by its own time-out."""
        self._stopped = True
        self._waiting.put((None,))

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopped:
            calls: list[Call] = []
            woken: dict[str, Woken] = {}
            for load in self._next():
                match load:
                    case None:
                        return
                    case Woken(key):
                        woken[key] = woken[key].then(load) if key in woken else load
                    case _:
                        calls.append(load)
            try:
                for event in woken.values():
                    self._post(event)
                self._calls.carry(calls, self._timeout, self._post)
            except BaseException as error:  # no Exception, but all the same a driver's: this thread must outlive it
                fail(calls, Failure.UNKNOWN, OutcomeUnknown(f"the backend raised {error!r}"), self._post)

    def _next(self) -> list[Load | None]:
        """Wait for something to carry, and take all of it."""
        loads = [*self._waiting.get()]
        try:
            while True:
                loads.extend(self._waiting.get_nowait())
        except queue.Empty:
            return loads
