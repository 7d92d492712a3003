"""The engine's alarm clock: exactly one timer per thing that waits, each at an instant on two clocks."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from typing import NamedTuple

from leaderlock._protocol.clocks import Deadline, Instant

__all__ = ["Timers"]


class _Setting(NamedTuple):
    until: Deadline
    patiently: bool


class Timers:
    """Timers by name. Setting one replaces its earlier setting; what was replaced is skipped when it surfaces.

    One heap per clock. A timer that must not be late stands in both and is due as soon as one clock has passed it; one
    that must not be early is due when both have.
    """

    def __init__(self) -> None:
        self._set: dict[Hashable, _Setting] = {}
        self._by_boot: list[tuple[float, int, Hashable, _Setting]] = []
        self._by_raw: list[tuple[float, int, Hashable, _Setting]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._set)

    def set(self, timer: Hashable, until: Deadline, *, patiently: bool) -> None:
        setting = self._set[timer] = _Setting(until, patiently)
        self._push(self._by_boot, until.boot, timer, setting)
        self._push(self._by_raw, until.raw, timer, setting)
        if len(self._by_boot) > 64 + 2 * len(self._set):
            self._compact()

    def cancel(self, timer: Hashable) -> None:
        self._set.pop(timer, None)

    def clear(self) -> None:
        self._set.clear()
        self._by_boot.clear()
        self._by_raw.clear()

    def keep(self, wanted: Callable[[Hashable], bool]) -> None:
        """Cancel all others."""
        self._set = {timer: setting for timer, setting in self._set.items() if wanted(timer)}
        self._compact()

    def due(self, now: Instant) -> list[Hashable]:
        """The timers whose time has come; each is forgotten with this."""
        due: list[Hashable] = []
        for heap, reading in ((self._by_boot, now.boot), (self._by_raw, now.raw)):
            while heap and heap[0][0] <= reading:
                _, _, timer, setting = heapq.heappop(heap)
                if self._set.get(timer) is setting and (not setting.patiently or setting.until.has_passed(now)):
                    del self._set[timer]
                    due.append(timer)
        return due

    def next_in(self, now: Instant) -> float | None:
        """Seconds until the next timer may be due; ``None``: there is none."""
        waits: list[float] = []
        for heap, reading in ((self._by_boot, now.boot), (self._by_raw, now.raw)):
            while heap and self._set.get(heap[0][2]) is not heap[0][3]:
                heapq.heappop(heap)
            if heap:
                waits.append(heap[0][0] - reading)
        return max(0.0, min(waits)) if waits else None

    def _push(
        self, heap: list[tuple[float, int, Hashable, _Setting]], at: float, timer: Hashable, setting: _Setting
    ) -> None:
        self._count += 1
        heapq.heappush(heap, (at, self._count, timer, setting))

    def _compact(self) -> None:
        for heap in (self._by_boot, self._by_raw):
            heap[:] = [entry for entry in heap if self._set.get(entry[2]) is entry[3]]
            heapq.heapify(heap)
