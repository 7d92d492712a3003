"""How the tests of ``doctor`` examine a store: with a client of their own, as the command does."""

from __future__ import annotations

from collections.abc import Callable

from leaderlock import Backend, connect
from leaderlock._client import engine_of
from leaderlock._doctor import Diagnosis, examine
from leaderlock.diagnosis import Finding, Level, Promise

__all__ = ["by_code", "diagnosis", "exceptions", "worst"]


def diagnosis(backend: Backend, **terms: object) -> Diagnosis:
    """What is found through a client of that backend; the backend is closed with it."""
    with connect(backend, **terms) as client:
        return examine(engine_of(client))


def by_code(found: Diagnosis) -> dict[str, Finding]:
    return {finding.code: finding for finding in found.findings}


def worst(found: Diagnosis) -> set[str]:
    """The codes of warnings and errors."""
    return {finding.code for finding in found.findings if finding.level >= Level.WARNING}


def exceptions(found: Diagnosis) -> set[str]:
    """The promises that have exceptions."""
    return {promise.value for promise in Promise if found.exceptions(promise)}


Examine = Callable[..., Diagnosis]
