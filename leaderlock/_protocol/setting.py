"""What every chapter of the protocol is given: the terms of this client, and where its effects go."""

from __future__ import annotations

from collections.abc import Callable

from leaderlock._protocol.clocks import Instant, Timing
from leaderlock._protocol.events import Effect
from leaderlock._protocol.records import Boot, Holder

__all__ = ["Setting"]


class Setting:
    """Never changed, but for the effects that pile up."""

    __slots__ = ("durability", "effects", "holder", "holder_line", "keeps_memory", "kernel", "new_id", "timing")

    def __init__(
        self,
        *,
        timing: Timing,
        holder: Holder,
        durability: str,
        keeps_memory: bool,
        kernel: tuple[str, str] | None,
        new_id: Callable[[], str],
    ) -> None:
        self.timing = timing
        self.holder = holder
        self.holder_line = str(holder)
        self.durability = durability
        """How durable this client takes the store to be; all clients of a namespace must agree (rule 15)."""
        self.keeps_memory = keeps_memory
        self.kernel = kernel
        """Whose boot clock this is (boot id, time namespace); ``None`` where that cannot be told."""
        self.new_id = new_id
        """A random id that nobody ever gets again."""
        self.effects: list[Effect] = []

    def say(self, effect: Effect) -> None:
        self.effects.append(effect)

    def boot_until(self, now: Instant) -> Boot | None:
        """What a session says of its kernel (rule 7): its boot clock before sending, and a whole ttl more."""
        if self.kernel is None:
            return None
        return Boot(*self.kernel, now.boot + self.timing.ttl)
