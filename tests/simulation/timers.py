"""The timers of one process: one setting each, kept by both clocks of its host."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from .world import Host, World

__all__ = ["Timers"]

NEVER = 1e9


class Timers:
    """``reach`` runs something when the process runs at all; ``fire`` is told of the timers that have gone off."""

    def __init__(
        self, world: World, host: Host, ttl: float, reach: Callable[..., None], fire: Callable[[Hashable], None]
    ) -> None:
        self._world, self._host, self._ttl = world, host, ttl
        self._reach, self._fire = reach, fire
        self._settings: dict[Hashable, int] = {}
        """The number of each timer's last setting: earlier ones do not count."""
        self._numbers = 0

    def arm(self, effect: Any) -> None:
        self._await(effect, self._set(effect.timer))

    def retry(self, effect: Any) -> None:
        """The engine's back-off: longer with every failure, never the same, a quarter of a ttl at most."""
        longest = min(0.1 * 2 ** min(effect.failures, 10), self._ttl / 4)
        wait = self._world.random.uniform(0.5, 1.0) * longest
        self._world.after(wait, self._reach, self._expire, effect.timer, self._set(effect.timer))

    def disarm(self, effect: Any) -> None:
        self._settings.pop(effect.timer, None)

    def _set(self, timer: Hashable) -> int:
        self._numbers += 1
        self._settings[timer] = self._numbers
        return self._numbers

    def _await(self, effect: Any, number: int) -> None:
        when = self._host.when(self._world.now, effect.until, patiently=effect.patiently)
        if when < NEVER:
            self._world.at(when + 1e-6, self._reach, self._ring, effect, number)

    def _ring(self, effect: Any, number: int) -> None:
        if self._settings.get(effect.timer) != number:
            return
        now, until = self._host.clock(self._world.now), effect.until
        if until.has_passed(now) if effect.patiently else not until.is_ahead(now):
            self._expire(effect.timer, number)
        else:
            self._await(effect, number)  # a clock stood still meanwhile

    def _expire(self, timer: Hashable, number: int) -> None:
        if self._settings.get(timer) == number:
            del self._settings[timer]
            self._fire(timer)
