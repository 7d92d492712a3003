"""A name that one can lead, as a context manager: either it is held inside, or it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING

from leaderlock import _observe
from leaderlock._campaign import Campaigning
from leaderlock._checks import check_timeout
from leaderlock._current import current
from leaderlock._lease import Lease
from leaderlock._observe import Term
from leaderlock._thread import apart, hand_over
from leaderlock.errors import LeaseLost, UsageError

if TYPE_CHECKING:
    from leaderlock._client import Client
    from leaderlock._engine import Engine

__all__ = ["Election"]


class Election:
    """A name that one can lead, as seen by one client; made by :meth:`Client.election`.

    ``with election as lease:`` either holds the lease or raises, and resigns at the end: a silent store is waited for
    five seconds at most (or half a ttl), and then told behind. Where a generator is closed or collected in such a
    block, nobody waits for the store, and the name is free a moment later.
    """

    def __init__(
        self, client: Client, engine: Callable[[], Engine], name: str, *, timeout: float | None, wait: bool
    ) -> None:
        self._client = client
        self._engine = engine
        self._name = name
        self._timeout = timeout
        self._wait = wait
        self._entered: list[Lease] = []

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
        timeout: float | EllipsisType | None = ...,
        wait: bool | None = None,
        on_waiting: Callable[[str], object] | None = None,
    ) -> Lease:
        """Become the leader, and return the lease.

        ``timeout``: the most that the whole call may take, in seconds; ``None``: as long as it takes. ``wait=False``:
        give up as soon as somebody who is alive leads. That takes one look where the leader's session has moved lately
        by this host's wall clock, and up to one ttl of watching it where not: so a dead leader is still followed. A
        store that must settle is waited for as well (``longest``; less, if this client has seen it for a while), as
        programs that each try once would else never be elected. ``timeout`` bounds that, too. Whichever is left out is
        as :meth:`Client.election` was told.
        ``on_waiting(text)`` is told why it waits, once for each reason, on a thread of leaderlock's.

        Raises:
            NotLeader: ``wait=False``, and somebody else leads.
            CampaignTimeout: not elected in time; the campaign is withdrawn, and cannot win later.
            BackendUnavailable: ``wait=False``, and the store has not answered for a ttl.
            BackendRefused: the store said no, or the namespace was settled under other terms; with ``wait=False`` also
                where the name's record cannot be read here (a newer leaderlock's, or somebody else's).
            UsageError: this client already campaigns for this name or leads it, or is closed.
        """
        patient = self._wait if wait is None else wait
        within = self._timeout if isinstance(timeout, EllipsisType) else check_timeout(timeout)
        return self._campaigning(patient=patient, on_waiting=on_waiting).run(within)

    def _campaigning(self, *, patient: bool, on_waiting: Callable[[str], object] | None = None) -> Campaigning:
        return Campaigning(self._engine(), self._name, patient=patient, on_waiting=on_waiting)

    def leader(self) -> Term | None:
        """Who leads now, as the store records it; ``None``: nobody. It may have died since its last renewal."""
        return _observe.look(self._engine(), self._name).term

    def observe(self) -> Iterator[Term | None]:
        """Yield who leads now, and again whenever that changes, until the client is closed."""
        return self._observed(self._engine())

    def _observed(self, engine: Engine) -> Iterator[Term | None]:
        # A generator of the election's own: it holds the client, which would end if nobody else did.
        yield from _observe.observe(engine, self._name)

    def __enter__(self) -> Lease:
        return self._campaigning(patient=self._wait).run(self._timeout, self._enter)

    def _enter(self, lease: Lease) -> Lease:
        self._entered.append(lease)
        return lease.__enter__()

    def _mine(self) -> Lease:
        """Under which lease the body ran that is left. Usually there is one; but where another thread's was lost, and
        has not noticed yet, there are two, and each is left by whoever acts under its lease."""
        mine = current()
        entered = self._entered.copy()  # the other one may be left meanwhile
        return mine if mine in entered else entered[-1]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            [lease] = self._entered  # without a call, in which Ctrl-C could be raised before anything is done
        except ValueError:
            if not self._entered:
                raise UsageError(
                    f"the election of {self._name!r} was left more often than entered: use `with`"
                ) from None
            lease = self._mine()
        try:
            self._entered.remove(lease)
            lease.__exit__(kind, error, traceback)
        except LeaseLost:
            raise
        except BaseException:  # Ctrl-C before that began
            try:
                lease.resign(timeout=0)
            except BaseException:  # and again
                hand_over(apart, (lease.resign,), {"timeout": 0})
                raise
            raise
