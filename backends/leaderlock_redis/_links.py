"""Connections: made with the client library's settings, checked once, lent to one thread at a time."""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

from leaderlock.errors import BackendError, BackendRefused, BackendUnavailable, OutcomeUnknown, UsageError
from leaderlock_redis._durability import Durability, check_server, facts_of
from leaderlock_redis._errors import connecting_failed, refusal
from leaderlock_redis._masters import Master
from leaderlock_redis._scripts import CHECK
from leaderlock_redis._settings import Settings, greeting
from leaderlock_redis._wire import Garbled, Reply, ServerError, Wire, pack

__all__ = ["Link", "Links"]

_MOST_IDLE: Final = 4
_IDLE_FOR: Final = 60.0
"""Seconds after which an idle connection is not used again. A burst calls on the second and the third, which may have
been idle for hours; firewalls and balancers forget such connections after minutes, and tell nobody."""
_MOST_HOPS: Final = 8
_LEAVE: Final = ("READONLY ", "MOVED ", "ASK ", "CLUSTERDOWN ")
"""Errors of a server that no longer is the one to ask."""
_NOT_YET: Final = "it is a replica; who is the master now has yet to get about"

# What must be known to the whole process, as a fork is of the whole process.
_all: Final[weakref.WeakSet[Links]] = weakref.WeakSet()


class Link:
    """One connection to a server that has been found fit."""

    __slots__ = ("_connection", "has_waitaof", "idle_since", "settings", "wire")

    def __init__(self, connection: Any, settings: Settings) -> None:
        self._connection = connection
        self.settings = settings
        # There is no public way to the socket, in any version; both ends of our range have it under this name.
        self.wire = Wire(connection._sock)
        self.has_waitaof = False
        self.idle_since = time.monotonic()

    def close(self) -> None:
        """Close the connection, which also ends a wait on it in another thread."""
        self._connection.disconnect()


class Links:
    """Lends connections to the master. Nobody waits for one: where none is idle, another is made."""

    def __init__(self, master: Master, space: bytes, durability: Durability) -> None:
        self._master = master
        self.place = master.place
        self._space = space
        self._durability = durability
        # Its methods are atomic, so that no lock can be left behind by a fork or an interrupt.
        self._idle: deque[Link] = deque()
        self._gone = ""
        _all.add(self)

    def check(self) -> None:
        """Raise ``UsageError`` after :meth:`close`, and in a forked child."""
        if self._gone:
            raise UsageError(f"{self.place}: {self._gone}")

    def ask(self, requests: Sequence[bytes], timeout: float) -> list[Reply]:
        """A reply to each request. Errors that the server answers with are replies; all others are raised."""
        deadline = time.monotonic() + timeout
        while True:
            link = self.take(deadline)
            replies = self._ask(link, requests, deadline)
            if not self._master.follow(replies[0], link.settings):
                return replies

    def write(self, request: bytes, timeout: float) -> tuple[Reply, str]:
        """The reply to a request that writes, and what is missing of the durability it was to have."""
        deadline = time.monotonic() + timeout
        while True:
            link = self.take(deadline)
            reply, missing = self._write(link, request, deadline)
            # Who keeps the namespace no longer has done nothing; so this is no repetition.
            if not self._master.follow(reply, link.settings):
                return reply, missing

    def _write(self, link: Link, request: bytes, deadline: float) -> tuple[Reply, str]:
        # The server is to say "too few" while we still listen; it looks at its clock ten times a second.
        patience = b"%d" % max(1, (deadline - time.monotonic()) * 700)
        if self._durability.replicas:
            wanted = self._durability.replicas
            reply, count = self._ask(link, [request, pack(b"WAIT", b"%d" % wanted, patience)], deadline)
            is_kept = isinstance(count, int) and count >= wanted
            return reply, "" if is_kept else f"{count} of {wanted} replicas have it"
        if link.has_waitaof:
            reply, counts = self._ask(link, [request, pack(b"WAITAOF", b"1", b"0", patience)], deadline)
            is_kept = isinstance(counts, list) and counts[:1] == [1]
            return reply, "" if is_kept else f"it is not on the disk yet ({counts})"
        return self._ask(link, [request], deadline)[0], ""

    def _ask(self, link: Link, requests: Sequence[bytes], deadline: float) -> list[Reply]:
        try:
            replies = link.wire.ask(requests, deadline)
        except (OSError, Garbled) as error:
            link.close()
            # The idle ones stand since before, and lead to the same: each would cost a time-out of its own.
            self._close_idle()
            self._master.failed(link.settings)
            detail = str(error) or type(error).__name__
            raise OutcomeUnknown(f"{self.place}: the answer did not come ({detail}); look what is there") from error
        except BaseException:
            # An interrupt between sending and reading: the late answer must not be met by the next request.
            link.close()
            raise
        if isinstance(replies[0], ServerError) and str(replies[0]).startswith(_LEAVE):
            # The next connection may lead to the right one: a name or an address that has moved on.
            link.close()
            if self._master.can_move and str(replies[0]).startswith("READONLY "):
                self._master.failed(link.settings)
                raise BackendUnavailable(f"{self._shown(link.settings)}: {_NOT_YET} ({replies[0]})")
        else:
            self._give_back(link)
        return replies

    def has_moved(self, link: Link, deadline: float) -> bool:
        """Whether another server is the master now, as far as is known."""
        return self._master.has_moved(link.settings, deadline)

    def take(self, deadline: float) -> Link:
        """A connection to the master that was open a moment ago."""
        self.check()
        while True:
            try:
                link = self._idle.pop()
            except IndexError:
                return self.connect(deadline)
            is_old = time.monotonic() - link.idle_since > _IDLE_FOR
            if is_old or not link.wire.is_quiet() or self.has_moved(link, deadline):
                link.close()
                continue
            return link

    def _give_back(self, link: Link) -> None:
        if len(self._idle) >= _MOST_IDLE:
            link.close()
            return
        link.idle_since = time.monotonic()
        self._idle.append(link)
        # After the append, not before: a close meanwhile either finds the connection or is seen here.
        if self._gone:
            self._close_idle()

    def connect(self, deadline: float) -> Link:
        """A new connection, to a master that was found fit."""
        for _ in range(_MOST_HOPS):
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise BackendUnavailable(f"{self.place}: no time is left to send anything")
            settings = self._master.settings(deadline)
            try:
                link = self._connect(settings, deadline)
            except BaseException:
                self._master.failed(settings)
                raise
            if link is not None:
                return link
        raise BackendUnavailable(f"{self.place}: its nodes do not agree on who keeps this namespace; try again")

    def _connect(self, settings: Settings, deadline: float) -> Link | None:
        """``None`` where another server was named."""
        # Connecting and the first answer get half each: a server that is frozen accepts, and then is silent.
        patience = max(0.001, (deadline - time.monotonic()) / 2)
        with ExitStack() as otherwise:
            try:
                connection = settings.connection(patience)
                otherwise.callback(connection.disconnect)
                connection.connect()
                link = Link(connection, settings)
                for reply in link.wire.ask(greeting(connection), deadline):
                    if isinstance(reply, ServerError):
                        raise refusal(reply, self._shown(settings), wrote=False)
                if self._examine(link, deadline):
                    otherwise.pop_all()
                    return link
            except BackendError:
                raise
            except Exception as error:
                # Whatever the client library, a credential provider of the user's or the socket says: nothing was sent.
                # The library reads files of its own, too, and finds no descriptor where they have run out.
                raise connecting_failed(error, self._shown(settings)) from error
        return None

    def _shown(self, settings: Settings) -> str:
        return f"{self.place} (now {settings.place})" if self._master.can_move else self.place

    def _examine(self, link: Link, deadline: float) -> bool:
        """Whether it is the right server. Raises ``BackendError`` unless leases can be kept there by this user."""
        place = self._shown(link.settings)
        requests = [pack(b"INFO"), pack(b"EVAL", CHECK, b"1", self._space + b"\0check", self._space)]
        if self._durability.is_disk:
            # For nobody's copy, which answers at once: only whether it is known here, and whether we may.
            requests += [pack(b"CONFIG", b"GET", b"appendfsync"), pack(b"WAITAOF", b"0", b"0", b"1")]
        if self._durability.replicas:
            # For none, which answers at once: only whether we may.
            requests.append(pack(b"WAIT", b"0", b"1"))
        questions = self._master.questions()
        replies = link.wire.ask([*requests, *questions], deadline)
        self._master.learn(replies[len(requests) :], link.settings)
        del replies[len(requests) :]
        info = replies[0]
        if self._master.follow(replies[1], link.settings):
            return False
        if isinstance(info, bytes):
            facts = facts_of(info)
            if self._master.can_move and facts.get("role") not in (None, "master"):
                raise BackendUnavailable(f"{place}: {_NOT_YET}")
            check_server(facts, self._durability, place, is_in_cluster=self._master.is_in_cluster)
        if self._durability.is_disk:
            # One that does not know it, as before 7.2, syncs before it answers, under `appendfsync always`.
            link.has_waitaof = not _is_unknown(replies[-1])
            if not link.has_waitaof:
                del replies[-1]
        for reply in replies:
            if isinstance(reply, ServerError):
                raise refusal(reply, place, wrote=False)
        if self._durability.is_disk and replies[2] != [b"appendfsync", b"always"]:
            raise BackendRefused(
                f"{place}: durability='disk' needs `appendfsync always`, and it is {replies[2]!r}; set it,"
                " or leave durability out"
            )
        return True

    def close(self) -> None:
        """Close what is idle now, and what is in use as soon as it is given back. May be called twice."""
        self._gone = self._gone or "the backend is closed; open another"
        self._close_idle()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def after_fork_in_child(self) -> None:
        """Be of no use in the child. The library closes its copies of the sockets without ending the parent's."""
        self._gone = "the process was forked after this backend was opened; open another in the child"
        self._close_idle()


def _is_unknown(reply: Reply) -> bool:
    """Whether the server does not know such a command."""
    return isinstance(reply, ServerError) and str(reply).startswith("ERR unknown command")


def _after_fork_in_child() -> None:
    for links in list(_all):
        links.after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)
