"""The master of a name, as Redis Sentinel knows it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from leaderlock.errors import BackendError, BackendRefused, BackendUnavailable
from leaderlock_redis._errors import connecting_failed, refusal
from leaderlock_redis._masters import Master
from leaderlock_redis._settings import Address, Settings, greeting
from leaderlock_redis._wire import Garbled, Reply, ServerError, Wire, pack

__all__ = ["BySentinel"]

_ASK_AGAIN: Final = 1.0
"""Seconds for which Sentinel's last word is believed. A renewal comes every ttl/3, so that nearly each one asks."""
_ONE_ANSWER: Final = 0.3
"""Seconds that one Sentinel has for its answer at least, as long as there are others, or none is needed."""
_ONE_FAR_AWAY: Final = 1.2
"""The most that it has: an answer takes two round trips, and those between continents take a third of a second."""
_LEFT_ALONE: Final = 10.0
"""Seconds for which a Sentinel that did not answer is asked after all others."""
_TOLD_TO_ALL: Final = 10.0
"""Seconds after which each Sentinel knows what one has said: they tell each other every two."""


class BySentinel(Master):
    """Asks one Sentinel after the other.

    After a failover an old master may go on answering on connections that stand. So Sentinel is asked for each new
    connection, and again before an old one is used, at most once a second: each time another Sentinel, as one that is
    cut off from the rest knows only what was. What is older than what was heard before is not believed, until most of
    them still say so when all must have heard: then they have been set up anew, and count from zero.
    """

    can_move = True

    def __init__(self, name: str, settings: Settings, sentinels: Sequence[Settings], *, forced_host: str = "") -> None:
        self._name = name
        self._settings = settings
        self._sentinels = tuple(sentinels)
        self._forced_host = forced_host
        self._turn = 0
        self._epoch = -1
        self._silent_until = dict.fromkeys(self._sentinels, 0.0)
        self._patience = _ONE_ANSWER
        self._asked_at = float("-inf")
        self._address: Address | None = None
        self._heard_at = float("-inf")
        """When a Sentinel last said what was believed."""

    @property
    def place(self) -> str:
        hosts = ",".join(one.place.partition("://")[2].partition("/")[0] for one in self._sentinels)
        return f"{self._settings.scheme}+sentinel://{hosts}/{self._name}/{self._settings.database}"

    def settings(self, deadline: float) -> Settings:
        self._ask(deadline, is_needed=True)
        assert self._address is not None
        return self._settings.at(self._address)

    def has_moved(self, settings: Settings, deadline: float) -> bool:
        if time.monotonic() - self._asked_at > _ASK_AGAIN:
            try:
                self._ask(deadline, is_needed=False)
            except BackendError:
                # A master that answers is worth more than Sentinels that do not.
                self._asked_at = time.monotonic()
        return settings.address != self._address

    def failed(self, settings: Settings) -> None:
        self._asked_at = float("-inf")

    def _order(self, *, is_needed: bool) -> Sequence[Settings]:
        """Whom to ask, one after the other; of those that did not answer just now one, unless the answer is needed."""
        self._turn += 1
        first = self._turn % len(self._sentinels)
        in_turn = self._sentinels[first:] + self._sentinels[:first]
        now = time.monotonic()
        answering = [one for one in in_turn if self._silent_until[one] <= now]
        silent = [one for one in in_turn if self._silent_until[one] > now]
        return answering + silent if is_needed else answering or silent[:1]

    def _ask(self, deadline: float, *, is_needed: bool) -> None:
        """Learn from the next Sentinel that answers where the master is."""
        order = self._order(is_needed=is_needed)
        troubles: list[str] = []
        unknown = 0
        lower: list[tuple[int, Address]] = []
        for sentinel in order:
            remaining = deadline - time.monotonic()
            # The master must be reached in what is left.
            if remaining <= 0:
                break
            is_last_hope = is_needed and sentinel is order[-1]
            patience = remaining / 2 if is_last_hope else min(self._patience, remaining / 2)
            began = time.monotonic()
            try:
                found = _asked(sentinel, self._name, patience)
            except BackendError as error:
                self._silent_until[sentinel] = time.monotonic() + _LEFT_ALONE
                troubles.append(str(error))
                continue
            self._silent_until[sentinel] = 0.0
            # The way to one is much like that to the others, and to itself the next time.
            self._patience = min(max(_ONE_ANSWER, 2 * (time.monotonic() - began)), _ONE_FAR_AWAY)
            if found is None:
                unknown += 1
                continue
            epoch, address = found
            if epoch >= self._epoch:
                self._believe(epoch, address)
                return
            lower.append(found)
        if len(lower) > len(self._sentinels) // 2 and time.monotonic() - self._heard_at > _TOLD_TO_ALL:
            # No more than a client that has just come would believe; the replication id says what the master is worth.
            self._believe(*max(lower))
            return
        if unknown and not troubles and self._address is None:
            raise BackendRefused(
                f"{self.place}: the Sentinels watch no master of the name {self._name!r}; use the one that stands in"
                " their settings after `sentinel monitor`"
            )
        if len(troubles) == len(order):
            # They may be alive and far away: to take them for dead would be to stay with an old master for good.
            self._patience = _ONE_FAR_AWAY
        raise BackendUnavailable(
            f"{self.place}: no Sentinel says where the master is ({'; '.join(troubles) or 'they have not heard yet'})"
        )

    def _believe(self, epoch: int, address: Address) -> None:
        self._epoch, self._address = epoch, (self._forced_host or address[0], address[1])
        self._asked_at = self._heard_at = time.monotonic()


def _asked(sentinel: Settings, name: str, timeout: float) -> tuple[int, Address] | None:
    """The epoch and the address that a Sentinel tells; ``None``: it knows no such master."""
    deadline = time.monotonic() + timeout
    requests = [pack(b"SENTINEL", word, name.encode()) for word in (b"GET-MASTER-ADDR-BY-NAME", b"MASTER")]
    with ExitStack() as afterwards:
        try:
            # In here, too: the library reads a file of its own for it.
            connection: Any = sentinel.connection(timeout)
            afterwards.callback(connection.disconnect)
            connection.connect()
            *greeted, address, facts = Wire(connection._sock).ask([*greeting(connection), *requests], deadline)
        except (OSError, Garbled) as error:
            raise BackendUnavailable(f"{sentinel.place}: {str(error) or type(error).__name__}") from error
        except Exception as error:
            # Whatever the client library says while it connects.
            raise connecting_failed(error, sentinel.place) from error
    for reply in (*greeted, address, facts):
        if isinstance(reply, ServerError) and "No such master" not in str(reply):
            raise refusal(reply, sentinel.place, wrote=False)
    match address, facts:
        case [bytes(host), bytes(port)], [*told]:
            epoch: Reply = dict(zip(told[::2], told[1::2], strict=False)).get(b"config-epoch", 0)
            return int(epoch), (host.decode(), int(port))
        case _:
            return None
