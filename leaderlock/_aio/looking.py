"""Looking at a name from outside, again and again, without a thread."""

from __future__ import annotations

from contextlib import AbstractContextManager

from leaderlock._aio.bell import LoopBell, weakly
from leaderlock._aio.offloop import OffLoop
from leaderlock._engine import Engine
from leaderlock._observe import Looking, Sighting, watching
from leaderlock.errors import UsageError

__all__ = ["AsyncLooking"]


class AsyncLooking:
    """Look now, whenever the name may have changed, and every third of a ttl; for ``timeout`` seconds, or for ever.

    Not a generator: one that is left in its middle ends whenever it is collected.
    """

    def __init__(self, engine: Engine, name: str, off: OffLoop, timeout: float | None = None) -> None:
        self._engine = engine
        self._off = off
        self._looking = Looking(engine, name, timeout)
        self._bell = LoopBell(engine)
        self._hints = 0
        self._has_looked = False

    def watching(self) -> AbstractContextManager[None]:
        """Inside of it, hints are heard, and the next look comes sooner."""
        return watching(self._engine, self._looking.name, weakly(self._hint))

    async def next(self) -> Sighting | None:
        """What the next look that succeeds shows; ``None``: the time is over, or the client was closed."""
        while not self._engine.is_closed:
            if self._has_looked and not await self._pause():
                return None
            self._has_looked = True
            self._hints = 0
            try:
                sighting = await self._off(self._looking.look)
            except UsageError:
                if self._engine.is_closed:
                    return None  # before the look began
                raise
            if sighting is not None:
                return sighting
        return None

    async def _pause(self) -> bool:
        """Wait until a look is due; returns whether there is one."""
        left = self._looking.pause()
        if left <= 0:
            return False
        await self._bell.wait_for(lambda: self._hints > 0, self._engine.clock.boot() + left)
        return not self._engine.is_closed

    def _hint(self, *_: object) -> None:
        self._hints += 1
        self._bell.ring()
