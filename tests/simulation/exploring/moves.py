"""What may happen next: every choice there is, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..cores import Core
from ..world import Violation
from .course import KEY, Course, without
from .spaces import Space
from .state import State

__all__ = ["Move", "Moves"]


class Move(NamedTuple):
    words: tuple[Any, ...]
    faults: int
    state: State | Violation


class Moves:
    """The rules of the game. Where nothing went wrong a call is answered at the moment at which it was sent, in any
    order with the others of that moment; time passes when nothing is left to happen in it."""

    def __init__(self, space: Space, core: Core) -> None:
        self.space, self.core = space, core
        self.course = Course(space, core)
        self.catalogue = self.course.catalogue

    def first(self) -> State:
        state = self.course.nothing()
        if self.space.led:
            for seat in range(self.space.clients):
                state = self.course.do(state, seat, "campaign")
                while state.net or not self.has_won(state, 0):
                    state = self._in_peace(state)
        return state

    def after(self, state: State, *, faults: bool, free: bool = True) -> Iterator[Move]:
        """Every move from here: with ``faults`` also those that are one; ``free``: time has not run out for acts."""
        is_idle = True
        for number in dict.fromkeys(state.net):
            message = self.catalogue.messages[number]
            rest = without(state, number)
            held = message[-1]
            if message[0] in ("told", "wake") and state.paused[message[1]]:
                continue
            is_idle = is_idle and held
            yield self._move(("arrives", *message), 0, self.course.arrive, rest, message)
            if faults and not held:
                yield from self._hurt(rest, message)
        for seat, party in enumerate(state.parties):
            known = self.catalogue.known[party]
            if known.is_over:
                continue
            if state.paused[seat]:
                paused = tuple(on and number != seat for number, on in enumerate(state.paused))
                yield Move((known.label, "goes on"), 0, state._replace(paused=paused))
                continue
            for due, timer in known.timers:
                if due <= state.now:
                    is_idle = False
                    yield self._move((known.label, "fires", timer), 0, self.course.step, state, seat, ("fired", timer))
            for due, call in known.calls:
                if due <= state.now:
                    is_idle = False
                    yield self._move((known.label, "gives up call", call), 0, self.course.give_up, state, seat, call)
            if state.frozen[seat] is not None:
                yield Move((known.label, "reads new"), 0, self.course.freeze(state, seat, None))
            if free:
                yield from self._acts(state, seat, known)
            if faults and free:
                yield from self._hurt_process(state, seat, known)
        if faults and free:
            yield from self._hurt_store(state)
        if is_idle and (later := self.next_moment(state)) is not None:
            yield Move(("time", later), 0, state._replace(now=later))

    def next_moment(self, state: State) -> int | None:
        return min(
            (
                due
                for party in state.parties
                if not (known := self.catalogue.known[party]).is_over
                for due, _ in (*known.timers, *known.calls)
                if due > state.now
            ),
            default=None,
        )

    # -- what applications do, and what goes wrong

    def _acts(self, state: State, seat: int, known: Any) -> Iterator[Move]:
        verbs, paid = self.space.verbs, state._replace(acts=state.acts - 1)
        can: list[tuple[str, State]] = []
        if known.status == "new":
            if state.acts or not state.now:
                can.append(("campaign", paid if state.now else state))  # the first costs nothing
        elif state.acts and known.status != "closing":
            if known.status in ("idle", "leaving"):
                can.append(("again", paid))
            elif known.status == "campaigning":
                can.append(("withdraw", paid))
            elif known.status == "leading":
                can += [(verb, paid) for verb in ("resign", "farewell", "note")]
            can.append(("close", paid))
        for verb, then in can:
            if verb in verbs or verb == "campaign":
                yield self._move((known.label, verb), 0, self.course.do, then, seat, verb)

    def _hurt(self, rest: State, message: tuple[Any, ...]) -> Iterator[Move]:
        kinds = self.space.kinds
        if "late" in kinds:
            yield Move(("LATE", *message), 1, self.course.send(rest, *message[:-1], True))
        if message[0] == "wake":
            return
        kind, seat, call, *_ = message
        done, told = self.course.at_store(rest, message)
        if "late" in kinds:
            yield Move(("ANSWERED LATE", *message), 1, self.course.send(done, "told", seat, call, told, True))
        if "cut" in kinds:
            yield self._move(("CUT", *message), 1, self.course.step, rest, seat, ("told", call, "UNKNOWN"))
        if "cut" in kinds and kind == "swap":
            stray = self.course.send(rest, "stray", seat, call, *message[3:5], True)
            yield self._move(("CUT, LATE", *message), 1, self.course.step, stray, seat, ("told", call, "UNKNOWN"))
            yield self._move(("CUT, DONE", *message), 1, self.course.step, done, seat, ("told", call, "UNKNOWN"))
        if "twice" in kinds and kind == "swap":
            stray = self.course.send(rest, "stray", seat, call, *message[3:5], True)
            yield self._move(("TWICE", *message), 1, self.course.arrive, stray, message)
        for failure in ("NEVER_SENT", "REFUSED"):
            if failure in kinds:
                yield self._move((failure, *message), 1, self.course.step, rest, seat, ("told", call, failure))

    def _hurt_process(self, state: State, seat: int, known: Any) -> Iterator[Move]:
        kinds = self.space.kinds
        if "crash" in kinds and (known.timers or known.calls):
            yield Move((known.label, "CRASHES"), 1, self.course.crash(state, seat))
        if "pause" in kinds and (known.timers or known.calls):
            paused = tuple(on or number == seat for number, on in enumerate(state.paused))
            yield Move((known.label, "PAUSES"), 1, state._replace(paused=paused))
        if "freeze" in kinds and state.shelf.registers and state.frozen[seat] is None:
            yield Move((known.label, "READS OLD"), 1, self.course.freeze(state, seat, state.shelf))

    def _hurt_store(self, state: State) -> Iterator[Move]:
        kinds, shelf = self.space.kinds, state.shelf
        if not shelf.registers:
            return
        for how, registers in (
            ("failover", shelf.registers),
            ("wipe", {}),
            ("rollback", None if state.before is None else state.before.registers),
        ):
            if how in kinds and registers is not None:
                lost = self.course.written(state, shelf.forgotten(registers))
                notes = state.notes if how == "failover" else None
                yield Move(("STORE", how.upper()), 1, lost._replace(notes=notes))
        there = shelf.at(KEY)
        if there.value is None:
            return
        record = self.core.reading.read_name(there.value)
        if "delete name" in kinds:
            yield Move(("HAND", "DELETES NAME"), 1, self.course.by_hand(state, KEY, None))
        if "rewrite name" in kinds:
            ours = record._replace(write="hand", session=None)
            yield Move(("HAND", "REWRITES NAME"), 1, self.course.by_hand(state, KEY, ours.encode()))
        if "delete session" in kinds and record.session is not None:
            yield Move(
                ("HAND", "DELETES SESSION"), 1, self.course.written(state, shelf.put(f"session/{record.session}", None))
            )

    # -- nothing more goes wrong

    def calm(self, state: State, seat: int) -> State:
        """Whoever stood still goes on, what is late arrives, and all but one give up what they have."""
        if self.catalogue.known[state.parties[seat]].status == "closing":
            state = self.course.crash(state, seat)  # its end was cut short
        state = state._replace(paused=(False,) * len(state.paused), frozen=(None,) * len(state.frozen))
        for number in state.net:
            message = self.catalogue.messages[number]
            if message[0] == "stray":
                state = self.course.arrive(without(state, number), message)
            elif message[-1]:
                state = self.course.send(without(state, number), *message[:-1], False)
        for other, party in enumerate(state.parties):
            known = self.catalogue.known[party]
            if other != seat and known.status in ("campaigning", "leading"):
                state = self.course.do(state, other, "withdraw" if known.status == "campaigning" else "resign")
        if self.catalogue.known[state.parties[seat]].is_over:
            another = self.catalogue.new_party(seat, "xyz"[seat])  # on the same host, with the same clock
            state = state._replace(parties=(*state.parties[:seat], another, *state.parties[seat + 1 :]))
        return state

    def has_won(self, state: State, seat: int) -> bool:
        return self.catalogue.known[state.parties[seat]].status == "leading"

    def next_in_peace(self, state: State, seat: int) -> Move:
        """What happens next if things take their ordinary way, and this client campaigns patiently until it has won."""
        known = self.catalogue.known[state.parties[seat]]
        if known.status in ("new", "idle", "leaving"):
            return self._move((known.label, "stay"), 0, self.course.do, state, seat, "stay")
        return next(self.after(state, faults=False, free=False))

    def _in_peace(self, state: State) -> State:
        then = next(self.after(state, faults=False, free=False)).state
        if isinstance(then, Violation):
            raise then
        return then

    def _move(self, words: tuple[Any, ...], faults: int, action: Any, *arguments: Any) -> Move:
        try:
            return Move(words, faults, action(*arguments))
        except Violation as violation:
            return Move(words, faults, violation)
