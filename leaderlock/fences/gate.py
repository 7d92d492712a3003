"""A gate: work under a newer token begins when all work under older ones has ended, on one host.

The durable watermark lies in the file that is named. Next to it lie ``.name.fence-lock``, which everybody at work
holds shared and whoever raises the watermark holds alone, and, while somebody waits to raise it, ``.name.fence-door``:
newcomers wait behind that, so a stream of them cannot keep a new leader out.

Why nothing stale works beside something newer:

1. The watermark is looked at and raised by who holds the lock alone. So while anybody is at work, it stays as it is.
2. Newcomers take the lock shared *before* they look, and come in only if the watermark is their own token. So all who
   are at work have one token, and it is the watermark.
3. The watermark is on the disk before anybody works under it: who finds it raised, and does not know it to be there,
   syncs it first, as whoever raised it may have been killed, or have met an error, in between. And a lock ends with its
   process. So neither ``kill -9`` nor a power cut opens the gate to an older token.

Not promised: anything about work that goes on after its block or its process has ended (in a child, a thread, a
database's queue); anything among several hosts, as each has a watermark of its own; network file systems.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from functools import partial

from leaderlock.fences._files import checked_path, content_of, replace, sync_folder_of
from leaderlock.fences._flock import (
    LOCK_EX,
    LOCK_SH,
    Lock,
    checked_timeout,
    is_held,
    locking,
    mark,
    pauses,
    release,
    remove,
)
from leaderlock.fences._token import WatermarkLost, admit, check_token
from leaderlock.fences._waiting import Step, taken, taken_async
from leaderlock.fences._watermark import formatted, parsed

__all__ = ["Admission", "Gate"]


class Gate:
    """A watermark in a file, and who works under it, among all processes of this host.

    Its folder must be there, and every process must be allowed to write into it. ``timeout`` is how many seconds to
    wait for those who are at work before :class:`~leaderlock.fences.FenceBusy` is raised. Nothing is kept open but by
    who is at work, so one object may be used from any thread and after a fork.

    Raises:
        ValueError, TypeError: the path names nothing that can be a watermark, or ``timeout`` is no number of seconds.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 10.0) -> None:
        self.path = checked_path(path, what="a watermark")
        self._timeout = checked_timeout(timeout)
        folder, name = os.path.split(self.path)
        if not os.path.isdir(folder):
            raise ValueError(f"{folder} is no folder: make it first, on a disk that outlives the service")
        self._lock = os.path.join(folder, f".{name}.fence-lock")
        self._door = os.path.join(folder, f".{name}.fence-door")
        self._new = os.path.join(folder, f".{name}.fence-new")
        self._on_disk = 0  # the last watermark of which this object knows that a power cut leaves it

    def __repr__(self) -> str:
        return f"Gate({self.path!r})"

    @property
    def highest(self) -> int:
        """The highest token admitted; 0 if none ever was."""
        # In this order: the watermark comes before the mark, so where the mark was, there is a watermark by now.
        was_stamped = self._has_mark()
        content = content_of(self.path)
        if content is None:
            if was_stamped:
                raise self._lost("was deleted")
            return 0
        token = parsed(content)
        if token is None:
            raise self._lost("is damaged, or was never a watermark")
        return token

    def admitted(self, token: int) -> Admission:
        """A block for the work: ``with gate.admitted(token):``, or ``async with`` in a coroutine.

        It begins when all work under lower tokens has ended, and nothing higher is admitted before its end. Any number
        of blocks under one token run side by side.

        Raises, at its beginning:
            StaleToken: a higher token has been admitted.
            FenceBusy: work under lower tokens went on for all of ``timeout``, or somebody else waited for it;
                nothing was admitted.
            WatermarkLost: nothing is admitted until somebody calls :meth:`adopt`.
        """
        return Admission(partial(self._entering, check_token(token)))

    def stamp(self, token: int) -> None:
        """Admit a token, and do nothing. From here on nothing older is at work, and nothing older will be."""
        with self.admitted(token):
            pass

    def adopt(self, token: int) -> None:
        """Give the gate a watermark when its own was lost.

        ``token`` is that of a current lease: a stale leader with a lower one is refused from here on. A watermark that
        is intact is never lowered.
        """
        taken(self._raising(check_token(token), self._until(), adopting=True))

    def _entering(self, token: int) -> Generator[Step, None, Lock]:
        """Returns a share in the lock, which is to be released after the work."""
        until = self._until()
        while True:
            if token > self._highest_for(token):  # what is stale is refused here, as it will never be otherwise
                yield from self._raising(token, until)
            waits = pauses(until, busy=self._busy())
            while is_held(self._door):
                yield next(waits)
            share = yield from locking(self._lock, LOCK_SH, until=until, busy=self._busy())
            with contextlib.ExitStack() as otherwise:
                otherwise.callback(release, share)
                if token == self._highest_for(token):  # rule 2: what it saw before may be over, this is not
                    if token != self._on_disk:
                        yield partial(self._settle, token)  # rule 3
                    otherwise.pop_all()
                    return share

    def _raising(self, token: int, until: float, *, adopting: bool = False) -> Generator[Step, None, None]:
        door = yield from locking(self._door, LOCK_EX, until=until, busy=self._busy())
        try:
            # Often it was raised while this one waited, by another of the same leader, who may be at work for long.
            if token == self._highest_for(token, adopting=adopting):
                if token != self._on_disk:
                    yield partial(self._settle, token)
                return
            alone = yield from locking(self._lock, LOCK_EX, until=until, busy=self._busy())
            try:
                if token > self._highest_for(token, adopting=adopting):  # rule 1: the door alone is no protection
                    yield partial(self._store, token)  # rule 3
            finally:
                release(alone)
        finally:
            remove(self._door, held=door)

    def _highest_for(self, token: int, *, adopting: bool = False) -> int:
        """The watermark, if it admits the token."""
        try:
            highest = self.highest
        except WatermarkLost:
            if not adopting:
                raise
            highest = 0
        admit(token, highest=highest, resource=self.path)
        return highest

    def _store(self, token: int) -> None:
        replace(self.path, formatted(token), by=self._new)
        self._mark()
        self._on_disk = token

    def _settle(self, token: int) -> None:
        """Make good what whoever raised the watermark may have left undone, killed or by an error: it is shown first
        and then made durable, and marked last."""
        sync_folder_of(self.path)
        self._mark()
        self._on_disk = token

    def _mark(self) -> None:
        if not self._has_mark():
            mark(self._lock)

    def _has_mark(self) -> bool:
        """Whether a watermark was ever stored: then its absence is a loss, and not a beginning."""
        try:
            return os.stat(self._lock).st_size > 0
        except FileNotFoundError:
            return False

    def _until(self) -> float:
        return time.monotonic() + self._timeout

    def _busy(self) -> str:
        return f"work under another token went on at {self.path} for {self._timeout:g} s; nothing was admitted"

    def _lost(self, what: str) -> WatermarkLost:
        return WatermarkLost(
            f"the watermark {self.path} {what}; nothing is admitted until somebody calls "
            f"Gate({self.path!r}).adopt(token) with the token of the current leader"
        )


class Admission:
    """The block that :meth:`Gate.admitted` returns; it may be entered again."""

    def __init__(self, entering: Callable[[], Generator[Step, None, Lock]]) -> None:
        self._entering = entering
        self._shares: list[Lock] = []

    def __enter__(self) -> None:
        self._shares.append(taken(self._entering()))

    def __exit__(self, *_: object) -> None:
        release(self._shares.pop())

    async def __aenter__(self) -> None:
        self._shares.append(await taken_async(self._entering()))

    async def __aexit__(self, *_: object) -> None:
        release(self._shares.pop())
