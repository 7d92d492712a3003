"""The way from coroutines to the engine: the store is opened on first use, and where no event loop runs."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from leaderlock._aio.offloop import OffLoop
from leaderlock._client import Client, engine_of
from leaderlock._closed import closed
from leaderlock._engine import Engine
from leaderlock._locks import signal_safe

if TYPE_CHECKING:
    from leaderlock._connect import Opening

__all__ = ["Access"]

P = ParamSpec("P")
R = TypeVar("R")


class Access:
    """A client for threads, opened when a coroutine first needs it, and what becomes of it."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._lock = signal_safe(threading.Lock())
        self._engine: Engine | None = None
        self._is_closing = False
        self._closing: Future[None] | None = None
        self.client: Client | None = None
        """``None``: it was not opened yet."""
        self.off = OffLoop()
        """Where calls that block are made."""
        _all.add(self)

    def open(self) -> Client:
        """The client. Never in an event loop, as it may do I/O."""
        with self._lock:
            if self._is_closing:
                raise closed()
            if self.client is None:
                self.client = self._opening.open()
            return self.client

    async def engine(self) -> Engine:
        """The engine, which is another one in a forked child."""
        engine = self._engine
        if engine is None or engine.is_forked or self._is_closing:
            engine = self._engine = await self.off(lambda: engine_of(self.open()))
        return engine

    async def ask(self, question: Callable[Concatenate[Engine, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Have the store asked, where no event loop runs."""

        def call() -> R:
            return question(engine_of(self.open()), *args, **kwargs)

        return await self.off(call)

    def until(self, timeout: float | None) -> float | None:
        """When that time will be over, on the first clock."""
        return None if timeout is None else self._opening.clock.boot() + timeout

    def close(self) -> Future[None]:
        """Begin to close what was opened, if anything was: once, whoever waits for it."""
        # Before the thread that closes has begun: whoever opens the store after it has looked is refused.
        self._is_closing = True
        if self._closing is None:
            self._closing = self.off.end(self._close)
        return self._closing

    def _close(self) -> None:
        with self._lock:  # whoever is opening the store now has done so before this goes on
            client = self.client
        if client is not None:
            client.close()

    def disown(self) -> None:
        """In a forked child: what the parent's threads held or did is not waited for."""
        self._lock = signal_safe(threading.Lock())
        self._closing = None
        self.off = OffLoop()


_all: Final[weakref.WeakSet[Access]] = weakref.WeakSet()


def _disown_all() -> None:
    for access in tuple(_all):
        access.disown()


os.register_at_fork(after_in_child=_disown_all)
