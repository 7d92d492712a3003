"""The one session with ZooKeeper: our own, begun at the first use, or that of a client that was handed in.

Nothing of safety hangs on the session: no ephemeral node is used, and when it expires another takes its place.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Final

from leaderlock.backend import signal_safe
from leaderlock.errors import BackendRefused, BackendUnavailable, UsageError
from leaderlock_zookeeper._kazoo import Client, end, exceptions, hang_up, oldest_request, patience, start

__all__ = ["Link", "left"]

_CONNECTED: Final = "CONNECTED"
_AUTH_FAILED: Final = "AUTH_FAILED"
_ENDED: Final = ("CLOSED", _AUTH_FAILED)
_STARTING: Final = 1.0
"""A client says CLOSED before its thread has begun, too; one that still says so after this time has ended."""
_CLOSE_PATIENCE: Final = 1.0
"""Stopping a client takes as long as a silent server's session; nobody should have to wait for that to exit."""


class Link:
    """Gives out a connected client, or says in time that there is none."""

    def __init__(self, make: Callable[[], Client], *, place: str, is_lent: bool, uses_tls: bool = False) -> None:
        self._make = make
        self._uses_tls = uses_tls
        self.place = place
        self._is_lent = is_lent
        self._lock = signal_safe(threading.Lock())
        self._ready = threading.Event()
        self._client: Client | None = None
        self._listener: Callable[[str], bool | None] | None = None
        self._made_at = 0.0
        self._was_denied = False
        self._is_closed = False
        self._oldest: tuple[object | None, float] = None, 0.0
        self._pid = os.getpid()
        self.on_connected: Callable[[], None] = lambda: None
        """Called from kazoo's own thread at each new connection; must not block."""

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that opened it."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise ``UsageError`` after :meth:`close`, and in a forked child, where kazoo's threads do not exist."""
        if not self.is_ours:
            raise UsageError("the process was forked after this backend was opened; open another in the child")
        if self._is_closed:
            raise UsageError("the backend is closed; open another")

    @property
    def client(self) -> Client | None:
        """The client, connected or not; ``None`` before :meth:`begin`."""
        return self._client

    def begin(self) -> None:
        """See that a client of ours is under way; takes no time."""
        self.check()
        if self._client is None:
            with self._lock:
                self.check()
                if self._client is None:
                    self._begin()

    def ready(self, deadline: float) -> Client:
        """The client, connected. What is raised here was never sent."""
        self.begin()
        client = self._client
        is_ready = self._ready.is_set() or self._ready.wait(left(deadline))
        if self._was_denied:
            self._drop(client)
            raise BackendRefused(f"{self.place}: the credentials were not accepted; mend them, then try again")
        # Another one, or none: it was closed meanwhile, or done away with by another thread.
        if client is None or client is not self._client or not is_ready:
            self.check()
            raise BackendUnavailable(self._why_not(client))
        return client

    def now(self) -> Client:
        """The client, if it is connected; else ``ConnectionLoss``, as kazoo itself would say a moment later.

        A server that has fallen silent is left here. Asked before every single request, since kazoo counts requests in
        a socket that nobody empties while the connection is away: some 280 of them fill it, and the next one blocks for
        as long as that lasts.
        """
        client = self._client
        if client is None or not self._ready.is_set():
            raise exceptions.ConnectionLoss("the connection went away")
        if self._is_silent(client):
            hang_up(client)
            raise exceptions.ConnectionLoss("the server has fallen silent")
        return client

    def wait(self, deadline: float) -> None:
        """Until kazoo is connected; like :meth:`now`, it raises what kazoo would where something was sent before."""
        if not self._ready.wait(left(deadline)) or self._client is None:
            raise exceptions.ConnectionLoss("the connection went away")

    def close(self) -> None:
        """End our own client; of a lent one, only the listening."""
        with self._lock:
            if self._is_closed or not self.is_ours:
                return
            self._is_closed = True
            client, self._client = self._client, None
        self._ready.set()  # lets go whoever waits
        if client is not None:
            self._end(client)

    def _is_silent(self, client: Client) -> bool:
        """Whether one request has been the oldest for as long as kazoo lets a ping go unanswered.

        kazoo takes whatever is sent for a ping: while something is sent every second it sends none, misses no answer,
        and would never leave a server that is silent.
        """
        request, seen_at = self._oldest
        oldest, now = oldest_request(client), time.monotonic()
        if oldest is not request:
            self._oldest = oldest, now
            return False
        return oldest is not None and now - seen_at > patience(client)

    def _begin(self) -> None:
        try:
            self._make_one()
        except (OSError, RuntimeError) as error:
            self._client = None
            raise BackendUnavailable(f"{self.place}: no client can be started now ({error})") from error

    def _make_one(self) -> None:
        client = self._make()

        def listen(state: str) -> bool | None:
            return self._hear(client, state)

        self._client, self._listener, self._made_at = client, listen, time.monotonic()
        self._was_denied = False
        self._ready.clear()
        client.add_listener(listen)
        if self._is_lent:
            if client.connected:
                self._hear(client, _CONNECTED)
        else:
            start(client)

    def _hear(self, client: Client, state: str) -> bool | None:
        # Runs in the thread that carries the connection.
        if client is not self._client:
            return True  # which takes the listener off
        if state == _CONNECTED:
            self._ready.set()
            self.on_connected()
            return None
        self._ready.clear()
        self._was_denied = not self._is_lent and client.client_state == _AUTH_FAILED
        if self._was_denied:
            self._ready.set()
        return None

    def _why_not(self, client: Client | None) -> str:
        if client is None:
            return f"{self.place}: there is no client"
        state = client.client_state
        if state in _ENDED and self._is_lent:
            return f"{self.place}: the client that was handed in is {state.lower()}; start it"
        if state in _ENDED and time.monotonic() - self._made_at > _STARTING:
            # kazoo's thread ends for good when it meets what it did not expect, such as a server of another kind.
            self._drop(client)
        # kazoo keeps the reason to itself, and tries again.
        return f"{self.place}: no ZooKeeper server could be reached in time; is it one, {self._doubts}has it a quorum?"

    @property
    def _doubts(self) -> str:
        if not self._uses_tls:
            return "does it want TLS (?tls=true), "
        return (
            "does its port speak TLS, are its certificate's dates and names right, has ca= who signed it, does it want"
            " one of ours (certfile=, keyfile=), "
        )

    def _drop(self, client: Client | None) -> None:
        """Do away with a client of ours that has ended; the next call makes another."""
        with self._lock:
            if client is None or client is not self._client or self._is_lent:
                return
            self._client = None
            self._was_denied = False
            self._ready.clear()
        self._end(client)

    def _end(self, client: Client) -> None:
        if self._listener is not None:
            client.remove_listener(self._listener)
        if self._is_lent:
            return
        # A thread, since stopping waits for the server without a time-out, and for the thread that may be calling.
        ending = threading.Thread(target=end, args=(client,), name="leaderlock-zookeeper-close", daemon=True)
        ending.start()
        ending.join(_CLOSE_PATIENCE)


def left(deadline: float) -> float:
    """Seconds until then; none less than zero."""
    return max(0.0, deadline - time.monotonic())
