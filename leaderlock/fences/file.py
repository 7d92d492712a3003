"""A file that refuses a stale leader.

Next to ``name`` lie ``.name.fence``, the watermark, and ``.name.fence-lock``, which every writer locks and nobody ever
deletes. Under the lock the watermark is made durable *before* the data: a crash between any two steps leaves, at
worst, a watermark without its write, and never a write that a stale leader could replace. Who finds the watermark
raised, and does not know it to be durable, makes it so first: whoever raised it may not have come so far.

Not promised: anything against programs that write the file without its fence; network file systems (``flock`` and
``rename`` may mean less there than they do here); hard links, which part from the file at its first write.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator
from typing import Final

from leaderlock.fences._files import checked_path, content_of, is_there, refuse_what_is_no_file, replace, sync_folder_of
from leaderlock.fences._flock import LOCK_EX, checked_timeout, locking, release
from leaderlock.fences._token import WatermarkLost, admit, check_token
from leaderlock.fences._waiting import taken
from leaderlock.fences._watermark import formatted, parsed

__all__ = ["FencedFile"]

_LONGEST_PAUSE: Final = 0.002
"""Seconds between two looks at the lock: behind a process that writes without a pause it is free for a moment only, and
who looks more seldom may not find it free in ten seconds."""


class FencedFile:
    """A file whose content only the newest leader can change.

    A symbolic link is followed once, here. ``timeout`` is how many seconds an operation waits for other writers before
    it raises :class:`~leaderlock.fences.FenceBusy`. Nothing is kept open between operations, so one object may be used
    from any thread and after a fork.

    Raises:
        ValueError, TypeError: the path names no file that can be replaced (a folder, a device, a pipe, nothing), which
            every operation looks at again; or ``timeout`` is no number of seconds.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 10.0) -> None:
        self.path = checked_path(path, what="a fenced file")
        self._timeout = checked_timeout(timeout)
        folder, name = os.path.split(self.path)
        self._watermark = os.path.join(folder, f".{name}.fence")
        self._lock = os.path.join(folder, f".{name}.fence-lock")
        self._new = os.path.join(folder, f".{name}.fence-new")
        self._on_disk = 0  # the last watermark of which this object knows that a power cut leaves it

    def __repr__(self) -> str:
        return f"FencedFile({self.path!r})"

    @property
    def highest(self) -> int:
        """The highest token admitted; 0 for a file that does not exist and was never fenced."""
        # In this order: the watermark comes before the data, so data that was there has its watermark by now.
        has_data = is_there(self.path)
        content = content_of(self._watermark)
        if content is not None:
            return self._parsed(content)
        if has_data:
            raise self._lost("has no watermark: either it was never fenced, or the watermark was deleted")
        return 0

    def read(self) -> bytes | None:
        """The whole content, None if there is no file. A new leader calls :meth:`stamp` before."""
        refuse_what_is_no_file(self.path)
        return content_of(self.path)

    def stamp(self, token: int) -> None:
        """Admit a token without writing. From here on nothing older can be written, so what is read stays true."""
        check_token(token)
        with self._locked():
            self._admit(token)

    def write(self, data: bytes, *, token: int) -> None:
        """Replace the content."""
        self.update(lambda _: data, token=token)

    def update(self, change: Callable[[bytes | None], bytes], *, token: int) -> bytes:
        """Replace the content by what ``change`` makes of it, and return that.

        ``change`` runs while the file is locked: it must be quick, and not use this fence. If it raises, the token has
        been admitted and the content is as it was.
        """
        check_token(token)
        with self._locked():
            self._admit(token)
            data = change(content_of(self.path))
            self._replace(self.path, data)
        return data

    def adopt(self, token: int) -> None:
        """Put a fence around a file that had none, or whose watermark was lost.

        ``token`` is that of a current lease: it becomes the watermark, and a stale leader with a lower one is refused
        from here on. A watermark that is intact is never lowered.
        """
        check_token(token)
        with self._locked():
            try:
                highest = self.highest
            except WatermarkLost:
                highest = 0
            self._store(admit(token, highest=highest, resource=self.path))

    def _admit(self, token: int) -> None:
        highest = self.highest
        if admit(token, highest=highest, resource=self.path) > highest:
            self._store(token)
        elif token != self._on_disk:
            # Whoever raised it may have been killed, or have met an error, between showing it and making it durable.
            sync_folder_of(self._watermark)
            self._on_disk = token

    def _store(self, token: int) -> None:
        self._replace(self._watermark, formatted(token))
        self._on_disk = token

    def _parsed(self, content: bytes) -> int:
        token = parsed(content)
        if token is None:
            raise self._lost(f"has a damaged watermark ({self._watermark})")
        return token

    def _lost(self, what: str) -> WatermarkLost:
        return WatermarkLost(
            f"{self.path} {what}; it takes no writes until a current leader calls "
            f"FencedFile({self.path!r}).adopt(lease.token)"
        )

    def _replace(self, path: str, data: bytes) -> None:
        replace(path, data, by=self._new)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        refuse_what_is_no_file(self.path)  # before anything is written next to it
        until = time.monotonic() + self._timeout
        busy = f"{self.path} was locked by other writers for {self._timeout:g} s; nothing was written"
        lock = taken(locking(self._lock, LOCK_EX, until=until, busy=busy, longest=_LONGEST_PAUSE))
        try:
            yield
        finally:
            release(lock)
