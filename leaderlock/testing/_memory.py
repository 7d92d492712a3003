"""A store in this process's memory: for tests, and for whoever wants to see a store's worst days on demand."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from leaderlock._clock import Clock, SteadyClock
from leaderlock._locks import signal_safe
from leaderlock.backend import (
    ABSENT,
    Answer,
    Backend,
    Conflict,
    Seen,
    Swapped,
    Traits,
    View,
    Wake,
    Write,
    check_count,
    check_writes,
)
from leaderlock.errors import MemoryGone, UsageError

__all__ = ["MemoryBackend", "MemoryStore", "Snapshot", "open_backend"]

_NOTHING: Final = Seen(None, ABSENT)
_MAX_BATCH: Final = 10_000
_MAX_VALUE: Final = 1 << 20

_NAMED: Final[dict[tuple[int, str], MemoryStore]] = {}
"""The stores that ``memory:NAME`` names, of this process alone: a forked child has another pid, and starts afresh."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a :class:`MemoryStore` held at one moment, to roll it back to."""

    spaces: Mapping[str, Mapping[str, Seen]]
    revision: int


@dataclass(slots=True, eq=False)
class _Watch:
    keys: frozenset[str]
    wake: Wake
    is_live: bool = True

    def tell(self, shown: View | None) -> None:
        if self.is_live:
            self.wake(shown)


@dataclass(slots=True)
class _Space:
    """What one namespace holds."""

    registers: dict[str, Seen] = field(default_factory=dict[str, Seen])
    watches: list[_Watch] = field(default_factory=list[_Watch])


@dataclass(slots=True)
class _Core:
    """What a store's clients share, read and written under its lock."""

    birth: int
    memory: str
    revision: int = 0
    spaces: dict[str, _Space] = field(default_factory=dict[str, _Space])
    lock: threading.Lock = field(default_factory=lambda: signal_safe(threading.Lock()))
    pid: int = field(default_factory=os.getpid)


class MemoryStore:
    """A store for one process: its backends compete as the clients of a real store do.

    It can be made to forget, as real stores do (:meth:`forget`, :meth:`restore`); all else that can go wrong between a
    client and a store is :class:`leaderlock.testing.FaultyBackend`'s. It lives as long as somebody holds it, and is
    of no use to a forked child.
    """

    def __init__(
        self,
        *,
        keeps_memory: bool = True,
        clock: Clock | None = None,
        new_memory: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        """``keeps_memory`` says what :meth:`restart` does; ``clock`` and ``new_memory`` make a run repeatable."""
        self.keeps_memory = keeps_memory
        self._clock = clock or SteadyClock()
        self._new_memory = new_memory
        self.core = _Core(birth=self._now(), memory=new_memory())
        """For this module's backends alone."""

    def backend(
        self, *, namespace: str = "default", durability: str = "memory", keeps_memory: bool | None = None
    ) -> MemoryBackend:
        """Another client of this store."""
        return MemoryBackend(self, namespace=namespace, durability=durability, keeps_memory=keeps_memory)

    def forget(self, *, wipe: bool) -> None:
        """Change the store's memory: everything gone and revisions counted anew, or everything still there."""
        self._begin_anew(Snapshot({}, 0) if wipe else None)

    def restart(self) -> None:
        """Stop and start, as a server does: what that leaves is said by ``keeps_memory``."""
        if not self.keeps_memory:
            self.forget(wipe=True)

    def snapshot(self) -> Snapshot:
        """Everything that is there now."""
        with self.core.lock:
            spaces = {name: dict(space.registers) for name, space in self.core.spaces.items()}
            return Snapshot(spaces, self.core.revision)

    def restore(self, snapshot: Snapshot) -> None:
        """Roll back: what was acknowledged since is lost, stamps are given out a second time, the memory is another."""
        self._begin_anew(snapshot)

    def _begin_anew(self, snapshot: Snapshot | None) -> None:
        core = self.core
        with core.lock:
            # The floor never goes back, even where the revision does and whatever the wall clock says.
            core.birth = max(self._now(), core.birth + core.revision + 1)
            core.memory = self._new_memory()
            if snapshot is not None:
                core.revision = snapshot.revision
                for name, space in core.spaces.items():
                    space.registers.clear()
                    space.registers.update(snapshot.spaces.get(name, {}))
            watches = [watch for space in core.spaces.values() for watch in space.watches]
        for watch in watches:
            watch.tell(None)

    def _now(self) -> int:
        return int(self._clock.now().wall * 1_000_000)


class MemoryBackend(Backend):
    """A client of a :class:`MemoryStore`; one made without a store has a store of its own.

    ``durability`` and ``keeps_memory`` are what this client takes the store for, which a test may let differ from what
    other clients do, and from the truth.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        namespace: str = "default",
        durability: str = "memory",
        keeps_memory: bool | None = None,
    ) -> None:
        self.store = store or MemoryStore(keeps_memory=keeps_memory is not False)
        self._core = self.store.core
        self._traits = Traits(
            store="memory",
            durability=durability,
            keeps_memory=self.store.keeps_memory if keeps_memory is None else keeps_memory,
            pushes=True,
            max_batch=_MAX_BATCH,
            max_value=_MAX_VALUE,
            is_local=True,
        )
        self._watches: list[_Watch] = []
        self._is_closed = False
        self._check_usable()
        with self._core.lock:
            self._space = self._core.spaces.setdefault(namespace, _Space())

    @property
    def traits(self) -> Traits:
        return self._traits

    def read(self, keys: Collection[str], *, timeout: float) -> View:
        self._check_usable()
        check_count(self._traits, len(keys))
        core, get = self._core, self._space.registers.get
        with core.lock:
            return View({key: get(key, _NOTHING) for key in keys}, core.birth + core.revision, core.memory)

    def swap(self, writes: Sequence[Write], memory: str, *, timeout: float) -> list[Answer]:
        self._check_usable()
        check_writes(self._traits, writes)
        core, registers = self._core, self._space.registers
        answers: list[Answer] = []
        changed: set[str] = set()
        with core.lock:
            if memory != core.memory:
                raise MemoryGone(f"the store's memory is {core.memory}, no longer {memory}; read again")
            for write in writes:
                key, value = write.key, write.value
                there = registers.get(key, _NOTHING)
                if there.stamp != write.expected:
                    answers.append(Conflict(there))
                    continue
                core.revision = revision = core.revision + 1
                changed.add(key)
                if value is None:
                    registers.pop(key, None)
                    answers.append(Swapped(ABSENT))
                else:
                    registers[key] = Seen(value, revision)
                    answers.append(Swapped(revision))
            woken = [watch for watch in self._space.watches if not watch.keys.isdisjoint(changed)]
            shown = None
            if woken:
                shown = View({key: registers.get(key, _NOTHING) for key in changed}, core.birth + core.revision, memory)
        # Without the lock: who is woken may ask the store at once.
        for watch in woken:
            watch.tell(shown)
        return answers

    def scan(self, prefix: str, *, timeout: float) -> Iterator[tuple[str, Seen]]:
        self._check_usable()
        with self._core.lock:
            return iter([item for item in self._space.registers.items() if item[0].startswith(prefix)])

    def watch(self, keys: Collection[str], wake: Wake) -> Callable[[], None]:
        self._check_usable()
        watch = _Watch(frozenset(keys), wake)
        with self._core.lock:
            self._check_usable()  # again, under it: a close that comes now finds this watch
            self._watches.append(watch)
            self._space.watches.append(watch)
        return lambda: self._stop(watch)

    def close(self) -> None:
        self._is_closed = True
        if os.getpid() != self._core.pid:
            return
        with self._core.lock:
            watches = self._watches.copy()
        for watch in watches:
            self._stop(watch)

    def _stop(self, watch: _Watch) -> None:
        watch.is_live = False
        if os.getpid() != self._core.pid:
            return  # a forked child: the lock may be held by a thread that does not exist here
        with self._core.lock:
            for watches in (self._space.watches, self._watches):
                if watch in watches:
                    watches.remove(watch)

    def _check_usable(self) -> None:
        if self._is_closed:
            raise UsageError("this memory backend is closed; open another one")
        if os.getpid() != self._core.pid:
            raise UsageError("a memory store does not outlive a fork; open another one in the child")


def open_backend(
    url: str,
    *,
    namespace: str = "default",
    durability: str = "memory",
    keeps_memory: bool | None = None,
    **options: object,
) -> MemoryBackend:
    """Open ``memory:`` (a store of its own) or ``memory:NAME`` (this process's store of that name)."""
    if options:
        raise TypeError(f"memory has no option {sorted(options)[0]!r}; it has durability and keeps_memory")
    scheme, colon, name = url.partition(":")
    if scheme != "memory" or not colon:
        raise ValueError(f"not a memory store's URL: {url!r}; write memory: or memory:NAME")
    name = name.removeprefix("//")
    store = _NAMED.setdefault((os.getpid(), name), MemoryStore()) if name else None
    return MemoryBackend(store, namespace=namespace, durability=durability, keeps_memory=keeps_memory)
