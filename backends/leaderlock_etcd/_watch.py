"""Wake-ups: one watch stream for all keys of the namespace, read by one thread.

It resumes after the last revision that it heard of. What it may have missed in between (a server left, a history
compacted) is told by waking everybody once, as soon as the stream stands again.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from typing import Final

from leaderlock._thread import OwnThread
from leaderlock_etcd._caller import Login
from leaderlock_etcd._errors import is_about_token
from leaderlock_etcd._grpc import CallFailed, Stream, open_stream
from leaderlock_etcd._lines import Line, Lines
from leaderlock_etcd._messages import WATCH, WatchAnswer, watch_answer, watch_request

__all__ = ["Watcher"]

_LOGIN_TIMEOUT: Final = 2.0
_END_PATIENCE: Final = 2.0
_PAUSES: Final = (0.02, 0.1, 0.5, 1.0)
# A member that is cut off from the others would keep the stream open in silence; so it ends it.
_WITH_LEADER: Final = (("hasleader", "true"),)


class _Watch:
    """One caller's wish to be woken; compared by identity."""

    __slots__ = ("is_stopped", "keys", "wake")

    def __init__(self, keys: frozenset[bytes], wake: Callable[[], None]) -> None:
        self.keys = keys
        self.wake = wake
        self.is_stopped = False


class Watcher:
    """The thread that reads the stream. It lives from the first watch until the backend is closed."""

    def __init__(self, lines: Lines, login: Login, first: bytes, end: bytes, mark: bytes) -> None:
        self._lines = lines
        self._login = login
        self._range = first, end
        self._mark = mark
        self._next = 0
        self._lock = threading.Lock()
        self._by_key: dict[bytes, set[_Watch]] = {}
        self._ended = threading.Event()
        self._stream: Stream | None = None
        self._thread = OwnThread("etcd-watch", self._run)
        try:
            self._thread.start()
        except BaseException:
            # Ctrl-C meanwhile: it may run already, and nobody is going to hold this watcher and end it.
            self._ended.set()
            raise

    def add(self, keys: Collection[bytes], wake: Callable[[], None]) -> Callable[[], None]:
        """Wake ``wake`` on a change of ``keys``; returns what stops that."""
        watch = _Watch(frozenset(keys), wake)
        with self._lock:
            for key in watch.keys:
                self._by_key.setdefault(key, set()).add(watch)
        return functools.partial(self._remove, watch)

    def end(self) -> None:
        """End the thread, and wait a moment for it unless it is the caller's own."""
        self._ended.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.cancel()
        self._thread.join(_END_PATIENCE)

    def _remove(self, watch: _Watch) -> None:
        # In a forked child there is nothing to wake, and a lock that nobody may ever free.
        if self._lines.is_inherited:
            return
        with self._lock:
            if watch.is_stopped:
                return
            watch.is_stopped = True
            for key in watch.keys:
                waiting = self._by_key[key]
                waiting.discard(watch)
                if not waiting:
                    del self._by_key[key]

    def _run(self) -> None:
        failures = 0
        while not self._ended.is_set():
            began = time.monotonic()
            # Protects all watches from what may be wrong for a while only: a certificate that cannot be read, a client
            # handed in that raises; and from the backend's being closed just now.
            with contextlib.suppress(Exception):
                self._watch_once()
            # Back to short pauses once a stream lasted.
            failures = 0 if time.monotonic() - began > _PAUSES[-1] else failures + 1
            self._ended.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])

    def _watch_once(self) -> None:
        """Watch on the line of the moment until the stream ends."""
        line = self._lines.take()
        requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            requests.put(watch_request(*self._range, self._next))
            metadata = (*self._login.metadata(line, time.monotonic() + _LOGIN_TIMEOUT), *_WITH_LEADER)
            # Left open on our side: a proxy may take the end of our messages for the end of the watch.
            stream = open_stream(line.channel, WATCH, iter(requests.get, None), metadata=metadata)
            try:
                if self._stands_on(line, stream):
                    self._read(iter(stream))
            finally:
                self._let_go(line, stream)
        except CallFailed as failed:
            if is_about_token(failed):
                self._login.forget()
            self._lines.leave(line)
        except ValueError:
            # Not etcd's messages: another server may know better.
            self._lines.leave(line)
        finally:
            requests.put(None)
            self._lines.give_back(line)

    def _stands_on(self, line: Line, stream: Stream) -> bool:
        with self._lock:
            line.stream = self._stream = stream
        # Looked at after the stream can be found: who leaves the line, or ends us, later than this cancels it.
        return not line.is_left and not self._ended.is_set()

    def _let_go(self, line: Line, stream: Stream) -> None:
        with self._lock:
            line.stream = self._stream = None
        stream.cancel()

    def _read(self, messages: Iterator[bytes]) -> None:
        for message in messages:
            answer = watch_answer(message)
            if answer.is_canceled:
                self._start_over(answer)
                return
            if answer.is_created and answer.revision + 1 < self._next:
                # The store went back (wiped, a snapshot restored): what we wait for would be years away.
                self._next = 0
                return
            self._next = max(self._next, answer.revision + 1)
            self._wake(None if answer.is_created else answer.keys)

    def _start_over(self, answer: WatchAnswer) -> None:
        if answer.compacted:
            self._next = 0
        else:
            # Refused: most likely the token is no longer known. Ask for another before the next attempt.
            self._login.forget()

    def _wake(self, keys: Collection[bytes] | None) -> None:
        with self._lock:
            # Another birth mark is another memory: everything may have changed.
            is_for_all = keys is None or self._mark in keys
            groups = self._by_key.values() if is_for_all else [self._by_key.get(key, set()) for key in keys or ()]
            waiting = {watch for group in groups for watch in group}
        # Outside of the lock: a wake may stop its own watch, or add one.
        for watch in waiting:
            if watch.is_stopped or self._ended.is_set():
                continue
            # Protects the other watchers from a wake that raises, which it has promised not to.
            with contextlib.suppress(Exception):
                watch.wake()
