"""The face for asyncio: a client of one store, with one session and all that is asked of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from leaderlock import _admin, _observe
from leaderlock._aio.access import Access
from leaderlock._aio.campaign import seek, seek_all
from leaderlock._aio.election import AsyncElection, OnLoss
from leaderlock._aio.lease import AsyncLease
from leaderlock._aio.looking import AsyncLooking
from leaderlock._aio.offloop import until_done
from leaderlock._checks import check_one_of, check_timeout
from leaderlock._naming import check_name, check_names
from leaderlock._observe import Status
from leaderlock._thread import even_if_collected
from leaderlock.backend import Traits
from leaderlock.errors import UsageError

if TYPE_CHECKING:
    from datetime import tzinfo

    from leaderlock._aio.ticking import AsyncTicking
    from leaderlock._backoff import WaitStrategy
    from leaderlock._connect import Opening
    from leaderlock._ticks.job import Job
    from leaderlock._ticks.rules import Misfire, Overlap, Runs
    from leaderlock._ticks.schedule import Schedule, When

__all__ = ["AsyncClient", "access_of"]


class AsyncClient:
    """One session in one store, on which any number of names can be led; made by :func:`leaderlock.aio.connect`.

    An asynchronous context manager: leaving it ends all of its leases, then its session, so that every name is free at
    once. It opens the store on first use, not in the event loop. It belongs to no loop: it may be used from several,
    at once or one after the other, and from a forked child, where it starts anew.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._access = Access(opening)

    def __repr__(self) -> str:
        client = self._access.client
        store = "a store not opened yet" if client is None else client.traits.store
        return f"<AsyncClient of {store}, namespace {self.namespace!r}, ttl {self.ttl:g} s>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client is this process's and cannot be pickled: connect in the other one, with the same URL")

    @property
    def ttl(self) -> float:
        """How long, in seconds, a lease of this client's outlives its last renewal at most."""
        return self._opening.terms.timing.ttl

    @property
    def namespace(self) -> str:
        return self._opening.namespace

    @property
    def traits(self) -> Traits:
        """What the store is, under this client's settings.

        Raises:
            UsageError: the store was not opened yet.
        """
        if self._access.client is None:
            raise UsageError("this client has not opened its store yet: enter it with `async with` first")
        return self._access.client.traits

    def election(
        self, name: str, *, timeout: float | None = None, wait: bool = True, on_loss: OnLoss = "finish"
    ) -> AsyncElection:
        """The election of one name. Costs nothing: no I/O.

        ``timeout`` and ``wait`` are for ``async with``, and for :meth:`AsyncElection.campaign` if that is given none.
        ``on_loss`` is for ``async with`` alone: when the lease is lost while the body runs, ``"finish"`` lets it, and
        raises :class:`LeaseLost` behind it; ``"cancel"`` cancels the body's task, which becomes :class:`LeaseLost`
        where the body is left.
        """
        checked = check_name(name)
        check_one_of("on_loss", on_loss, "finish", "cancel")
        timeout = check_timeout(timeout)
        return AsyncElection(self, self._access, checked, timeout=timeout, wait=wait, on_loss=on_loss)

    async def campaign_all(
        self, names: Iterable[str], *, timeout: float | None = None, wait: bool = True
    ) -> dict[str, AsyncLease]:
        """Campaign for many names at once: :meth:`Client.campaign_all`, awaited. Cancelled, it has won none.

        Raises as that does: ``BackendRefused``, ``UsageError``.
        """
        wanted = check_names(names)
        until = self._access.until(check_timeout(timeout))
        courses = await seek_all(await self._access.engine(), wanted, patient=wait, until=until)
        return {name: AsyncLease(course) for name, course in courses.items()}

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
        on_loss: OnLoss = "finish",
    ) -> AsyncTicking:
        """The tick of a job that is due now, to be run here if nobody else does. Costs nothing: no I/O.

        ``async with client.tick("0 3 * * *", name="report") as tick:`` runs its body once, on one host, or raises
        :class:`TickSkipped`; :meth:`AsyncTicking.run` returns :class:`Ran` or :class:`Skipped` instead. All arguments
        are those of :meth:`Client.tick`, and ``on_loss`` is :meth:`election`'s: with ``"cancel"``, ``max_run`` ends a
        body too.
        """
        from leaderlock._aio.ticking import AsyncTicking
        from leaderlock._ticks.plan import check_meant, plan_of
        from leaderlock._ticks.rules import Policy

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
        check_one_of("on_loss", on_loss, "finish", "cancel")
        return AsyncTicking(self._access.engine, plan, at=at, by_hand=now, on_loss=on_loss)

    async def job(self, name: str) -> Job | None:
        """What the store records of a job: its last runs, its next tick, who paused it; ``None``: it is no job's."""
        from leaderlock._ticks.job import look_at_job

        return await self._access.ask(look_at_job, check_name(name))

    async def pause(self, name: str, *, timeout: float | None = None) -> bool:
        """Let no tick of a job start until :meth:`resume`, anywhere: :meth:`Client.pause`, awaited."""
        return await self._set_paused(name, timeout, is_paused=True)

    async def resume(self, name: str, *, timeout: float | None = None) -> bool:
        """Let a paused job go on with its next tick: :meth:`Client.resume`, awaited."""
        return await self._set_paused(name, timeout, is_paused=False)

    async def _set_paused(self, name: str, timeout: float | None, *, is_paused: bool) -> bool:
        from leaderlock._ticks.job import Pausing

        until = self._access.until(check_timeout(timeout))
        pausing = Pausing(await self._access.engine(), check_name(name), is_paused=is_paused)
        with pausing.explained():
            await AsyncLease(await seek(pausing.campaign, timeout, until)).resign()
        return pausing.is_news

    async def status(self, name: str) -> Status:
        """Who leads that name, since when, and when it may be free: read once, as recorded."""
        return await self._access.ask(_observe.status, check_name(name))

    async def names(self) -> list[str]:
        """The names that were ever led in this namespace (and not cleaned away since), sorted."""
        return await self._access.ask(_observe.names_seen)

    async def resign(self, name: str, *, now: bool = False, timeout: float | None = None) -> bool:
        """Ask whoever leads ``name``, anywhere, to yield it, and wait until that term is over: :meth:`Client.resign`.

        Raises:
            CampaignTimeout: the term was not over after ``timeout`` seconds; the request stands, as it does when this
                is cancelled.
        """
        check_timeout(timeout)
        term = await self._access.ask(_admin.ask, check_name(name), now=now)
        if term is None:
            return False
        if term.is_over:
            return True
        looking = AsyncLooking(await self._access.engine(), name, self._access.off, timeout)
        with looking.watching():
            while (sighting := await looking.next()) is not None:
                if term.has_ended(sighting):
                    return True
                if term.is_forgotten(sighting):
                    await self._access.ask(term.ask_again, sighting)
        raise term.still_goes_on()

    async def init(self, *, force: bool = False) -> bool:
        """Declare that nobody leads or campaigns in this namespace: :meth:`Client.init`, awaited.

        Raises:
            BackendRefused: the namespace was used before, and leaders may be alive; ``force`` says that they are not.
        """
        return await self._access.ask(_admin.init, force=force)

    async def close(self) -> None:
        """End all leases, then the session: one write that frees all names. May be called twice.

        Waits at most five seconds (or half a ttl) for the store; without its answer the names are free a ttl later. If
        this is cancelled, the client is closed all the same.
        """
        closing = self._access.close()
        await until_done(closing)
        closing.result()

    async def __aenter__(self) -> AsyncClient:
        try:
            await self._access.engine()
        except BaseException:
            self._access.close()  # nobody will leave what nobody has entered
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, GeneratorExit):
            # Perhaps collected, as its loop was closed: nothing can be awaited any more.
            even_if_collected(error, self._access.close)
        else:
            await self.close()

    def now(self) -> datetime:
        """This host's wall clock, by which ticks are chosen, in UTC."""
        return datetime.fromtimestamp(self._opening.clock.now().wall, UTC)


def access_of(client: AsyncClient) -> Access:
    """For leaderlock's own: the way to its engine."""
    return client._access  # pyright: ignore[reportPrivateUsage] - this is the one way in
