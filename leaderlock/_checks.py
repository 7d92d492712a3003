"""What may be given as a number of seconds, or as one of a few words."""

from __future__ import annotations

import math

__all__ = ["check_one_of", "check_seconds", "check_timeout"]


def check_seconds(what: str, value: object, *, least: float = 0.0) -> None:
    """Raise ``TypeError`` or ``ValueError``, unless it is a finite number, and not too small."""
    wanted = f"{what} is a number of seconds, at least {least:g} and finite, not {value!r}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(wanted)
    if not least <= value < math.inf:
        raise ValueError(wanted)


def check_timeout(timeout: float | None) -> float | None:
    """Return ``timeout`` if it is a number of seconds, or ``None``, of which each method says what it stands for."""
    if timeout is not None:
        check_seconds("timeout", timeout)
    return timeout


def check_one_of(what: str, value: object, *allowed: str) -> None:
    if value not in allowed:
        raise ValueError(f"{what} is one of {', '.join(map(repr, allowed))}, not {value!r}")
