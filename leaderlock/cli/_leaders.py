"""Who leads, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from leaderlock.errors import BackendError

if TYPE_CHECKING:
    from leaderlock import Client

__all__ = ["leader_in_words"]


def leader_in_words(client: Client, name: str) -> str:
    """Who leads ``name``, as far as the store tells."""
    try:
        term = client.election(name).leader()
    except BackendError:
        term = None
    if term is None:
        return f"somebody else led {name!r}"
    return f"{name!r} is led by {term.holder}, with token {term.token}"
