"""What one thing leads to: at the store, on the way, in a client; and what must hold then."""

from __future__ import annotations

from typing import Any

from ..cores import Core
from ..world import Violation
from .catalogue import Catalogue
from .party import NAME
from .spaces import Space
from .state import Shelf, State

__all__ = ["KEY", "Course", "without"]

KEY = f"name/{NAME}"


class Course:
    """From one state to the next. Every method leaves the state that it is given as it was.

    Messages are ``(kind, client, …, held)``; what is held arrives at any later moment, or never.
    """

    def __init__(self, space: Space, core: Core) -> None:
        self.space, self.core = space, core
        self.catalogue = Catalogue(space, core)

    def nothing(self) -> State:
        """An empty store, and clients of which nothing was asked yet."""
        seats = range(self.space.clients)
        return State(
            now=0,
            parties=tuple(self.catalogue.new_party(seat, "abc"[seat]) for seat in seats),
            paused=(False,) * self.space.clients,
            shelf=Shelf.first(),
            before=None,
            frozen=(None,) * self.space.clients,
            net=(),
            acts=self.space.acts,
            top=0,
            by_hand=False,
            notes=(b"",),
            written=frozenset((b"",)),
        )

    def do(self, state: State, seat: int, verb: str) -> State:
        return self.step(state, seat, ("do", verb))

    def step(self, state: State, seat: int, event: tuple[Any, ...]) -> State:
        party, out = self.catalogue.step(seat, state.parties[seat], state.now, event)
        state = state._replace(parties=(*state.parties[:seat], party, *state.parties[seat + 1 :]))
        if self.catalogue.known[party].is_over:
            state = self.crash(state, seat)
        for thing in out:
            match thing:
                case ("swap", call, writes, memory):
                    state = self.send(state, "swap", seat, call, writes, memory, False)
                case ("read", call, keys):
                    state = self.send(state, "read", seat, call, keys, False)
                case _:
                    state = self._news(state, seat, thing)
        return state

    def written(self, state: State, shelf: Shelf) -> State:
        """The store holds this now; whoever watches what changed is woken."""
        old = state.shelf
        if old is shelf:
            return state
        state = state._replace(shelf=shelf)
        if "rollback" in self.space.kinds and old.registers != shelf.registers:
            state = state._replace(before=old)
        note = (shelf.at(KEY).value or b"").partition(b"\n")[2]
        if note not in state.written:
            state = state._replace(written=state.written | {note})
        known = self.catalogue.known
        for seat, party in enumerate(state.parties):
            for key in sorted(known[party].watches):
                if old.at(key) != shelf.at(key) or old.losses != shelf.losses:
                    shown = shelf.view([key]) if self.space.shows else None
                    state = self.send(state, "wake", seat, key, shown, False)
        return state

    def by_hand(self, state: State, key: str, value: bytes | None) -> State:
        return self.written(state, state.shelf.put(key, value))._replace(by_hand=True, notes=None)

    def send(self, state: State, *message: Any) -> State:
        number = self.catalogue.message(*message)
        if message[0] == "wake" and number in state.net:
            return state  # the engine makes one of them
        return state._replace(net=tuple(sorted((*state.net, number))))

    def arrive(self, state: State, message: tuple[Any, ...]) -> State:
        match message:
            case ("told", seat, call, told, _):
                return self.step(state, seat, ("told", call, told))
            case ("wake", seat, key, shown, _):
                if key not in self.catalogue.known[state.parties[seat]].watches:
                    return state
                return self.step(state, seat, ("woken", key, shown))
        state, told = self.at_store(state, message)
        if message[0] == "stray":
            return state
        _, seat, call, *_ = message
        if state.paused[seat]:
            return self.send(state, "told", seat, call, told, True)
        return self.step(state, seat, ("told", call, told))

    def at_store(self, state: State, message: tuple[Any, ...]) -> tuple[State, Any]:
        if message[0] == "read":
            _, seat, _, keys, _ = message
            return state, (state.frozen[seat] or state.shelf).view(keys)
        _, _, _, writes, memory, _ = message
        shelf, answers = state.shelf.swap(writes, memory)
        return self.written(state, shelf), answers

    def give_up(self, state: State, seat: int, call: int) -> State:
        """The engine waits no longer. What was asked may still arrive; what is answered nobody hears."""
        for number in state.net:
            match self.catalogue.messages[number]:
                case ("swap", whose, which, writes, memory, _) if (whose, which) == (seat, call):
                    state = self.send(without(state, number), "stray", seat, which, writes, memory, True)
                case ("told" | "read", whose, which, *_) if (whose, which) == (seat, call):
                    state = without(state, number)
        return self.step(state, seat, ("told", call, "UNKNOWN"))

    def crash(self, state: State, seat: int) -> State:
        net = []
        for number in state.net:
            match self.catalogue.messages[number]:
                case ("swap", whose, call, writes, memory, _) if whose == seat:
                    net.append(self.catalogue.message("stray", seat, call, writes, memory, True))
                case ("told" | "read" | "wake", whose, *_) if whose == seat:
                    pass
                case _:
                    net.append(number)
        parties = tuple(0 if number == seat else party for number, party in enumerate(state.parties))
        return state._replace(parties=parties, net=tuple(sorted(net)))

    @staticmethod
    def freeze(state: State, seat: int, shelf: Shelf | None) -> State:
        return state._replace(frozen=tuple(shelf if at == seat else old for at, old in enumerate(state.frozen)))

    # -- what must hold

    def _news(self, state: State, seat: int, news: tuple[Any, ...]) -> State:
        label = self.catalogue.known[state.parties[seat]].label
        match news:
            case ("elected", token, note):
                if not state.by_hand:
                    self.alone(state, seat)
                if token <= state.top:
                    raise Violation("tokens", f"{label} got {token} after {state.top}")
                if state.notes is not None and note not in state.notes:
                    raise Violation("notes", f"{label} found {note!r} instead of {state.notes}")
                return state._replace(top=token, notes=state.notes and (note,))
            case ("asked", note):
                return state._replace(notes=state.notes and (*state.notes, note))
            case ("saved", note):
                return self._saved(state, label, note)
            case ("released", session, token, farewell):
                record = self.core.reading.read_name(state.shelf.at(KEY).value)
                if record is not None and (record.session, record.token) == (session, token) and not state.shelf.losses:
                    raise Violation("farewell", f"{label} was told that {token} was released, and it was not")
                return state if farewell is None else self._saved(state, label, farewell)
        raise AssertionError(news)

    @staticmethod
    def _saved(state: State, label: str, note: bytes) -> State:
        if note not in state.written:
            raise Violation("notes", f"{label} was told that {note!r} is saved, which was never written")
        if state.notes is None or note not in state.notes:
            return state  # somebody led since, and made another of it
        return state._replace(notes=state.notes[state.notes.index(note) :])

    def alone(self, state: State, seat: int) -> None:
        """Nobody else may lead."""
        for other, party in enumerate(state.parties):
            known = self.catalogue.known[party]
            if other != seat and known.claim is not None and not known.is_over:
                clock = self.catalogue.engines[other].clock(state.now)
                if known.claim.is_ahead(clock):
                    mine = self.catalogue.known[state.parties[seat]].label
                    left = known.claim.remaining(clock)
                    raise Violation("overlap", f"{mine} leads while {known.label} does, for {left:.3f} s more")


def without(state: State, number: int) -> State:
    """That message is not on its way any more."""
    net = list(state.net)
    net.remove(number)
    return state._replace(net=tuple(net))
