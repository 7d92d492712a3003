"""leaderlock for asyncio: the same words, awaited.

``async with aio.connect(url) as client, client.election("name") as lease:`` leads. Leases are renewed by leaderlock's
own threads, so an event loop that is blocked loses none; and nothing here blocks the loop. See ``docs/asyncio.md``.
"""

from __future__ import annotations

from leaderlock._aio.client import AsyncClient
from leaderlock._aio.election import AsyncElection
from leaderlock._aio.lease import AsyncLease, current
from leaderlock._backoff import WaitStrategy
from leaderlock._clock import Clock
from leaderlock._connect import prepare
from leaderlock.backend import Backend

__all__ = ["AsyncClient", "AsyncElection", "AsyncLease", "connect", "current"]


def connect(
    url: str | Backend | None = None,
    *,
    ttl: float = 15.0,
    namespace: str | None = None,
    longest: float = 30.0,
    renew_every: float | None = None,
    label: str = "",
    back_off: WaitStrategy | None = None,
    clock: Clock | None = None,
    **options: object,
) -> AsyncClient:
    """Return a client of the store at ``url``, for asyncio. Does no I/O; takes what :func:`leaderlock.connect` does.

    The store is opened on first use, such as ``async with``, and not in the event loop; what is wrong with a driver or
    with the store is told there.

    Raises:
        ValueError, TypeError: the URL, a duration or an option cannot work; the text says what can.
    """
    return AsyncClient(
        prepare(
            url,
            ttl=ttl,
            namespace=namespace,
            longest=longest,
            renew_every=renew_every,
            label=label,
            back_off=back_off,
            clock=clock,
            options=options,
        )
    )
