"""A standing candidate: campaigns for one name, again after every loss, for as long as its client lives."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Final

from leaderlock._bell import Bell
from leaderlock._client import Client
from leaderlock._engine import Engine
from leaderlock._lease import Lease
from leaderlock._protocol.candidacy import Denied, Elected, Failed, LossReason, Lost, News, Waiting, Withdrawn
from leaderlock._protocol.events import Campaign
from leaderlock.errors import LeaderLockError

__all__ = ["Tenure", "tenure_of"]

_log: Final = logging.getLogger("leaderlock")


class Tenure:
    """Every term of one name in one process, one after the other; each has a lease, and a token, of its own."""

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._lease: Lease | None = None
        self._bells: tuple[Bell, ...] = ()
        self._answered = False
        self._listeners: tuple[Callable[[Lease], None], ...] = ()

    @property
    def lease(self) -> Lease | None:
        """The lease of the term that is held now, if one is."""
        lease = self._lease
        return lease if lease is not None and lease.is_held else None

    def first_answer(self) -> None:
        """Start the campaign if it has not been, and wait until it is known whether it is won or has to wait.

        It goes on behind. A store that does not answer is an answer too: then this process does not lead.
        """
        engine = self._client.engine()
        with self._lock:
            if self._engine is not engine:  # the first call, or the first one in a forked child
                self._answered = False
                lease = self._candidate(engine)
                engine.drive(Campaign(lease.candidacy), self._name)
                self._engine = engine
        self._wait_until(lambda: self._answered)

    def wait_elected(self) -> None:
        """Wait until this process leads. Raises ``UsageError`` when the client is closed meanwhile."""
        self._wait_until(lambda: self.lease is not None)

    def _wait_until(self, done: Callable[[], bool]) -> None:
        bell = Bell()
        with self._lock:
            self._bells = (*self._bells, bell)
        try:
            while not done():
                self._client.engine().clock.wait(bell, 1.0)
        finally:
            with self._lock:
                self._bells = tuple(other for other in self._bells if other is not bell)

    def on_elected(self, callback: Callable[[Lease], None]) -> Callable[[], None]:
        """Have ``callback`` called at every election to come, quickly and without blocking; returns what stops it."""
        self._listeners = (*self._listeners, callback)

        def stop() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not callback)

        return stop

    def _candidate(self, engine: Engine) -> Lease:
        lease = Lease(engine, self._name, patient=True)
        lease.listen(lambda news: self._hear(engine, lease, news))
        return lease

    def _hear(self, engine: Engine, lease: Lease, news: News) -> None:
        """With the engine's lock held: note it, wake who waits, and leave the rest to other threads."""
        match news:
            case Elected():
                self._lease = lease
                for listener in self._listeners:
                    listener(lease)
            case Lost(LossReason.CLOSED):
                pass
            case Lost(reason):
                # A leader that was asked to go stands back for a ttl, or it would be elected again at once.
                self._seek_in(engine, engine.terms.timing.ttl if reason is LossReason.YIELDED else 0.0)
            case Failed(error):
                _log.warning("the campaign for %r failed and is repeated: %s", self._name, error)
                self._seek_in(engine, engine.terms.timing.ttl / 3)
            case Denied() | Withdrawn() | Waiting():
                pass
            case _:
                return
        self._answered = True
        for bell in self._bells:
            bell.ring()

    def _seek_in(self, engine: Engine, pause: float) -> None:
        def seek() -> None:
            if engine.is_closed:
                return
            try:
                engine.submit(Campaign(self._candidate(engine).candidacy))
            except LeaderLockError as error:
                _log.warning("the campaign for %r cannot start and is repeated: %s", self._name, error)
                engine.later(engine.terms.timing.ttl / 3, seek)

        engine.callbacks.call(lambda: engine.later(pause, seek) if pause else seek())


_tenures: Final[weakref.WeakKeyDictionary[Client, dict[str, Tenure]]] = weakref.WeakKeyDictionary()
_tenures_lock: Final = threading.Lock()


def tenure_of(client: Client, name: str) -> Tenure:
    """The one tenure of that name in that client: all functions guarded by one name share its terms."""
    with _tenures_lock:
        return _tenures.setdefault(client, {}).setdefault(name, Tenure(client, name))
