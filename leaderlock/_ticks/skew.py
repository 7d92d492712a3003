"""How wrong this host's clock is, by the store's own where it has one."""

from __future__ import annotations

from typing import Final

from leaderlock._protocol.memory import TimeTold

__all__ = ["ahead_of_store"]

TELL_THE_TIME: Final = {"redis", "valkey"}
"""The stores whose stamps, and so the floor, are their clock at a write, in microseconds. The others' count writes."""


def ahead_of_store(store: str, told: TimeTold) -> float:
    """By how many seconds this host's clock is surely ahead of the store's (below zero: behind); 0.0: by none."""
    if store not in TELL_THE_TIME:
        return 0.0
    floor_seen, stamp_given = told
    ahead = behind = 0.0
    if stamp_given is not None:
        stamp, sent, received = stamp_given
        if isinstance(stamp, int):
            # The write was applied somewhere between: only what lies outside is an error.
            ahead = max(0.0, sent.wall - stamp / 1e6)
            behind = min(0.0, received.wall - stamp / 1e6)
    if floor_seen is not None:
        # The moment of the last write before the read, which may be long ago: it says nothing of a host that is ahead.
        floor, received = floor_seen
        behind = min(behind, received.wall - floor / 1e6)
    return ahead or behind
