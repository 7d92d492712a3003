"""What may be given as a number of seconds to wait."""

from __future__ import annotations

import math

__all__ = ["check_timeout"]


def check_timeout(timeout: float | None) -> float | None:
    """Return ``timeout`` if it is a number of seconds, or ``None``, of which each method says what it stands for.

    Raises:
        TypeError: it is not a number.
        ValueError: it is negative, infinite, or no number at all (NaN).
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout is a number of seconds, zero or more, or None, not {timeout!r}")
    if not 0 <= timeout < math.inf:
        raise ValueError(f"timeout is a number of seconds, zero or more and finite, or None, not {timeout!r}")
    return timeout
