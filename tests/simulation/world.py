"""True time, the order of events, chance, and the clocks of the hosts, none of which shows true time."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from .cores import Core
from .telling import tell

__all__ = ["Host", "Violation", "World"]

BUSY = 150
"""More events a second than that are a busy loop."""
TAIL = 160
"""How many lines of the trace a failure shows."""


class Violation(AssertionError):
    """An invariant was broken. ``kind``: overlap, tokens, news, notes, liveness, error."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(kind, text)  # as it was called, so that it can be sent home from a process of a pool
        self.kind = kind

    def __str__(self) -> str:
        return ": ".join(self.args)


class World:
    """A queue of things to come, in true time, and the one source of chance."""

    def __init__(self, seed: int | str, core: Core) -> None:
        self.now = 0.0
        self.core = core
        self.random = random.Random(seed)
        self._queue: list[tuple[float, int, Callable[..., Any], tuple[Any, ...]]] = []
        self._number = 0
        self._ids = 0
        self.trace: deque[tuple[Any, ...]] = deque(maxlen=TAIL)

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:x}"

    def at(self, when: float, action: Callable[..., Any], *args: Any) -> None:
        self._number += 1
        heapq.heappush(self._queue, (when, self._number, action, args))

    def after(self, seconds: float, action: Callable[..., Any], *args: Any) -> None:
        self.at(self.now + seconds, action, *args)

    def run(self, until: float) -> None:
        queue = self._queue
        while queue and queue[0][0] <= until:
            self.now, _, action, args = heapq.heappop(queue)
            action(*args)
            if self._number > self.now * BUSY + 20_000:
                raise Violation("busy", f"{self._number} things happened in {self.now:.0f} s")
        self.now = until

    def run_until(self, true: Callable[[], bool], at_most: float) -> bool:
        """Let time pass until ``true``, for ``at_most`` seconds; looked at about every second, in step with nobody."""
        end = self.now + at_most
        while not true():
            if self.now >= end:
                return False
            self.run(min(end, self.now + self.random.uniform(0.5, 1.0)))
        return True

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.random.random() < probability

    def note(self, *words: Any) -> None:
        """Remember what happened; it is put into words only if somebody wants to read it."""
        self.trace.append((self.now, *words))

    def tail(self) -> str:
        return "\n".join(f"{when:10.4f}  " + " ".join(map(tell, words)) for when, *words in self.trace)


class Host:
    """Two steady clocks of one kernel, at rates of their own, and a wall clock that may be wrong by an hour."""

    def __init__(
        self, world: World, name: str, *, rho: float, rate: float, slew: float, wall: float, kernel_known: bool
    ) -> None:
        self._instant = world.core.clocks.Instant
        self.name = name
        self.rho = rho
        self._random = world.random
        self._boots = 0
        self.kernel = (f"boot-{name}", "time:[1]") if kernel_known else None
        self._wall = 1_700_000_000.0 + wall
        self._raw_rate = rate
        self._boot_rate = rate * (1 + slew)
        self.is_slewed = slew != 0.0
        self.is_asleep = False
        self._t = 0.0
        self._boot, self._raw = world.random.uniform(10, 1e6), world.random.uniform(10, 1e6)

    def clock(self, t: float):
        """All clocks at the true time ``t``, which is not before the last change of their rates."""
        passed = t - self._t
        raw = self._raw if self.is_asleep else self._raw + passed * self._raw_rate
        return self._instant(self._boot + passed * self._boot_rate, raw, self._wall + t)

    def sleep(self, t: float, asleep: bool) -> None:
        """Suspend or resume: the first clock goes on, the second stands still."""
        self._boot, self._raw, _ = self.clock(t)
        self._t, self.is_asleep = t, asleep

    def reboot(self, t: float) -> None:
        """Another kernel begins, with steady clocks of its own."""
        self._boots += 1
        if self.kernel is not None:
            self.kernel = (f"boot-{self.name}-{self._boots}", "time:[1]")
        self._t, self._boot, self._raw = t, self._random.uniform(10, 1e6), self._random.uniform(10, 1e6)

    def when(self, t: float, until, *, patiently: bool) -> float:
        """The true time at which both clocks (``patiently``), or either, will show ``until``."""
        boot, raw, _ = self.clock(t)
        waits = (until.boot - boot) / self._boot_rate, (until.raw - raw) / self._raw_rate
        return t + max(0.0, max(waits) if patiently else min(waits))

    def later(self, t: float, seconds: float) -> float:
        """The true time at which the second clock will have counted ``seconds`` more."""
        return t + seconds / self._raw_rate if math.isfinite(seconds) else math.inf
