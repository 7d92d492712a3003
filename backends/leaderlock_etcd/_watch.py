"""Wake-ups: one watch stream for all keys of the namespace, read by one thread.

It watches from now on. What it may have missed before (a server left, a login refused) is told by waking everybody
once, as soon as the stream stands.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Final

from leaderlock.backend import ABSENT, Seen, View, signal_safe
from leaderlock.knowledge import Knowledge
from leaderlock.watching import Listener, Waker
from leaderlock_etcd._caller import Login
from leaderlock_etcd._errors import is_about_token
from leaderlock_etcd._grpc import CallFailed, Stream, open_stream
from leaderlock_etcd._lines import Line, Lines
from leaderlock_etcd._marks import Known
from leaderlock_etcd._messages import WATCH, Change, watch_answer, watch_request
from leaderlock_etcd._space import Space

__all__ = ["Watcher"]

_LOGIN_TIMEOUT: Final = 2.0
_PAUSES: Final = (0.02, 0.1, 0.5, 1.0)
# A member that is cut off from the others would keep the stream open in silence; so it ends it.
_WITH_LEADER: Final = (("hasleader", "true"),)


class Watcher(Listener[bytes]):
    """Reads the stream, and opens another when it has ended."""

    def __init__(self, lines: Lines, login: Login, space: Space, knowledge: Knowledge[Known]) -> None:
        self._lines = lines
        self._login = login
        self._space = space
        self._knowledge = knowledge
        self._since = 0
        """The revision since when the stream has told of no other birth mark."""
        self._lock = signal_safe(threading.Lock())
        self._ended = threading.Event()
        self._stream: Stream | None = None

    def end(self) -> None:
        self._ended.set()
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.cancel()

    def listen(self, wake: Waker[bytes]) -> None:
        failures = 0
        while not self._ended.is_set():
            began = time.monotonic()
            # Protects all watches from what may be wrong for a while only: a certificate that cannot be read, a client
            # handed in that raises; and from the backend's being closed just now.
            with contextlib.suppress(Exception):
                self._watch_once(wake)
            # Back to short pauses once a stream lasted.
            failures = 0 if time.monotonic() - began > _PAUSES[-1] else failures + 1
            self._ended.wait(_PAUSES[min(failures, len(_PAUSES) - 1)])

    def _watch_once(self, wake: Waker[bytes]) -> None:
        """Watch on the line of the moment until the stream ends."""
        line = self._lines.take()
        requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            requests.put(watch_request(*self._space.range("")))
            metadata = (*self._login.metadata(line.channel, time.monotonic() + _LOGIN_TIMEOUT), *_WITH_LEADER)
            # Left open on our side: a proxy may take the end of our messages for the end of the watch.
            stream = open_stream(line.channel, WATCH, iter(requests.get, None), metadata=metadata)
            try:
                if self._stands_on(line, stream):
                    self._read(iter(stream), wake)
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

    def _read(self, messages: Iterator[bytes], wake: Waker[bytes]) -> None:
        for message in messages:
            answer = watch_answer(message)
            if answer.is_canceled:
                # Refused: most likely the token is no longer known. Ask for another before the next attempt.
                self._login.forget()
                return
            keys = [change.key for change in answer.changes]
            if answer.is_created or self._space.mark in keys:
                # Another birth mark is another memory: everything may have changed.
                self._since = answer.revision
                wake(None)
            else:
                wake(keys, self._view(answer.changes))

    def _view(self, changes: Sequence[Change]) -> View | None:
        """What these changes left, if it is known in which memory that was.

        Since ``_since`` the stream has told of no other birth mark. So it was the one that an answer has shown between
        then and now.
        """
        known = self._knowledge.newest
        revision = min((change.revision for change in changes), default=0)
        if known is None or not self._since <= known.revision <= revision:
            return None
        seen = {self._space.name(key): Seen(value, ABSENT if value is None else stamp) for key, value, stamp in changes}
        return View(seen, Known(known.memory, revision).floor, known.memory)
