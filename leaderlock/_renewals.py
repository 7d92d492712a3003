"""Who waits for a renewal that is not due yet, and is told when one was answered."""

from __future__ import annotations

import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from leaderlock._bell import Bell
from leaderlock._locks import signal_safe
from leaderlock._protocol.events import Kind, Put

__all__ = ["Renewals"]


class Renewals:
    """Bells that ring at each answer to a renewal."""

    def __init__(self) -> None:
        self._lock = signal_safe(threading.Lock())
        self._bells: tuple[Bell, ...] = ()

    @contextmanager
    def heard(self) -> Generator[Bell]:
        """A bell that rings for as long as one is inside."""
        bell = Bell()
        with self._lock:
            self._bells = (*self._bells, bell)
        try:
            yield bell
        finally:
            with self._lock:
                self._bells = tuple(other for other in self._bells if other is not bell)

    def answered(self, puts: Sequence[Put]) -> None:
        """These writes were answered, or will not be."""
        if self._bells and any(put.kind is Kind.RENEW for put in puts):
            for bell in self._bells:
                bell.ring()
