"""Watches: ZooKeeper tells of one change of a node, once; here they are set again each time.

Everything below runs in kazoo's own threads or in the caller's, and none of it waits: a request is handed to kazoo,
and what follows from its answer is done when that comes. A watch is set again *before* anybody is woken, on the
connection that whoever is woken reads on. So what happens after his look is told again.

A lost connection takes all watches with it. After the next one, all are set anew, and everybody is woken once when
his own stand. A pointer that moves to another life does the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial

from leaderlock.backend import Wake, signal_safe
from leaderlock.watching import Watch, wake_all
from leaderlock_zookeeper._kazoo import Event, Result, exceptions
from leaderlock_zookeeper._link import Link
from leaderlock_zookeeper._paths import Layout, is_life

__all__ = ["Watches"]

_LOST = "NONE"


class _Watch(Watch[str]):
    """A wish, and which of its keys nobody would tell us of yet."""

    __slots__ = ("waiting",)

    def __init__(self, keys: frozenset[str], wake: Wake) -> None:
        super().__init__(keys, wake)
        self.waiting = set(keys)


class _Node:
    """One key, and how far its watch at the server has come."""

    __slots__ = ("asked", "key", "stands", "watches")

    def __init__(self, key: str) -> None:
        self.key = key
        self.watches: set[_Watch] = set()
        self.asked = False
        self.stands = False


class Watches:
    """All watches of one backend. An epoch is a connection and a life; what was set in an earlier one is void."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout
        self._lock = signal_safe(threading.Lock())
        self._nodes: dict[str, _Node] = {}
        self._epoch = 0
        self._life: str | None = None
        self._is_looking = False
        link.on_connected = self._begin_epoch

    def add(self, keys: frozenset[str], wake: Wake) -> Callable[[], None]:
        """Wake ``wake`` when one of ``keys`` may have changed; returns what stops that."""
        self._link.begin()  # first: where that fails, nobody would ever stop the watch
        watch = _Watch(keys, wake)
        with self._lock:
            nodes = [self._nodes.setdefault(key, _Node(key)) for key in sorted(keys)]
            for node in nodes:
                node.watches.add(watch)
                if node.stands:
                    watch.waiting.discard(node.key)
        self._look()
        self._set(nodes)
        return partial(self._remove, watch)

    def close(self) -> None:
        """Forget them all; what is still to come from the server is met by nobody."""
        with self._lock:
            self._epoch += 1
            self._life = None
            for node in self._nodes.values():
                for watch in node.watches:
                    watch.is_stopped = True
            self._nodes.clear()

    def _remove(self, watch: _Watch) -> None:
        # In a forked child, a thread that no longer exists may hold the lock.
        if not self._link.is_ours:
            return
        with self._lock:
            watch.is_stopped = True
            for key in watch.keys:
                node = self._nodes.get(key)
                if node is not None:
                    node.watches.discard(watch)
                    # One that is set stays until it fires: a new wish for the same key will find it.
                    if not node.watches and not node.asked:
                        del self._nodes[key]

    def _begin_epoch(self) -> None:
        with self._lock:
            self._epoch += 1
            self._life = None
            self._is_looking = False
            for node in [*self._nodes.values()]:
                node.asked = node.stands = False
                for watch in node.watches:
                    watch.waiting.add(node.key)
                if not node.watches:
                    del self._nodes[node.key]
        self._look()

    def _look(self) -> None:
        """Ask which life is the current one, and to be told when that changes; once an epoch."""
        with self._lock:
            if self._is_looking or not self._nodes:
                return
            self._is_looking = True
            epoch = self._epoch
        try:
            client = self._link.now()
            client.exists_async(self._layout.pointer, watch=partial(self._on_pointer, epoch))
            client.get_async(self._layout.pointer).rawlink(partial(self._found, epoch))
        except exceptions.KazooException:
            with self._lock:
                if epoch == self._epoch:
                    self._is_looking = False

    def _on_pointer(self, epoch: int, event: Event) -> None:
        if event.type != _LOST and epoch == self._epoch:
            self._begin_epoch()

    def _found(self, epoch: int, result: Result) -> None:
        # Where there is no pointer yet, the watch on it will tell.
        if result.exception is not None:
            return
        life = (result.get()[0] or b"").decode(errors="replace")
        with self._lock:
            if epoch != self._epoch or not is_life(life):
                return
            self._life = life
            nodes = [*self._nodes.values()]
        self._set(nodes)

    def _set(self, nodes: Iterable[_Node]) -> None:
        for node in nodes:
            with self._lock:
                life, epoch = self._life, self._epoch
                if life is None:
                    return
                if node.asked:
                    continue
                node.asked = True
            path = self._layout.register(life, node.key)
            try:
                result = self._link.now().exists_async(path, watch=partial(self._on_change, node, epoch))
            except exceptions.KazooException:
                return  # the next connection sets them all
            result.rawlink(partial(self._stands, node, epoch))

    def _stands(self, node: _Node, epoch: int, result: Result) -> None:
        with self._lock:
            if epoch != self._epoch or result.exception is not None:
                return
            node.stands = True
            complete = [watch for watch in node.watches if node.key in watch.waiting]
            for watch in complete:
                watch.waiting.discard(node.key)
            complete = [watch for watch in complete if not watch.waiting]
        wake_all(complete)

    def _on_change(self, node: _Node, epoch: int, event: Event) -> None:
        if event.type == _LOST:
            return
        with self._lock:
            watches = [*node.watches]
            if epoch == self._epoch:
                node.asked = node.stands = False
                if not watches and self._nodes.get(node.key) is node:
                    del self._nodes[node.key]
        if watches:
            if epoch == self._epoch:
                self._set([node])
            wake_all(watches)
