"""How long to wait after a failure: tenacity's strategies, asked and never left to sleep."""

from __future__ import annotations

import logging
import math
from typing import Any, Final, Protocol

from leaderlock._journal import Journal

__all__ = ["BackOff", "WaitStrategy", "check_back_off", "pause_after"]

SHORTEST: Final = 0.001


class WaitStrategy(Protocol):
    """Any of tenacity's ``wait_*`` objects: how many seconds to wait before the next attempt."""

    def __call__(self, retry_state: Any, /) -> float: ...


def check_back_off(strategy: object) -> None:
    """Whether it can be asked at all; what it answers is seen when it is."""
    if strategy is not None and not callable(strategy):
        raise TypeError(f"back_off is one of tenacity's wait_* objects, not {type(strategy).__name__}")


class BackOff:
    """Seconds to wait after so many failures in a row: the user's strategy, or a jittered, growing pause.

    Never longer than a quarter of the ttl, or a strategy made for something else would cost the lease.
    """

    def __init__(self, strategy: WaitStrategy | None, ttl: float, journal: Journal) -> None:
        self._strategy = strategy
        self._ttl = ttl
        self._journal = journal

    def __call__(self, failures: int) -> float:
        try:
            seconds = pause_after(failures, self._strategy, first=0.05, longest=self._ttl / 6)
            if math.isnan(seconds):
                raise ValueError("the wait strategy answered nan")
        except Exception as error:  # the user's strategy must not end the renewals
            self._journal.say(
                logging.ERROR, "the wait strategy raised; waiting a tenth of the ttl instead", exc_info=error
            )
            seconds = self._ttl / 10
        return min(max(seconds, SHORTEST), self._ttl / 4)


def pause_after(failures: int, strategy: WaitStrategy | None, *, first: float, longest: float) -> float:
    """What the strategy says; without one, any pause up to ``first`` seconds, then up to twice that, and so on."""
    # Imported when something fails for the first time: it takes 40 ms, which no crontab line should pay for.
    import tenacity

    strategy = strategy or tenacity.wait_random_exponential(multiplier=first, max=longest)
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = failures
    return float(strategy(state))
