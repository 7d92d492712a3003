"""The driver: registers are persistent nodes, swaps are writes that expect a version.

Everybody shares one connection, and kazoo numbers what is sent on it: an answer finds its own question, and one that
comes after its caller has gone (a time-out, Ctrl-C) finds nobody. So no interruption can leave a stale answer behind,
and the connection need not be thrown away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from leaderlock.backend import Answer, Backend, Seen, Traits, View, Wake, Write, check_count, check_writes, signal_safe
from leaderlock.errors import BackendUnavailable, MemoryGone
from leaderlock_zookeeper._errors import looking
from leaderlock_zookeeper._kazoo import Client, check_tls, digest_acl, is_client, new_client
from leaderlock_zookeeper._link import Link
from leaderlock_zookeeper._marks import Mark, Marks
from leaderlock_zookeeper._paths import Layout, is_life, unescape
from leaderlock_zookeeper._reads import Reads, seen_in, slices
from leaderlock_zookeeper._swaps import Swaps
from leaderlock_zookeeper._url import DEFAULT_ROOT, Place, check_root, place_of_url
from leaderlock_zookeeper._watches import Watches

if TYPE_CHECKING:
    from leaderlock.diagnosis import Finding

__all__ = ["ZooKeeperBackend", "from_client", "open_backend"]

_MAX_BATCH: Final = 500
_MAX_VALUE: Final = 512 << 10
"""Half of what servers take by default (jute.maxbuffer), since a follower adds to it before the leader gets it."""
_PAGE: Final = 100
_SESSION_SECONDS: Final = 4.0
"""The shortest session that servers grant by default. Nothing depends on it but how soon kazoo leaves a silent server,
after two thirds of it; and that all servers together have it to be connected to, once each."""
_RECONNECT: Final = {"max_tries": -1, "delay": 0.05, "backoff": 2, "max_delay": 0.5}
"""kazoo varies each pause by two fifths, so that none is longer than 0.7 s: they are time without a leader after an
outage. On average that is as often as ZooKeeper's own clients knock, which pause for up to a second."""


def open_backend(url: str, *, namespace: str, **options: object) -> ZooKeeperBackend:
    """A backend on the ensemble that ``url`` names. No server is asked before the first use."""
    place = place_of_url(url, options)
    if place.uses_tls:
        check_tls()
    link = Link(lambda: _client_of(place), place=str(place), is_lent=False, uses_tls=place.uses_tls)
    return ZooKeeperBackend(link, Layout(place.root, namespace))


def from_client(client: object, *, namespace: str = "default", root: str = DEFAULT_ROOT) -> ZooKeeperBackend:
    """A backend on the session of a ``kazoo.client.KazooClient`` that its owner starts and stops.

    ``root`` lies below the client's own chroot. New nodes get the client's ``default_acl``.
    """
    lent = cast(Client, client)
    if not is_client(client):
        raise TypeError(f"from_client takes a kazoo.client.KazooClient, not {type(client).__name__}")
    link = Link(lambda: lent, place="the client that was handed in", is_lent=True)
    return ZooKeeperBackend(link, Layout(check_root(root), namespace))


class ZooKeeperBackend(Backend):
    """Registers of one namespace in ZooKeeper. Made by :func:`open_backend` and :func:`from_client`."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout
        self._marks = Marks(link, layout)
        self._reads = Reads(link)
        self._swaps = Swaps(link, layout, self._reads)
        self._watches = Watches(link, layout)
        self._lock = signal_safe(threading.Lock())
        self._life: str | None = None
        self._gone: set[str] = set()
        self._floor = 0
        self._traits = Traits(
            store="zookeeper",
            durability="disk",
            keeps_memory=True,
            pushes=True,
            max_batch=_MAX_BATCH,
            max_value=_MAX_VALUE,
        )

    @property
    def traits(self) -> Traits:
        return self._traits

    def read(self, keys: Collection[str], *, timeout: float) -> View:
        wanted = list(keys)
        check_count(self._traits, len(wanted))
        deadline = time.monotonic() + timeout
        while True:
            life = self._life or self._marks.find(deadline, least=self._floor + 1)
            if life in self._gone:
                raise BackendUnavailable(
                    f"{self._link.place}: this server lags behind what another has shown; read again"
                )
            seen, mark, zxid = self._look(life, wanted, deadline)
            self._note(life, is_gone=mark is None)
            if mark is None:
                continue
            floor = mark.floor(zxid)
            if floor is not None:
                return View(seen, self._risen(floor), life)
            self._marks.rewrite(life, mark, deadline)

    def swap(self, writes: Sequence[Write], memory: str, *, timeout: float) -> list[Answer]:
        check_writes(self._traits, writes)
        self._link.check()
        if not is_life(memory):
            raise MemoryGone(f"{memory[:40]!r} is no memory of this store's; nothing was written")
        return self._swaps.swap(writes, memory, time.monotonic() + timeout)

    def scan(self, prefix: str, *, timeout: float) -> Iterator[tuple[str, Seen]]:
        self._link.check()
        return self._pages(prefix, timeout)

    def watch(self, keys: Collection[str], wake: Wake) -> Callable[[], None]:
        self._link.check()
        return self._watches.add(frozenset(keys), wake)

    def diagnose(self, *, timeout: float) -> Sequence[Finding]:
        """What the ensemble is like; see :class:`leaderlock.diagnosis.Diagnoses`."""
        from leaderlock_zookeeper._doctor import examine

        return examine(self._link, self._layout, timeout)

    def close(self) -> None:
        if self._link.is_ours:
            self._watches.close()
            self._link.close()

    def _look(self, life: str, keys: Sequence[str], deadline: float) -> tuple[dict[str, Seen], Mark | None, int]:
        """The registers, the mark (``None``: that life is gone), and a zxid no older than them."""
        client = self._link.ready(deadline)
        session = client.client_id
        # The mark is asked for last: where it still stands, everything before it was read in its life.
        paths = [*(self._layout.register(life, key) for key in keys), self._layout.life(life)]
        with looking(self._link.place):
            *registers, marked = self._reads.nodes(paths, deadline)
        seen = {key: seen_in(register) for key, register in zip(keys, registers, strict=True)}
        if marked is None:
            return seen, None, 0
        zxid = client.last_zxid
        # kazoo forgets the zxid when a session ends, and the next server may lag behind: then this one is of another
        # session. Its number is taken away before the zxid is, so that looking at it afterwards is enough.
        if session is None or client.client_id != session:
            raise BackendUnavailable(f"{self._link.place}: the session ended during a read; read again")
        return seen, Mark.of(marked), zxid

    def _note(self, life: str, *, is_gone: bool) -> None:
        """Remember the current life. What was seen to go never is it again, though a slow thread says that it stood."""
        with self._lock:
            if is_gone:
                self._gone.add(life)
            if life not in self._gone:
                self._life = life
            elif self._life == life:
                self._life = None

    def _risen(self, floor: int) -> int:
        """The floor, or the greatest this client has seen: another server may lag behind the last one."""
        with self._lock:
            self._floor = max(self._floor, floor)
            return self._floor

    def _pages(self, prefix: str, timeout: float) -> Iterator[tuple[str, Seen]]:
        life = self.read((), timeout=timeout).memory
        directories = [f"{self._layout.life(life)}/{name}" for name in self._names([self._layout.life(life)], timeout)]
        for some in slices(directories, _PAGE):
            keys = [key for key in map(unescape, self._names(some, timeout)) if key.startswith(prefix)]
            for page in slices(keys, _PAGE):
                yield from self._registers(life, page, timeout)

    def _names(self, paths: Sequence[str], timeout: float) -> list[str]:
        deadline = time.monotonic() + timeout
        self._link.ready(deadline)
        with looking(self._link.place):
            return [name for names in self._reads.children(paths, deadline) for name in names or ()]

    def _registers(self, life: str, keys: Sequence[str], timeout: float) -> list[tuple[str, Seen]]:
        deadline = time.monotonic() + timeout
        self._link.ready(deadline)
        with looking(self._link.place):
            nodes = self._reads.nodes([self._layout.register(life, key) for key in keys], deadline)
        return [(key, seen_in(node)) for key, node in zip(keys, nodes, strict=True) if node is not None]


def _client_of(place: Place) -> Client:
    settings: dict[str, Any] = {"timeout": _SESSION_SECONDS}
    if place.user:
        settings["auth_data"] = [("digest", f"{place.user}:{place.password}")]
        settings["default_acl"] = [digest_acl(place.user, place.password)]
    if place.uses_tls:
        settings.update(place.tls, use_ssl=True, verify_certs=True, check_hostname=True)
    return new_client(place.hosts, reconnect=_RECONNECT, **settings)
