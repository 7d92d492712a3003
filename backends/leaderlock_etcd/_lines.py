"""Which channel is talked on, and when to leave it for the next.

gRPC balances connections, not answers: a server that took the request and then fell silent keeps its channel. So there
is one channel at a time, to one server, and after every call without an answer the next server gets a new one. Calls
that are under way on the old channel end as they may; the last of them closes it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from typing import Final, Protocol

from leaderlock.backend import signal_safe
from leaderlock.errors import BackendUnavailable, UsageError
from leaderlock_etcd._grpc import Channel, Metadata, Stream, dial
from leaderlock_etcd._url import Tls

__all__ = ["CONNECTING", "EtcdClient", "Line", "Lines", "Own", "Source", "Theirs"]

CONNECTING: Final = 2.0
"""Seconds that connecting may take where no call says how many: two round trips, with TLS up to four."""

# What must be known to the whole process, as a fork is of the whole process.
_all_lines: Final[weakref.WeakSet[Lines]] = weakref.WeakSet()
_leaked: Final[list[Lines]] = []


class EtcdClient(Protocol):
    """What is used of a client that is handed in: an open gRPC channel, and the headers of its calls."""

    @property
    def channel(self) -> Channel: ...

    @property
    def metadata(self) -> Metadata | None: ...


class Source(Protocol):
    """Where channels come from."""

    @property
    def targets(self) -> Sequence[str]:
        """The servers that take turns."""
        ...

    def channel(self, turn: int, patience: float) -> Channel: ...

    def has_left(self, channel: Channel) -> bool:
        """Whether another channel is to be used from now on."""
        ...

    def close(self, channel: Channel) -> None: ...


class Own:
    """Channels of ours, to each server in turn."""

    def __init__(self, targets: tuple[str, ...], tls: Tls | None) -> None:
        self.targets = targets
        self._tls = tls

    def channel(self, turn: int, patience: float) -> Channel:
        return dial(self.targets[turn % len(self.targets)], self._tls, patience)

    def has_left(self, channel: Channel) -> bool:
        return False

    def close(self, channel: Channel) -> None:
        channel.close()


class Theirs:
    """The channel of a client that was handed in, which may choose another one at any time. Never closed by us."""

    def __init__(self, client: EtcdClient, shown: str) -> None:
        self.targets = (shown,)
        self._client = client

    def channel(self, turn: int = 0, patience: float = CONNECTING) -> Channel:
        try:
            return self._client.channel
        except Exception as error:
            # Protects the callers from whatever a client of theirs raises: etcd3's, for one, has no channel for five
            # minutes after a call that failed.
            raise BackendUnavailable(
                f"the etcd client that was handed in has no channel now ({type(error).__name__}: {error})"
            ) from error

    def has_left(self, channel: Channel) -> bool:
        return self.channel() is not channel

    def close(self, channel: Channel) -> None:
        pass


class Line:
    """A channel, who uses it, and whether anything was ever answered on it."""

    __slots__ = ("channel", "is_left", "is_proven", "stream", "users")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_proven = False
        self.is_left = False
        self.users = 0
        self.stream: Stream | None = None
        """The watch, if it runs here: it ends with the line's being left."""


class Lines:
    """Lends the line of the moment."""

    def __init__(self, source: Source, shown: str) -> None:
        self.source = source
        self._shown = shown
        self._lock = signal_safe(threading.Lock())
        self._line: Line | None = None
        self._kept: Line | None = None
        """The one that was left last, until another stands: with its last channel gRPC gives back what it works with,
        and where it does not get that again, for want of threads or descriptors, it ends the whole process."""
        self._turn = 0
        self._is_closed = False
        self._pid = os.getpid()
        _all_lines.add(self)

    @property
    def is_inherited(self) -> bool:
        """Whether this process is a child of the one that opened it."""
        return os.getpid() != self._pid

    def check(self) -> None:
        """Raise ``UsageError`` after :meth:`close`, and in a forked child."""
        # Before any lock: in a forked child, a thread that no longer exists may hold it.
        if self.is_inherited:
            raise UsageError(f"{self._shown}: the process was forked after this backend was opened; open another here")
        if self._is_closed:
            raise UsageError(f"{self._shown}: the backend is closed; open another")

    def take(self, patience: float = CONNECTING) -> Line:
        """The line of the moment, to be given back. A new one is connected within ``patience`` seconds, or not."""
        self.check()
        left: Line | None = None
        kept: Line | None = None
        with self._lock:
            self.check()
            line = self._line
            if line is None or self.source.has_left(line.channel):
                left, line = line, Line(self.source.channel(self._turn, patience))
                self._line = line
                kept, self._kept = self._kept, None
            line.users += 1
        if left is not None:
            # A watch that runs there must come along: its owner may have left that channel because it is of no use.
            self.leave(left)
        if kept is not None:
            self._close_unused(kept)
        return line

    def give_back(self, line: Line) -> None:
        """End a loan."""
        with self._lock:
            line.users -= 1
        self._close_unused(line)

    def leave(self, line: Line) -> None:
        """Let the next call go to the next server."""
        with self._lock:
            if self._line is line:
                self._line = None
                self._turn += 1
                if not self._is_closed:
                    self._kept = line
            line.is_left = True
            stream = line.stream
        if stream is not None:
            stream.cancel()
        self._close_unused(line)

    def close(self) -> None:
        """Take no more calls; what is under way ends as it may."""
        with self._lock:
            self._is_closed = True
            line = self._line
            kept, self._kept = self._kept, None
        if line is not None:
            self.leave(line)
        if kept is not None:
            self._close_unused(kept)

    def _close_unused(self, line: Line) -> None:
        if line.is_left and not line.users and line is not self._kept:
            self.source.close(line.channel)


def _leak() -> None:
    # A channel whose threads did not come along must not be closed, which waits for them; nor must garbage collection.
    _leaked.extend(_all_lines)


os.register_at_fork(after_in_child=_leak)
