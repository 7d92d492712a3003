"""What an engine is given, and whom it tells."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from leaderlock._backoff import WaitStrategy
from leaderlock._clock import kernel_identity
from leaderlock._protocol.candidacy import News
from leaderlock._protocol.clocks import Timing
from leaderlock._protocol.records import Holder
from leaderlock._protocol.setting import Setting
from leaderlock.backend import Traits

__all__ = ["Audience", "Terms"]

LEAVE_WITHIN: Final = 5.0


class Terms(NamedTuple):
    """What a client was told once and never changes."""

    timing: Timing
    holder: Holder
    back_off: WaitStrategy | None

    @property
    def leave_within(self) -> float:
        """How long, in seconds, leaving a block waits at most for the store to acknowledge what ends there."""
        return min(LEAVE_WITHIN, self.timing.ttl / 2)

    def setting(self, traits: Traits) -> Setting:
        """What the protocol is to know of a client with these terms, at a store with those traits."""
        return Setting(
            timing=self.timing,
            holder=self.holder,
            durability=traits.durability,
            keeps_memory=traits.keeps_memory,
            kernel=kernel_identity() if traits.is_local else None,
            new_id=_new_ids(),
        )


def _new_ids() -> Callable[[], str]:
    """Ids that nobody else has and nobody gets twice: from a generator of each engine's own, which no fork shares.

    To ask the system for each would be a tenth of what it takes to lead.
    """
    draw = random.Random(os.urandom(32)).getrandbits
    return lambda: f"{draw(96):024x}"


class Audience(Protocol):
    """Who is told a candidacy's news. Called with the engine's lock held: it must not block, nor call the engine."""

    def tell(self, news: News) -> None: ...
