"""What is said of a watermark that cannot be read, by the fences that keep it in a place of its own in a store."""

from __future__ import annotations

from leaderlock.fences._token import WatermarkLost

__all__ = ["damaged", "missing"]


def missing(place: str | bytes) -> WatermarkLost:
    """There is none: only a stamp lays one, so that a leader of before does not write into a store that lost it."""
    return WatermarkLost(
        f"{place!r} holds no watermark: a new leader calls stamp(lease.token) before it reads or writes; if there was "
        "one, it was lost, and the current leader stamps anew"
    )


def damaged(place: str | bytes) -> WatermarkLost:
    return WatermarkLost(
        f"{place!r} holds something that is no watermark; it admits nothing until a current leader calls "
        "adopt(lease.token), which replaces what is there"
    )
