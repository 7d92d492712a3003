"""What an engine is given, and whom it tells."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from leaderlock._backoff import WaitStrategy
from leaderlock._protocol.candidacy import News
from leaderlock._protocol.clocks import Timing
from leaderlock._protocol.records import Holder

__all__ = ["Audience", "Terms"]


class Terms(NamedTuple):
    """What a client was told once and never changes."""

    timing: Timing
    holder: Holder
    wait: WaitStrategy | None


class Audience(Protocol):
    """Who is told a candidacy's news. Called with the engine's lock held: it must not block, nor call the engine."""

    def tell(self, news: News) -> None: ...
