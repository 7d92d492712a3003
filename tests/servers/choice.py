"""Which servers a test talks to: containers, else programs on PATH, else URLs from the environment, else none."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import NoReturn

import pytest

__all__ = ["REQUIRE", "WAY", "Way", "absent", "ways_allowed"]

WAY = "LEADERLOCK_TEST_STORES"
"""Forces one way: ``containers``, ``path`` or ``env``."""
REQUIRE = "LEADERLOCK_REQUIRE_STORES"
"""``1``, or the names of stores: one that is missing fails its tests instead of skipping them."""


class Way(StrEnum):
    """How a server is had, in the order in which they are tried."""

    CONTAINERS = "containers"
    PATH = "path"
    ENVIRONMENT = "env"


def ways_allowed() -> list[Way]:
    """All of them, or the one that is forced."""
    forced = os.environ.get(WAY, "")
    try:
        return [Way(forced)] if forced else list(Way)
    except ValueError:
        raise pytest.UsageError(f"{WAY}={forced}: use one of {', '.join(Way)}") from None


def absent(store: str, why: str) -> NoReturn:
    """Skip the test by name; fail it where the store is required."""
    required = os.environ.get(REQUIRE, "")
    if required == "1" or store in required.split(","):
        pytest.fail(f"{store} is required ({REQUIRE}={required}), and was not found: {why}")
    pytest.skip(f"NOT tested: {store}: {why}")
