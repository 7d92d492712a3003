"""Who leads, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leaderlock.errors import BackendError

if TYPE_CHECKING:
    from leaderlock import Client

__all__ = ["leader_in_words"]


def leader_in_words(client: Client, name: str) -> str:
    """Who leads ``name``; nothing, if the store does not tell."""
    try:
        term = client.election(name).leader()
    except BackendError:
        term = None
    return "" if term is None else f"{name!r} is led by {term.holder}, with token {term.token}"
