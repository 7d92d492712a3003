"""A file that refuses a stale leader.

Next to ``name`` lie ``.name.fence``, the watermark, and ``.name.fence-lock``, which every writer locks and nobody ever
deletes. Under the lock the watermark is made durable *before* the data: a crash between any two steps leaves, at
worst, a watermark without its write, and never a write that a stale leader could replace.

Not promised: anything against programs that write the file without its fence; network file systems (``flock`` and
``rename`` may mean less there than they do here); hard links, which part from the file at its first write.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Generator
from typing import Final

from leaderlock.fences._token import FenceBusy, WatermarkLost, admit, check_token

__all__ = ["FencedFile"]

_WATERMARK: Final = re.compile(rb"leaderlock-fence 1 ([0-9]{1,16}) ([0-9a-f]{8})\n")
_PAUSES: Final = (0.001, 0.05)  # between looks at a lock that is held: the first, and the longest


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
        self.path = _checked(path)
        self._timeout = _checked_timeout(timeout)
        folder, name = os.path.split(self.path)
        self._folder = folder
        self._watermark = os.path.join(folder, f".{name}.fence")
        self._lock = os.path.join(folder, f".{name}.fence-lock")
        self._new = os.path.join(folder, f".{name}.fence-new")

    def __repr__(self) -> str:
        return f"FencedFile({self.path!r})"

    @property
    def highest(self) -> int:
        """The highest token admitted; 0 for a file that does not exist and was never fenced."""
        # In this order: the watermark comes before the data, so data that was there has its watermark by now.
        has_data = os.path.lexists(self.path)
        content = _content(self._watermark)
        if content is not None:
            return self._parsed(content)
        if has_data:
            raise self._lost("has no watermark: either it was never fenced, or the watermark was deleted")
        return 0

    def read(self) -> bytes | None:
        """The whole content, None if there is no file. A new leader calls :meth:`stamp` before."""
        _refuse_what_is_no_file(self.path)
        return _content(self.path)

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
            data = change(_content(self.path))
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

    def _store(self, token: int) -> None:
        digits = b"%d" % token
        self._replace(self._watermark, b"leaderlock-fence 1 %s %08x\n" % (digits, zlib.crc32(digits)))

    def _parsed(self, content: bytes) -> int:
        match = _WATERMARK.fullmatch(content)
        if match is None or int(match[2], 16) != zlib.crc32(match[1]):
            raise self._lost(f"has a damaged watermark ({self._watermark})")
        return int(match[1])

    def _lost(self, what: str) -> WatermarkLost:
        return WatermarkLost(
            f"{self.path} {what}; it takes no writes until a current leader calls "
            f"FencedFile({self.path!r}).adopt(lease.token)"
        )

    def _replace(self, path: str, data: bytes) -> None:
        """Put ``data`` in the place of ``path``, at one stroke and for good."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._new)  # left by a crash; the lock is ours, so nobody else is writing it
        descriptor = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with open(descriptor, "wb") as file:
                with contextlib.suppress(FileNotFoundError):
                    _dress(descriptor, os.stat(path))
                file.write(data)
                file.flush()
                _sync(descriptor)
            os.replace(self._new, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._new)  # a full disk should not be kept full by what did not fit
            raise
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(folder)
        finally:
            os.close(folder)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        # Opened anew each time: the lock belongs to the open file, so threads exclude each other just as processes do,
        # and it ends with the process, however that ends.
        _refuse_what_is_no_file(self.path)  # before anything is written next to it
        until = time.monotonic() + self._timeout
        while True:
            descriptor = os.open(self._lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._wait_for(descriptor, until)
                if not self._is_current(descriptor):
                    continue
                yield
                return
            finally:
                os.close(descriptor)

    def _wait_for(self, descriptor: int, until: float) -> None:
        pause, longest = _PAUSES
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass
            else:
                return
            left = until - time.monotonic()
            if left <= 0:
                raise FenceBusy(f"{self.path} was locked by other writers for {self._timeout:g} s; nothing was written")
            time.sleep(min(pause, left))
            pause = min(pause * 2, longest)

    def _is_current(self, descriptor: int) -> bool:
        """Whether others would lock the same file; not so if somebody tidied it away between opening and locking."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._lock))
        except FileNotFoundError:
            return False


def _checked(path: str | os.PathLike[str]) -> str:
    """The file that is meant, which need not be there yet."""
    named: object = os.fspath(path) if hasattr(path, "__fspath__") else path
    if not isinstance(named, str):
        raise TypeError(f"a fenced file is named by a str or a path of str, not {path!r}")
    if not named:
        raise ValueError("the path of a fenced file must not be empty")
    real = os.path.realpath(named)
    _refuse_what_is_no_file(real)
    return real


def _checked_timeout(timeout: object) -> float:
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"timeout is a number of seconds, not {timeout!r}")
    if not timeout >= 0:
        raise ValueError(f"timeout ({timeout:g} s) must be 0 or more")
    return timeout


def _refuse_what_is_no_file(path: str) -> None:
    """A file is fenced by putting another in its place: of a device or a pipe that would take the place, and a folder
    cannot be replaced."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise ValueError(f"{path} is {kind}: only a regular file, or none yet, can be fenced; nothing was written")


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _dress(descriptor: int, like: os.stat_result) -> None:
    """Give a new file the permissions of the one it replaces, and its owner where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, like.st_mode & 0o777)  # without set-user-id, as the owner may be another


def _sync(descriptor: int) -> None:
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, where fsync stops at the drive's cache
    if full is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)
