"""Who leads, for people and for machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leaderlock.cli._talk import in_iso
from leaderlock.errors import BackendError

if TYPE_CHECKING:
    from leaderlock import Client, Term

__all__ = ["leader_as_json", "leader_in_words"]


def leader_in_words(client: Client, name: str) -> str:
    """Who leads ``name``; nothing, if the store does not tell."""
    try:
        term = client.election(name).leader()
    except BackendError:
        term = None
    return "" if term is None else f"{name!r} is led by {term.holder}, with token {term.token}"


def leader_as_json(term: Term) -> dict[str, Any]:
    return {**term.holder._asdict(), "token": term.token, "since": term.since, "since_iso": in_iso(term.since)}
