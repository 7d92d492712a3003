"""Every state of a space, once; and from the last ones a run without faults, at whose end somebody has to lead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from leaderlock.backend import Conflict, Seen, Write

from ..cores import REAL, Core
from ..telling import tell_register
from ..world import Violation
from .moves import Moves
from .spaces import TTL, Space
from .state import State

__all__ = ["Found", "explore"]

PATIENCE = round(TTL * 6000)
"""Within so many milliseconds without a fault somebody leads: two waits for the longest ttl, a burial, back-offs."""


Teller: TypeAlias = Callable[["Found", int, int], None]
"""Hears now and then how far it has come, with how many faults, and how many states are still to be looked at."""


@dataclass(slots=True)
class Found:
    """What an exploration came to."""

    states: int = 0
    moves: int = 0
    leaves: int = 0
    is_complete: bool = False
    by_faults: list[int] = field(default_factory=list)
    """States first reached with no fault, with one…"""
    violation: Violation | None = None
    way: list[Any] = field(default_factory=list)
    clients: int = 0

    def __str__(self) -> str:
        lines = [f"{when / 1000:8.3f} s  {' '.join(map(_word, words))}" for when, words in self.way]
        return "\n".join([*lines, f"{self.violation}"])


def explore(space: Space, core: Core = REAL, *, most: int | None = None, tell: Teller | None = None) -> Found:
    """Go everywhere, depth first, with no fault before with one and so on: the first violation has the fewest.

    A state that was reached with fewer faults is not looked at again: all that follows from it followed already.
    """
    return _Search(space, core, most, tell).run()


class _Search:
    def __init__(self, space: Space, core: Core, most: int | None, tell: Teller | None) -> None:
        self.space, self.most, self.tell = space, most, tell
        self.moves = Moves(space, core)
        self.found = Found()
        self.came: dict[State, tuple[State | None, Any]] = {}
        """Every state that was reached, whence, and by what."""
        self.fine: list[set[State]] = [set() for _ in range(space.clients)]
        """By client, states from which it was seen to be elected when nothing more goes wrong."""
        self.until = 0

    def run(self) -> Found:
        found, came = self.found, self.came
        try:
            level = [self.moves.first()]
            came[level[0]] = None, None
            self.until = level[0].now + round(self.space.ttls * TTL * 1000)
            for faults in range(self.space.faults + 1):
                later: dict[State, tuple[State, Any]] = {}
                stack = level
                while stack:
                    state = stack.pop()
                    self._expand(state, stack, later, left=self.space.faults - faults)
                    if self.most is not None and len(came) >= self.most:
                        return found
                    if self.tell is not None and found.states % 4096 == 0:
                        self.tell(found, faults, len(stack))
                found.by_faults.append(len(came) - sum(found.by_faults))
                level = []
                for state, whence in later.items():
                    if state not in came:
                        came[state] = whence
                        level.append(state)
            found.is_complete = True
        except _Broken as broken:
            found.violation = broken.violation
            found.way = self._way(broken)
        except Violation as violation:
            found.violation = violation  # before anything went wrong
        finally:
            found.clients = len(self.moves.catalogue)
        return found

    def _expand(self, state: State, stack: list[State], later: dict[State, tuple[State, Any]], *, left: int) -> None:
        found, came = self.found, self.came
        found.states += 1
        is_over = state.now > self.until
        if is_over:
            found.leaves += 1
            self._come_right(state)
            return
        is_last = True
        for move in self.moves.after(state, faults=left > 0):
            found.moves += 1
            is_last = False
            then = move.state
            if isinstance(then, Violation):
                raise _Broken(then, state, move.words)
            if then in came:
                continue
            if move.faults:
                later.setdefault(then, (state, move.words))
            else:
                came[then] = state, move.words
                stack.append(then)
        if is_last:
            found.leaves += 1
            self._come_right(state)

    # -- nothing more goes wrong

    def _come_right(self, state: State) -> None:
        for seat in range(self.space.clients):
            self._elect(state, seat)

    def _elect(self, leaf: State, seat: int) -> None:
        """Everybody else gives up what he has; this client alone wants it, and gets it."""
        moves, fine = self.moves, self.fine[seat]
        way: list[tuple[int, Any]] = []
        try:
            state = moves.calm(leaf, seat)
            end = state.now + PATIENCE
            met = []
            while not moves.has_won(state, seat):
                plain = state._replace(acts=0)
                if plain in fine:
                    break
                met.append(plain)
                if state.now > end or len(met) > 2000:
                    raise Violation("liveness", f"{'abc'[seat]} is not elected though nobody else wants to be")
                move = moves.next_in_peace(state, seat)
                way.append((state.now, move.words))
                if isinstance(move.state, Violation):
                    raise move.state
                state = move.state
            else:
                moves.course.alone(state, seat)
            fine.update(met)
        except Violation as violation:
            words = ("NOTHING MORE GOES WRONG, and only", "abc"[seat], "wants it")
            raise _Broken(violation, leaf, words, way) from None

    def _way(self, broken: _Broken) -> list[Any]:
        way, at = [(broken.state.now, broken.words)], self.came[broken.state]
        while at[0] is not None:
            way.append((at[0].now, at[1]))
            at = self.came[at[0]]
        return [*way[::-1], *broken.way]


class _Broken(Exception):
    def __init__(self, violation: Violation, state: State, words: Any, way: Any = ()) -> None:
        super().__init__(violation)
        self.violation, self.state, self.words, self.way = violation, state, words, way


def _word(word: Any) -> str:
    match word:
        case Write(key, expected, value):
            return f"{expected}->{tell_register(key, Seen(value, 'new'))}"
        case Conflict(seen):
            return f"CONFLICT[{seen.stamp} {seen.value!r}]"
        case (str() as key, Seen() as seen):
            return tell_register(key, seen)
        case tuple():
            return "(" + ", ".join(map(_word, word)) + ")"
        case _:
            return str(word)
