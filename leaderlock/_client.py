"""The faces for threads: a client of one store, and the names that one can lead there."""

from __future__ import annotations

import atexit
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import Final

from leaderlock import _admin, _observe
from leaderlock._clock import Clock
from leaderlock._current import enter, leave
from leaderlock._engine import Engine, Terms
from leaderlock._lease import Lease
from leaderlock._naming import check_name
from leaderlock._observe import Status, Term
from leaderlock._protocol.candidacy import Denied, Elected, Failed, News, Waiting, Why, Withdrawn
from leaderlock._protocol.events import Withdraw
from leaderlock.backend import Backend, Traits
from leaderlock.errors import BackendUnavailable, CampaignTimeout, LeaderLockError, LeaseLost, NotLeader, UsageError

__all__ = ["Client", "Election"]

CLOSE_WITHIN: Final = 5.0
"""How long, in seconds, leaving a client waits at most for the store to acknowledge the session's end."""


class Client:
    """One session in one store, on which any number of names can be led; made by :func:`leaderlock.connect`.

    A context manager: leaving it ends all of its leases, then its session, so that every name is free at once. All
    methods may be called from any thread. In a forked child it starts anew, with a session of its own, on first use.
    """

    def __init__(self, open_backend: Callable[[], Backend], terms: Terms, clock: Clock, *, namespace: str) -> None:
        self._open_backend = open_backend
        self._terms = terms
        self._clock = clock
        self._namespace = namespace
        self._lock = threading.Lock()
        self._is_closed = False
        self._engine = Engine(open_backend(), terms, clock)
        _clients.add(self)

    def __repr__(self) -> str:
        return f"<Client of {self.traits.store}, namespace {self._namespace!r}, ttl {self.ttl:g} s>"

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

        ``timeout`` and ``wait`` are what a ``with`` statement uses; see :meth:`Election.campaign`.
        """
        return Election(self, check_name(name), timeout=timeout, wait=wait)

    def status(self, name: str) -> Status:
        """Who leads that name, since when, and when it may be free: read once, as recorded."""
        return _observe.status(self.engine(), check_name(name))

    def names(self) -> list[str]:
        """The names that were ever led in this namespace (and not cleaned away since), sorted."""
        return sorted(_observe.names_seen(self.engine()))

    def resign(self, name: str, *, now: bool = False, timeout: float | None = None) -> bool:
        """Ask whoever leads ``name``, anywhere, to yield it, and wait until that term is over.

        Returns ``False`` if nobody leads. ``now`` frees the name at once instead; until the leader looks, which takes
        up to a third of its ttl, it still believes in its lease, and only fences protect the resource.

        Raises:
            CampaignTimeout: the term was not over after ``timeout`` seconds; the request stands.
        """
        return _admin.request_resignation(self.engine(), check_name(name), now=now, timeout=timeout)

    def init(self, *, force: bool = False) -> bool:
        """Declare that nobody leads or campaigns in this namespace: names may be taken without the first wait.

        Returns whether anything was to be done. For a person to say, never for an entrypoint.

        Raises:
            BackendRefused: the namespace was used before, and leaders may be alive; ``force`` says that they are not.
        """
        return _admin.init(self.engine(), force=force)

    def close(self) -> None:
        """End all leases, then the session: one write that frees all names. May be called twice.

        Waits at most five seconds (or half a ttl) for the store; without its answer the names are free a ttl later.
        """
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._engine.close(min(CLOSE_WITHIN, self.ttl / 2))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True) and not self._engine.is_forked:
            # No I/O here: garbage is collected at any moment, on any thread. The session ends by itself.
            warnings.warn(f"{self!r} was not closed: use it as a context manager", ResourceWarning, stacklevel=1)
            self._engine.abandon()

    def engine(self) -> Engine:
        """For leaderlock's other faces: the engine, which is another one in a forked child."""
        if self._is_closed:
            raise UsageError("this client is closed: open another with connect()")
        if self._engine.is_forked:
            with self._lock:
                if self._engine.is_forked:
                    self._engine = Engine(self._open_backend(), self._terms, self._clock)
        return self._engine

    def disown(self) -> None:
        """In a forked child: a lock that another thread of the parent's held is not waited for."""
        self._lock = threading.Lock()


_clients: Final[weakref.WeakSet[Client]] = weakref.WeakSet()


def _disown_all() -> None:
    for client in _clients:
        client.disown()


def _close_all() -> None:
    for client in tuple(_clients):
        with suppress(Exception):  # the interpreter is going: what cannot be said now, the ttl says
            client.close()


class Election:
    """A name that one can lead, as seen by one client; made by :meth:`Client.election`.

    ``with election as lease:`` either holds the lease or raises, and resigns at the end.
    """

    def __init__(self, client: Client, name: str, *, timeout: float | None, wait: bool) -> None:
        self._client = client
        self._name = name
        self._timeout = timeout
        self._wait = wait
        self._entered: list[tuple[Lease, Token[Lease | None]]] = []

    def __repr__(self) -> str:
        return f"<Election {self._name!r} in {self._client!r}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def client(self) -> Client:
        return self._client

    def campaign(
        self,
        *,
        timeout: float | None = None,
        wait: bool = True,
        on_waiting: Callable[[str], object] | None = None,
    ) -> Lease:
        """Become the leader, and return the lease.

        ``timeout``: the most that the whole call may take, in seconds; ``None``: as long as it takes. ``wait=False``:
        give up as soon as somebody who is alive leads. That takes one look where the leader's session has moved lately
        by this host's wall clock, and up to one ttl of watching it where not: so a dead leader is still followed.
        ``on_waiting(text)`` is told why it waits, once for each reason, on a thread of leaderlock's.

        Raises:
            NotLeader: ``wait=False``, and somebody else leads.
            CampaignTimeout: not elected in time; the campaign is withdrawn, and cannot win later.
            BackendUnavailable: ``wait=False``, and the store has not answered for a ttl.
            BackendRefused: the store said no, or the namespace was settled under other terms.
            UsageError: this client already campaigns for this name or leads it, or is closed.
        """
        if timeout is not None and not 0 <= timeout < float("inf"):
            raise ValueError(f"timeout ({timeout!r}) is a number of seconds, zero or more; None waits for ever")
        return _Campaign(self._client.engine(), self._name, patient=wait, on_waiting=on_waiting).run(timeout)

    def leader(self) -> Term | None:
        """Who leads now, as the store records it; ``None``: nobody. It may have died since its last renewal."""
        return _observe.look(self._client.engine(), self._name).term

    def observe(self) -> Iterator[Term | None]:
        """Yield who leads now, and again whenever that changes, until the client is closed."""
        return _observe.observe(self._client.engine(), self._name)

    def __enter__(self) -> Lease:
        lease = self.campaign(timeout=self._timeout, wait=self._wait)
        self._entered.append((lease, enter(lease)))
        return lease

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lease, token = self._entered.pop()
        leave(token)
        if lease.state == "resigned":
            return
        try:
            lease.check()
        except LeaseLost as lost:
            # The body ran on after the loss, so somebody must be told; but its own error comes first.
            if error is None:
                raise
            if not isinstance(error, LeaseLost):
                error.add_note(f"besides, {lost}")
        else:
            lease.resign()


class _Campaign:
    """One campaign, from its first request to its one outcome."""

    def __init__(self, engine: Engine, name: str, *, patient: bool, on_waiting: Callable[[str], object] | None) -> None:
        self._engine = engine
        self._patient = patient
        self._on_waiting = on_waiting
        self._outcome: Elected | Denied | Failed | Withdrawn | None = None
        self._trouble: tuple[str, float] | None = None
        self.lease = Lease(engine, name, patient=patient)

    def run(self, timeout: float | None) -> Lease:
        lease = self.lease
        try:
            lease.campaign(self._hear, self._is_over, timeout)
        except BaseException:
            # Ctrl-C, or a cancelled task: a campaign nobody waits for must not win (trap D5).
            with suppress(LeaderLockError):
                self._engine.post(Withdraw(lease.candidacy))
            raise
        match self._outcome:
            case Elected():
                return lease
            case Denied():
                raise NotLeader(f"{lease.name!r} is led by somebody else")
            case Failed(error):
                raise error
            case _:
                raise self._give_up(timeout)

    def _give_up(self, timeout: float | None) -> Exception:
        self._engine.post(Withdraw(self.lease.candidacy))
        if self._engine.is_closed:
            return UsageError(f"the client was closed during the campaign for {self.lease.name!r}")
        waiting = self.lease.candidacy.waiting
        why = describe(self._engine, waiting) if waiting is not None else "the store has not answered yet"
        if waiting is not None and waiting.why is Why.UNREACHABLE and not self._patient:
            return BackendUnavailable(f"whether anybody leads {self.lease.name!r} cannot be told: {why}")
        error = CampaignTimeout(f"not elected for {self.lease.name!r} within {timeout or 0:g} s: {why}")
        if waiting is not None and waiting.why is Why.UNREACHABLE:
            error.__cause__ = BackendUnavailable(waiting.detail)
        return error

    def _hear(self, news: News) -> None:
        match news:
            case Elected() | Denied() | Failed() | Withdrawn():
                self._outcome = news
            case Waiting():
                self._trouble = ("", self._engine.clock.boot()) if news.why is Why.UNREACHABLE else None
                if self._on_waiting is not None:
                    told, text = self._on_waiting, describe(self._engine, news)
                    self._engine.callbacks.call(lambda: told(text))
            case _:
                pass

    def _is_over(self) -> bool:
        if self._outcome is not None:
            return True
        trouble = self._trouble
        if self._patient or trouble is None:
            return False
        return self._engine.clock.boot() - trouble[1] > self._engine.terms.timing.ttl


def describe(engine: Engine, waiting: Waiting) -> str:
    """Why a candidate waits, and for how long, in words."""
    left = None if waiting.until is None else max(0.0, waiting.until.to_wait(engine.clock.now()))
    match waiting.why:
        case Why.HELD:
            soon = "" if left is None else f"; if its session does not move, it is free in {left:.1f} s"
            return f"somebody else leads (session {waiting.session[:8]}){soon}"
        case Why.UNSETTLED:
            soon = "" if left is None else f" for {left:.1f} s more"
            return (
                "the store may have forgotten leaders who are still alive, so this client watches it"
                f"{soon}; `leaderlock init` ends the wait if nobody leads or campaigns here"
            )
        case Why.UNREACHABLE:
            return f"the store does not answer: {waiting.detail}"
        case Why.FOREIGN:
            return waiting.detail


atexit.register(_close_all)
os.register_at_fork(after_in_child=_disown_all)
