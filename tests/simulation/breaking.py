"""A rule broken on purpose, and the hunt for a history that shows it."""

from __future__ import annotations

from dataclasses import dataclass

from .cores import Change
from .history import Outcome, run

__all__ = ["Breakage", "broken", "hunt"]


@dataclass(frozen=True, slots=True)
class Breakage:
    """Some source text changed; within ``budget`` histories of ``profiles`` in turn one of ``seen_by`` must happen.

    ``first`` is where the looking begins, a little before the history that showed a rare one; it only saves time.
    """

    name: str
    changes: tuple[Change, ...]
    profiles: tuple[str, ...]
    budget: int
    seen_by: frozenset[str]
    first: int

    def __str__(self) -> str:
        return self.name


def hunt(breakage: Breakage, budget: int | None = None) -> tuple[int, Outcome] | None:
    """The first history that shows the breakage, and its number, counted from 1."""
    for number in range(breakage.first, breakage.first + (budget or breakage.budget)):
        profile = breakage.profiles[number % len(breakage.profiles)]
        outcome = run(profile, number, breakage.changes)
        if outcome.violation is not None and outcome.violation.kind == "error":
            raise outcome.violation  # it does not run at all: the change has rotted
        if outcome.violation is not None and outcome.violation.kind in breakage.seen_by:
            return number + 1, outcome
    return None


def broken(name: str, *changes: Change, profiles: str, budget: int, seen_by: str, first: int = 0) -> Breakage:
    return Breakage(name, changes, tuple(profiles.split()), budget, frozenset(seen_by.split()), first)
