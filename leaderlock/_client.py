"""The face for threads: a client of one store, with one session and all that is asked of it."""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from leaderlock import _admin, _observe
from leaderlock._campaign import campaign_all
from leaderlock._checks import check_timeout
from leaderlock._clock import Clock
from leaderlock._closed import closed, end_quietly
from leaderlock._election import Election
from leaderlock._engine import Engine
from leaderlock._lease import Lease
from leaderlock._locks import LateLock
from leaderlock._naming import check_name, check_names
from leaderlock._observe import Status
from leaderlock._patches import check_patches, threads_now
from leaderlock._terms import Terms
from leaderlock.backend import Backend, Traits

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

    from leaderlock._backoff import WaitStrategy
    from leaderlock._ticks.job import Job
    from leaderlock._ticks.rules import Misfire, Overlap, Runs
    from leaderlock._ticks.schedule import Schedule, When
    from leaderlock._ticks.ticking import Ticking

__all__ = ["Client", "engine_of"]


class Client:
    """One session in one store, on which any number of names can be led; made by :func:`leaderlock.connect`.

    A context manager: leaving it ends all of its leases, then its session, so that every name is free at once. All
    methods may be called from any thread. In a forked child it starts anew, with a session of its own, on first use.

    Keep it for as long as you lead: a lease does not, and a client that is garbage-collected leads nothing any more.
    """

    def __init__(self, open_backend: Callable[[], Backend], terms: Terms, clock: Clock, *, namespace: str) -> None:
        self._open_backend = open_backend
        self._terms = terms
        self._clock = clock
        self._namespace = namespace
        self._lock = LateLock()
        self._engine = self._new_engine()
        self._is_closed = False  # last: what could not be opened has nothing to close
        _clients.add(weakref.ref(self, _clients.discard))

    def __repr__(self) -> str:
        return f"<Client of {self.traits.store}, namespace {self._namespace!r}, ttl {self.ttl:g} s>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client is this process's and cannot be pickled: connect in the other one, with the same URL")

    @property
    def ttl(self) -> float:
        """How long, in seconds, a lease of this client's outlives its last renewal at most."""
        return self._terms.timing.ttl

    @property
    def namespace(self) -> str:
        return self._namespace

    @property
    def traits(self) -> Traits:
        """What the store is, under this client's settings."""
        return self._engine.backend.traits

    def election(self, name: str, *, timeout: float | None = None, wait: bool = True) -> Election:
        """The election of one name. Costs nothing: no I/O.

        ``timeout`` and ``wait`` are for a ``with`` statement, and for :meth:`Election.campaign` if that is given none.

        Raises:
            UsageError: this client is closed.
        """
        if self._is_closed:
            raise closed()
        return Election(self, self._own_engine, check_name(name), timeout=check_timeout(timeout), wait=wait)

    def campaign_all(
        self, names: Iterable[str], *, timeout: float | None = None, wait: bool = True
    ) -> dict[str, Lease]:
        """Campaign for many names at once, in as few round trips as the store allows, and return the leases by name.

        Returns when every name is won, or those that could not be won have been given up: after ``timeout`` seconds,
        or with ``wait=False`` as soon as somebody who is alive leads them. (See :meth:`Election.campaign` for how long
        that may take.)

        Raises:
            BackendRefused: the store said no, or the namespace was settled under other terms; nothing is led then.
            UsageError: this client already campaigns for one of the names or leads it; nothing else is led then.
        """
        return campaign_all(self._own_engine(), check_names(names), patient=wait, timeout=check_timeout(timeout))

    def tick(
        self,
        schedule: Schedule | When | None = None,
        *,
        name: str,
        at: datetime | None = None,
        now: bool = False,
        zone: str | tzinfo | None = None,
        runs: Runs = "at-most-once",
        overlap: Overlap | None = None,
        misfire: Misfire = "skip",
        tolerance: float | None = None,
        window: float | None = None,
        hold_for: float = 0.0,
        max_run: float | None = None,
        retries: int = 0,
        back_off: WaitStrategy | None = None,
    ) -> Ticking:
        """The tick of a job that is due now, to be run here if nobody else does. Costs nothing: no I/O.

        ``with client.tick("0 3 * * *", name="report") as tick:`` runs its body once, on one host, or raises
        :class:`TickSkipped`; :meth:`Ticking.run` returns :class:`Ran` or :class:`Skipped` instead. All else is as in
        :func:`once_per_tick`; in a ``with`` statement, ``retries`` are made by the calls that come after.

        Args:
            at: the very tick that is meant, for callers that know it (whatever fires them was told): then nothing is
                reckoned from the clock, and no schedule is needed. Without one, its window is an hour.
            now: run the job by hand, whatever its schedule says and though it is paused; no schedule is needed.

        Raises:
            UsageError: this client is closed.
        """
        if self._is_closed:
            raise closed()
        from leaderlock._ticks.plan import check_meant, plan_of
        from leaderlock._ticks.rules import Policy
        from leaderlock._ticks.ticking import Ticking

        check_meant(schedule, at, now=now)
        policy = Policy(
            runs=runs,
            overlap=overlap,
            misfire=misfire,
            tolerance=tolerance,
            window=window,
            hold_for=hold_for,
            max_run=max_run,
            retries=retries,
        )
        plan = plan_of(schedule, name, zone=zone, policy=policy, back_off=back_off)
        return Ticking(self._own_engine, plan, at=at, by_hand=now)

    def job(self, name: str) -> Job | None:
        """What the store records of a job: its last runs, its next tick, who paused it; ``None``: it is no job's."""
        from leaderlock._ticks.job import look_at_job

        return look_at_job(self._own_engine(), check_name(name))

    def pause(self, name: str, *, timeout: float | None = None) -> bool:
        """Let no tick of a job start until :meth:`resume`, anywhere; returns whether that is new.

        A run that goes on is waited for, ``timeout`` seconds at most: only who leads a name can write its note. A name
        under which no job has run yet can be paused before one does.

        Raises:
            CampaignTimeout: the job still runs, and was not paused.
            UsageError: it is no job's name: an election leads it, or has left a note of its own.
        """
        from leaderlock._ticks.job import set_paused

        return set_paused(self._own_engine(), check_name(name), is_paused=True, timeout=check_timeout(timeout))

    def resume(self, name: str, *, timeout: float | None = None) -> bool:
        """Let a paused job go on with its next tick; returns whether it was paused. Raises as :meth:`pause` does.

        Ticks that a wrong clock has run ahead of their time are forgotten, by this host's clock. If there are none, and
        the job is not paused, nothing is written.
        """
        from leaderlock._ticks.job import set_paused

        return set_paused(self._own_engine(), check_name(name), is_paused=False, timeout=check_timeout(timeout))

    def status(self, name: str) -> Status:
        """Who leads that name, since when, and when it may be free: read once, as recorded."""
        return _observe.status(self._own_engine(), check_name(name))

    def names(self) -> list[str]:
        """The names that were ever led in this namespace (and not cleaned away since), sorted."""
        return _observe.names_seen(self._own_engine())

    def resign(self, name: str, *, now: bool = False, timeout: float | None = None) -> bool:
        """Ask whoever leads ``name``, anywhere, to yield it, and wait until that term is over.

        Returns ``False`` if nobody leads. ``now`` frees the name at once instead; until the leader looks, which takes
        up to a third of its ttl, it still believes in its lease, and only fences protect the resource.

        Raises:
            CampaignTimeout: the term was not over after ``timeout`` seconds; the request stands.
        """
        return _admin.request_resignation(self._own_engine(), check_name(name), now=now, timeout=check_timeout(timeout))

    def init(self, *, force: bool = False) -> bool:
        """Declare that nobody leads or campaigns in this namespace: names may be taken without the first wait.

        Returns whether anything was to be done. For a person to say, never for an entrypoint.

        Raises:
            BackendRefused: the namespace was used before, and leaders may be alive; ``force`` says that they are not.
        """
        return _admin.init(self._own_engine(), force=force)

    def close(self) -> None:
        """End all leases, then the session: one write that frees all names. May be called twice.

        Waits at most five seconds (or half a ttl) for the store; without its answer the names are free a ttl later.
        """
        self._is_closed = True  # nothing new is asked for; whoever was interrupted in what follows may close it again
        self._engine.close(self._terms.leave_within)

    def __enter__(self) -> Client:
        if self._is_closed:
            raise closed()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Whoever was interrupted at the very beginning of `close()` has said that it is closed, and no more.
        if hasattr(self, "_is_closed") and not self._engine.is_closed:
            # No I/O here: garbage is collected at any moment, on any thread. The session ends by itself. And before the
            # warning, which may be raised as an error.
            self._engine.abandon()
            if not self._is_closed:
                warnings.warn(f"{self!r} was not closed: use it as a context manager", ResourceWarning, stacklevel=1)

    def now(self) -> datetime:
        """This host's wall clock, by which ticks are chosen, in UTC."""
        from datetime import UTC, datetime

        return datetime.fromtimestamp(self._clock.now().wall, UTC)

    def _own_engine(self) -> Engine:
        """The engine, which is another one in a forked child."""
        if self._is_closed:
            raise closed()
        if self._engine.is_forked:
            with self._lock.here():
                if self._engine.is_forked:
                    self._terms = self._terms._replace(holder=self._terms.holder._replace(pid=os.getpid()))
                    self._engine = self._new_engine()
        check_patches(self._threads)
        return self._engine

    def _new_engine(self) -> Engine:
        self._threads = threads_now()
        check_patches(self._threads)
        return Engine(self._open_backend(), self._terms, self._clock)


def engine_of(client: Client) -> Engine:
    """For leaderlock's own: what carries out what it is asked for."""
    return client._own_engine()  # pyright: ignore[reportPrivateUsage] - this is the one way in


# No WeakSet: to look through one fails where another thread opens a client just then.
_clients: Final[set[weakref.ref[Client]]] = set()


def _all_clients() -> list[Client]:
    # A copy, which is one step of C with the GIL and without; tuple() is not.
    return [client for one in _clients.copy() if (client := one()) is not None]


def _close_all() -> None:
    end_quietly()
    for client in _all_clients():
        with suppress(Exception):  # the interpreter is going: what cannot be said now, the ttl says
            client.close()


atexit.register(_close_all)
