"""How wrong this host's clock is, by the store's own where it has one."""

from __future__ import annotations

from typing import Final

from leaderlock._protocol.clocks import Instant

__all__ = ["ahead_of_store"]

TELL_THE_TIME: Final = {"redis", "valkey"}
"""The stores whose floor is their clock, in microseconds. The others' counts from the namespace's birth."""


def ahead_of_store(store: str, floor_seen: tuple[int, Instant, Instant] | None) -> float:
    """By how many seconds this host's clock is surely ahead of the store's (below zero: behind); 0.0: by none."""
    if store not in TELL_THE_TIME or floor_seen is None:
        return 0.0
    floor, sent, received = floor_seen
    told = floor / 1e6
    # It was read somewhere between: only what lies outside is an error.
    return max(0.0, sent.wall - told) + min(0.0, received.wall - told)
