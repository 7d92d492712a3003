"""How long to wait after a failure: tenacity's strategies, asked and never left to sleep."""

from __future__ import annotations

import logging
import math
from typing import Any, Final, Protocol

__all__ = ["BackOff", "WaitStrategy"]

_log: Final = logging.getLogger("leaderlock")

SHORTEST: Final = 0.001


class WaitStrategy(Protocol):
    """Any of tenacity's ``wait_*`` objects: how many seconds to wait before the next attempt."""

    def __call__(self, retry_state: Any, /) -> float: ...


class BackOff:
    """Seconds to wait after so many failures in a row: the user's strategy, or a jittered, growing pause.

    Never longer than a quarter of the ttl, or a strategy made for something else would cost the lease.
    """

    def __init__(self, strategy: WaitStrategy | None, ttl: float) -> None:
        self._strategy = strategy
        self._ttl = ttl

    def __call__(self, failures: int) -> float:
        try:
            seconds = self._ask(failures)
        except Exception:  # the user's strategy must not end the renewals
            _log.exception("the wait strategy raised; waiting a tenth of the ttl instead")
            seconds = self._ttl / 10
        return min(max(seconds, SHORTEST), self._ttl / 4)

    def _ask(self, failures: int) -> float:
        # Imported when something fails for the first time: it takes 40 ms, which no crontab line should pay for.
        import tenacity

        if self._strategy is None:
            self._strategy = tenacity.wait_random_exponential(multiplier=0.05, max=self._ttl / 6)
        state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
        state.attempt_number = failures
        seconds = float(self._strategy(state))
        if math.isnan(seconds):
            raise ValueError("the wait strategy answered nan")
        return seconds
