"""Calls that block, made where no event loop runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, ParamSpec, TypeVar

from leaderlock._closed import closed
from leaderlock.errors import BackendUnavailable

__all__ = ["OffLoop", "until_done"]

P = ParamSpec("P")
R = TypeVar("R")

THREADS: Final = 4


class OffLoop:
    """A few threads of one client's, started when they are needed.

    Not the loop's default executor: the program's own work may fill that, under the very lease that is asked about.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="leaderlock-aio")
        self._is_over = False

    async def __call__(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it there. If the task is cancelled, a call that was begun goes on; another is never made."""
        is_wanted = True

        def make() -> R:
            if not is_wanted:
                raise closed()
            return function(*args, **kwargs)

        try:
            call = self._pool.submit(make)
        except RuntimeError as error:
            is_wanted = False  # the pool has queued it all the same, where it found no thread for it
            if self._is_over:
                raise closed() from error
            raise BackendUnavailable(f"nothing can be asked of the store now: {error}") from error
        try:
            await until_done(call)
        except BaseException:
            call.cancel()
            raise
        return call.result()

    def end(self, last: Callable[[], None]) -> Future[None]:
        """Take no more calls, and make this one whatever becomes of those before it, and of who waits for it."""
        self._is_over = True
        self._pool.shutdown(wait=False)
        ended: Future[None] = Future()
        ended.set_running_or_notify_cancel()

        def run() -> None:
            try:
                last()
            except BaseException as error:  # it belongs to who waits
                ended.set_exception(error)
            else:
                ended.set_result(None)

        # No daemon: at the interpreter's end, what was begun is done.
        threading.Thread(target=run, name="leaderlock-aio-close").start()
        return ended


async def until_done(call: Future[Any]) -> None:
    """Wait for a call, and leave it alone: whoever is cancelled here ends his own wait, and nothing else."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def tell(_: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    call.add_done_callback(tell)
    await done.wait()
