"""What is said to somebody who has pointed a driver at the wrong thing: the right error, in time, and what to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

from leaderlock.backend import ABSENT, Backend, Write
from leaderlock.errors import BackendError, BackendRefused, OutcomeUnknown

__all__ = ["TIMEOUT", "is_told"]

TIMEOUT = 3.0
"""Seconds that a call is given."""
GRACE = 2.0
"""Seconds that it may be late on a busy machine."""


def is_told(
    open_backend: Callable[[], Backend],
    url: str,
    error: type[BackendError],
    says: str,
    *,
    memory: str = "0" * 32,
    timeout: float = TIMEOUT,
) -> None:
    """Both kinds of call raise just this error, name the place without the password, and say this."""
    backend = open_backend()
    try:
        for call in (
            lambda: backend.read(["name/a"], timeout=timeout),
            lambda: backend.swap([Write("name/a", ABSENT, b"x")], memory, timeout=timeout),
        ):
            began = time.monotonic()
            with pytest.raises(BackendError) as raised:
                call()
            took = time.monotonic() - began
            text = str(raised.value)

            assert type(raised.value) is error, text
            assert not isinstance(raised.value, OutcomeUnknown), text
            assert took < timeout + GRACE
            assert re.search(says, text), text
            parts = urlsplit(url)
            authority = parts.netloc.rpartition("@")[2]
            assert (authority or parts.path) in text, text
            for secret in ("s3cret", "wr0ng", "wr%30ng"):
                assert secret not in text
            if error is BackendRefused:
                assert took < timeout, "what is refused is said at once"
    finally:
        backend.close()
