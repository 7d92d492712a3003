"""A name that a coroutine can lead: either it is held inside of ``async with``, or that raises."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from leaderlock import _observe
from leaderlock._aio.campaign import IN_LOOP, in_loop, seek
from leaderlock._aio.cutting import Cutting
from leaderlock._aio.lease import AsyncLease, current
from leaderlock._aio.looking import AsyncLooking
from leaderlock._campaign import Campaigning
from leaderlock._checks import check_timeout
from leaderlock._course import Course
from leaderlock._observe import Term, Turns
from leaderlock._unrun import check_plain

if TYPE_CHECKING:
    from leaderlock._aio.access import Access
    from leaderlock._aio.client import AsyncClient

__all__ = ["AsyncElection", "OnLoss"]

OnLoss: TypeAlias = Literal["finish", "cancel"]


class _Body(NamedTuple):
    """A body that runs under a lease."""

    lease: AsyncLease
    cutting: Cutting | None


class AsyncElection:
    """A name that one can lead, as seen by one client; made by :meth:`AsyncClient.election`.

    ``async with election as lease:`` either holds the lease or raises, and resigns at the end, as :class:`Election`
    does. Where it is cancelled, or a generator is closed in such a block, nobody waits for the store, and the name is
    free a moment later.
    """

    def __init__(
        self,
        client: AsyncClient,
        access: Access,
        name: str,
        *,
        timeout: float | None,
        wait: bool,
        on_loss: OnLoss = "finish",
    ) -> None:
        self._client = client
        self._access = access
        self._name = name
        self._timeout = timeout
        self._wait = wait
        self._on_loss = on_loss
        self._bodies: list[_Body] = []

    def __repr__(self) -> str:
        return f"<AsyncElection {self._name!r} in {self._client!r}>"

    @property
    def name(self) -> str:
        return self._name

    @property
    def client(self) -> AsyncClient:
        return self._client

    async def campaign(
        self,
        *,
        timeout: float | EllipsisType | None = ...,
        wait: bool | None = None,
        on_waiting: Callable[[str], object] | None = None,
    ) -> AsyncLease:
        """Become the leader, and return the lease: :meth:`Election.campaign`, awaited.

        ``on_waiting(text)`` is a plain function, and called in this event loop. Cancelled, even by a time-out around
        it, the campaign is withdrawn and cannot win later; one that was won at that moment is resigned.

        Raises as :meth:`Election.campaign` does: ``NotLeader``, ``CampaignTimeout``, ``BackendUnavailable``,
        ``BackendRefused``, ``UsageError``.
        """
        within = self._timeout if isinstance(timeout, EllipsisType) else check_timeout(timeout)
        return AsyncLease(await self._campaign(within, self._wait if wait is None else wait, on_waiting))

    async def _campaign(
        self, timeout: float | None, wait: bool, on_waiting: Callable[[str], object] | None = None
    ) -> Course:
        until = self._access.until(timeout)
        if on_waiting is not None:
            check_plain("on_waiting", on_waiting, instead=IN_LOOP)
            on_waiting = in_loop(on_waiting)
        engine = await self._access.engine()
        campaign = Campaigning(engine, self._name, patient=wait, on_waiting=on_waiting)
        return await seek(campaign, timeout, until)

    async def leader(self) -> Term | None:
        """Who leads now, as the store records it; ``None``: nobody. It may have died since its last renewal."""
        sighting = await self._access.ask(_observe.look, self._name)
        return sighting.term

    async def observe(self) -> AsyncGenerator[Term | None]:
        """Yield who leads now, and again whenever that changes, until the client is closed."""
        looking = AsyncLooking(await self._access.engine(), self._name, self._access.off)
        turns = Turns()
        with looking.watching():
            while (sighting := await looking.next()) is not None:
                if turns.is_new(sighting.term):
                    yield sighting.term

    async def __aenter__(self) -> AsyncLease:
        lease = AsyncLease(course := await self._campaign(self._timeout, self._wait))
        # From here on nothing is awaited, and so nothing is cancelled.
        try:
            await lease.__aenter__()
            self._bodies.append(_Body(lease, Cutting(course) if self._on_loss == "cancel" else None))
        except BaseException:
            course.engine.post(course.farewell())  # nobody will leave a body that nobody has entered
            raise
        return lease

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        body = self._mine()
        self._bodies.remove(body)
        lease, cutting = body
        lost = None if cutting is None else cutting.end(error)
        await lease.__aexit__(kind, lost or error, traceback)
        if lost is not None:
            raise lost from error

    def _mine(self) -> _Body:
        """Which of the bodies that run is left: whoever acts under its lease leaves it."""
        mine = current()
        bodies = self._bodies.copy()  # another loop's may be left meanwhile
        return next((body for body in bodies if body.lease == mine), bodies[-1])
