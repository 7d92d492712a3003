"""What every chapter of the protocol is given: the terms of this client, and where its effects go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from leaderlock._protocol.clocks import Instant, Timing
from leaderlock._protocol.events import Effect
from leaderlock._protocol.records import Boot, Holder

__all__ = ["Setting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    timing: Timing
    holder: Holder
    durability: str
    """How durable this client takes the store to be; all clients of a namespace must agree (rule 15)."""
    keeps_memory: bool
    kernel: tuple[str, str] | None
    """Whose boot clock this is (boot id, time namespace); ``None`` where that cannot be told."""
    new_id: Callable[[], str]
    """A random id that nobody ever gets again."""
    effects: list[Effect] = field(default_factory=list[Effect])

    def say(self, effect: Effect) -> None:
        self.effects.append(effect)

    def boot_until(self, now: Instant) -> Boot | None:
        """What a session says of its kernel (rule 7): its boot clock before sending, and a whole ttl more."""
        if self.kernel is None:
            return None
        return Boot(*self.kernel, now.boot + self.timing.ttl)
