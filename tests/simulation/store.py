"""The store: a linearizable swap on memory and stamp, reads that may lag, and losses of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from leaderlock.backend import ABSENT, Answer, Conflict, Seen, Stamp, Swapped, View, Write

from .world import World

__all__ = ["FORCE", "Gone", "Store"]

FORCE = "force"
"""No store has it, and the protocol does not know it: a stamp and a memory that always match, for breakages."""

_NOTHING = Seen(None, ABSENT)
_BIRTH = 1_700_000_000_000_000


class Gone(Exception):
    """The memory that the swap names is not this store's any more."""


class _State(NamedTuple):
    when: float
    registers: dict[str, Seen]
    memory: str
    floor: int
    revision: int


class Store:
    """Registers. ``counts_by_key``: stamps are numbers of the key's own, and begin again when it was deleted.

    Else they come from one counter, which a rollback sets back: in both cases stamps repeat after a loss of memory.
    """

    def __init__(self, world: World, *, counts_by_key: bool) -> None:
        self._world = world
        self._counts_by_key = counts_by_key
        self.registers: dict[str, Seen] = {}
        self.memory = "m0"
        self.losses = 0
        self.lost_at = -1.0
        self._revision = 0
        self._floor = _BIRTH
        self._past: deque[_State] = deque()
        self.changed: Callable[[str], None] = lambda _: None
        """Told of every key that was written."""
        self.applied: Callable[[Write], None] = lambda _: None
        self._remember()

    def read(self, keys: Collection[str], lag: float = 0.0) -> View:
        state = self._as_of(self._world.now - lag) if lag else self._past[-1]
        return View({key: state.registers.get(key, _NOTHING) for key in keys}, state.floor, state.memory)

    def swap(self, writes: Sequence[Write], memory: str) -> list[Answer]:
        if memory not in (self.memory, FORCE):
            raise Gone
        answers: list[Answer] = []
        changed: list[str] = []
        for write in writes:
            there = self.registers.get(write.key, _NOTHING)
            if write.expected not in (there.stamp, FORCE):
                answers.append(Conflict(there))
                continue
            self._revision += 1
            self._floor += 1
            if write.value is None:
                self.registers.pop(write.key, None)
                answers.append(Swapped(ABSENT))
            else:
                stamp = self._next_stamp(there.stamp)
                self.registers[write.key] = Seen(write.value, stamp)
                answers.append(Swapped(stamp))
            self.applied(write)
            changed.append(write.key)
        self._remember()
        # Only now: whoever is told looks, and must not find what was before.
        for key in changed:
            self.changed(key)
        return answers

    def scan(self, prefix: str) -> list[tuple[str, Seen]]:
        return [item for item in self.registers.items() if item[0].startswith(prefix)]

    def forget(self, how: str, back: float = 0.0) -> None:
        """Change the memory: by a ``failover`` that loses nothing, a ``rollback`` by seconds, or a ``wipe``."""
        self.losses += 1
        self.lost_at = self._world.now
        self.memory = f"m{self.losses}"
        self._floor += 1
        if how == "rollback":
            then = self._as_of(self._world.now - back)
            self.registers, self._revision = dict(then.registers), then.revision
        elif how == "wipe":
            self.registers, self._revision = {}, 0
        self._remember()

    def _next_stamp(self, old: Stamp) -> Stamp:
        if self._counts_by_key:
            assert isinstance(old, int)
            return old + 1
        return self._revision

    def _remember(self) -> None:
        now = self._world.now
        self._past.append(_State(now, dict(self.registers), self.memory, self._floor, self._revision))
        while self._past[0].when < now - 60.0 and len(self._past) > 1:
            self._past.popleft()

    def _as_of(self, when: float) -> _State:
        found = self._past[0]
        for state in self._past:
            if state.when > when:
                break
            found = state
        return found
