"""One moment of everything, as a value: equal moments are one state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from leaderlock.backend import ABSENT, Answer, Conflict, Seen, Swapped, Write

from ..store import FORCE

__all__ = ["Shelf", "State"]

_NOTHING = Seen(None, ABSENT)


class Shelf:
    """The store at one moment; equal ones are one object, so that they are compared by that.

    Stamps count the writes of a key and begin again with it; the floor is as low as it may be.
    """

    __slots__ = ("_all", "_swaps", "floor", "losses", "memory", "registers")

    def __init__(self, registers: tuple[tuple[str, Seen], ...], losses: int, floor: int, all_: _All) -> None:
        self.registers, self.losses, self.floor, self._all = dict(registers), losses, floor, all_
        self.memory = f"m{losses}"
        self._swaps: dict[tuple[Sequence[Write], str], tuple[Shelf, tuple[Answer, ...] | str]] = {}

    @staticmethod
    def first() -> Shelf:
        return Shelf((), 0, 1, {})

    def other(self, registers: dict[str, Seen], *, losses: int, floor: int) -> Shelf:
        what = tuple(sorted(registers.items())), losses, floor
        if what not in self._all:
            self._all[what] = Shelf(*what, self._all)
        return self._all[what]

    def at(self, key: str) -> Seen:
        return self.registers.get(key, _NOTHING)

    def view(self, keys: Sequence[str]) -> tuple[tuple[tuple[str, Seen], ...], int, str]:
        return tuple((key, self.at(key)) for key in keys), self.floor, self.memory

    def swap(self, writes: Sequence[Write], memory: str) -> tuple[Shelf, tuple[Answer, ...] | str]:
        asked = writes, memory
        if asked not in self._swaps:
            self._swaps[asked] = self._swap(writes, memory)
        return self._swaps[asked]

    def _swap(self, writes: Sequence[Write], memory: str) -> tuple[Shelf, tuple[Answer, ...] | str]:
        if memory not in (self.memory, FORCE):
            return self, "MEMORY_GONE"
        shelf, answers = self, []
        for write in writes:
            there = shelf.at(write.key)
            if write.expected not in (there.stamp, FORCE):
                answers.append(Conflict(there))
                continue
            shelf = shelf.put(write.key, write.value)
            answers.append(Swapped(shelf.at(write.key).stamp))
        return shelf, tuple(answers)

    def put(self, key: str, value: bytes | None) -> Shelf:
        registers, floor = dict(self.registers), self.floor
        there = registers.pop(key, _NOTHING)
        if value is not None:
            registers[key] = Seen(value, there.stamp + 1)
            if key.startswith("name/"):
                floor = max(floor, json.loads(value.partition(b"\n")[0])["token"] + 1)
        return self.other(registers, losses=self.losses, floor=floor)

    def forgotten(self, registers: dict[str, Seen]) -> Shelf:
        """Another memory, which holds this."""
        return self.other(registers, losses=self.losses + 1, floor=self.floor)


_All: TypeAlias = "dict[tuple[tuple[tuple[str, Seen], ...], int, int], Shelf]"


class State(NamedTuple):
    now: int
    """True time, in milliseconds."""
    parties: tuple[int, ...]
    """By their numbers in the catalogue."""
    paused: tuple[bool, ...]
    shelf: Shelf
    before: Shelf | None
    """What the store held before its last write: what a rollback leaves. Only where that may happen."""
    frozen: tuple[Shelf | None, ...]
    """By client: the replica that it reads from, where that stands still."""
    net: tuple[int, ...]
    """What is on its way, by numbers in the catalogue, in their order."""
    acts: int
    top: int
    """The highest token that anybody was given."""
    by_hand: bool
    """Whether somebody rewrote the name: then two may lead for a while (rule 9)."""
    notes: tuple[bytes, ...] | None
    """What the next leader may find; ``None``: anything, since the store forgot."""
    written: frozenset[bytes]
    """Every note that the store ever held."""
