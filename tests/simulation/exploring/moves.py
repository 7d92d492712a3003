"""What may happen next: every choice there is, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..cores import Core
from ..world import Violation
from .catalogue import Catalogue
from .party import NAME
from .spaces import Space
from .state import Shelf, State

__all__ = ["Move", "Moves"]

KEY = f"name/{NAME}"


class Move(NamedTuple):
    words: tuple[Any, ...]
    faults: int
    state: State | Violation


class Moves:
    """The rules of the game. Where nothing went wrong a message arrives at the moment at which it was sent, in any
    order with the others of that moment; time passes when nothing is left to happen in it."""

    def __init__(self, space: Space, core: Core) -> None:
        self.space = space
        self.catalogue = Catalogue(space, core)
        self.core = core
        self._rolls = "rollback" in space.kinds

    def first(self) -> State:
        seats = range(self.space.clients)
        state = State(
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
        if self.space.led:
            for seat in seats:
                state = self.do(state, seat, "campaign")
                while state.net or not self.has_won(state, 0):
                    state = self._in_peace(state)
        return state

    def after(self, state: State, *, faults: bool, free: bool = True) -> Iterator[Move]:
        """Every move from here: with ``faults`` also those that are one; ``free``: time has not run out for acts."""
        is_idle = True
        for number in dict.fromkeys(state.net):
            message = self.catalogue.messages[number]
            rest = _without(state, number)
            held = message[-1]
            if message[0] in ("told", "wake") and state.paused[message[1]]:
                continue
            is_idle = is_idle and held
            yield self._move(("arrives", *message), 0, self._arrive, rest, message)
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
                    yield self._move((known.label, "fires", timer), 0, self.step, state, seat, ("fired", timer))
            for due, call in known.calls:
                if due <= state.now:
                    is_idle = False
                    yield self._move((known.label, "gives up call", call), 0, self._give_up, state, seat, call)
            if state.frozen[seat] is not None:
                yield Move((known.label, "reads new"), 0, self._freeze(state, seat, None))
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

    # -- nothing more goes wrong

    def calm(self, state: State, seat: int) -> State:
        """Whoever stood still goes on, what is late arrives, and all but one give up what they have."""
        state = state._replace(paused=(False,) * len(state.paused), frozen=(None,) * len(state.frozen))
        for number in state.net:
            message = self.catalogue.messages[number]
            if message[0] == "stray":
                state = self._arrive(_without(state, number), message)
            elif message[-1]:
                state = self._send(_without(state, number), *message[:-1], False)
        for other, party in enumerate(state.parties):
            known = self.catalogue.known[party]
            if other != seat and known.status in ("campaigning", "leading"):
                state = self.do(state, other, "withdraw" if known.status == "campaigning" else "resign")
        if self.catalogue.known[state.parties[seat]].is_over:
            another = self.catalogue.new_party(seat, "xyz"[seat])  # on the same host, with the same clock
            state = state._replace(parties=(*state.parties[:seat], another, *state.parties[seat + 1 :]))
        return state

    def has_won(self, state: State, seat: int) -> bool:
        return self.catalogue.known[state.parties[seat]].status == "leading"

    def next_in_peace(self, state: State, seat: int) -> Move:
        """What happens next if things take their ordinary way, and this client campaigns until it has won."""
        known = self.catalogue.known[state.parties[seat]]
        if known.status in ("new", "idle", "leaving"):
            return self._move((known.label, "again"), 0, self.do, state, seat, "again")
        return next(self.after(state, faults=False, free=False))

    def _in_peace(self, state: State) -> State:
        then = next(self.after(state, faults=False, free=False)).state
        if isinstance(then, Violation):
            raise then
        return then

    # -- what applications do

    def _acts(self, state: State, seat: int, known: Any) -> Iterator[Move]:
        verbs, paid = self.space.verbs, state._replace(acts=state.acts - 1)
        can: list[tuple[str, State]] = []
        if known.status == "new":
            if state.acts or not state.now:
                can.append(("campaign", paid if state.now else state))  # the first costs nothing
        elif state.acts:
            if known.status in ("idle", "leaving"):
                can.append(("again", paid))
            elif known.status == "campaigning":
                can.append(("withdraw", paid))
            elif known.status == "leading":
                can += [(verb, paid) for verb in ("resign", "farewell", "note")]
            can.append(("close", paid))
        for verb, then in can:
            if verb in verbs or verb == "campaign":
                yield self._move((known.label, verb), 0, self.do, then, seat, verb)

    def do(self, state: State, seat: int, verb: str) -> State:
        return self.step(state, seat, ("do", verb))

    # -- messages

    def _arrive(self, state: State, message: tuple[Any, ...]) -> State:
        match message:
            case ("told", seat, call, told, _):
                return self.step(state, seat, ("told", call, told))
            case ("wake", seat, key, shown, _):
                if key not in self.catalogue.known[state.parties[seat]].watches:
                    return state
                return self.step(state, seat, ("woken", key, shown))
        state, told = self._at_store(state, message)
        if message[0] == "stray":
            return state
        _, seat, call, *_ = message
        if state.paused[seat]:
            return self._send(state, "told", seat, call, told, True)
        return self.step(state, seat, ("told", call, told))

    def _at_store(self, state: State, message: tuple[Any, ...]) -> tuple[State, Any]:
        if message[0] == "read":
            _, seat, _, keys, _ = message
            return state, (state.frozen[seat] or state.shelf).view(keys)
        _, _, _, writes, memory, _ = message
        shelf, answers = state.shelf.swap(writes, memory)
        return self._written(state, shelf), answers

    def _hurt(self, rest: State, message: tuple[Any, ...]) -> Iterator[Move]:
        kinds = self.space.kinds
        if "late" in kinds:
            yield Move(("LATE", *message), 1, self._send(rest, *message[:-1], True))
        if message[0] == "wake":
            return
        kind, seat, call, *_ = message
        done, told = self._at_store(rest, message)
        if "late" in kinds:
            yield Move(("ANSWERED LATE", *message), 1, self._send(done, "told", seat, call, told, True))
        if "cut" in kinds:
            yield self._move(("CUT", *message), 1, self.step, rest, seat, ("told", call, "UNKNOWN"))
        if "cut" in kinds and kind == "swap":
            stray = self._send(rest, "stray", seat, call, *message[3:5], True)
            yield self._move(("CUT, LATE", *message), 1, self.step, stray, seat, ("told", call, "UNKNOWN"))
            yield self._move(("CUT, DONE", *message), 1, self.step, done, seat, ("told", call, "UNKNOWN"))
        if "twice" in kinds and kind == "swap":
            stray = self._send(rest, "stray", seat, call, *message[3:5], True)
            yield self._move(("TWICE", *message), 1, self._arrive, stray, message)
        for failure in ("NEVER_SENT", "REFUSED"):
            if failure in kinds:
                yield self._move((failure, *message), 1, self.step, rest, seat, ("told", call, failure))

    def _give_up(self, state: State, seat: int, call: int) -> State:
        """The engine waits no longer. What was asked may still arrive; what is answered nobody hears."""
        for number in state.net:
            match self.catalogue.messages[number]:
                case ("swap", whose, which, writes, memory, _) if (whose, which) == (seat, call):
                    state = self._send(_without(state, number), "stray", seat, which, writes, memory, True)
                case ("told" | "read", whose, which, *_) if (whose, which) == (seat, call):
                    state = _without(state, number)
        return self.step(state, seat, ("told", call, "UNKNOWN"))

    def _send(self, state: State, *message: Any) -> State:
        number = self.catalogue.message(*message)
        if message[0] == "wake" and number in state.net:
            return state  # the engine makes one of them
        return state._replace(net=tuple(sorted((*state.net, number))))

    # -- faults of processes and of the store

    def _hurt_process(self, state: State, seat: int, known: Any) -> Iterator[Move]:
        kinds = self.space.kinds
        if "crash" in kinds and (known.timers or known.calls):
            yield Move((known.label, "CRASHES"), 1, self._crash(state, seat))
        if "pause" in kinds and (known.timers or known.calls):
            paused = tuple(on or number == seat for number, on in enumerate(state.paused))
            yield Move((known.label, "PAUSES"), 1, state._replace(paused=paused))
        if "freeze" in kinds and state.shelf.registers and state.frozen[seat] is None:
            yield Move((known.label, "READS OLD"), 1, self._freeze(state, seat, state.shelf))

    def _crash(self, state: State, seat: int) -> State:
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
    def _freeze(state: State, seat: int, shelf: Shelf | None) -> State:
        return state._replace(frozen=tuple(shelf if at == seat else old for at, old in enumerate(state.frozen)))

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
                lost = self._written(state, shelf.forgotten(registers))
                notes = state.notes if how == "failover" else None
                yield Move(("STORE", how.upper()), 1, lost._replace(notes=notes))
        there = shelf.at(KEY)
        if there.value is None:
            return
        record = self.core.reading.read_name(there.value)
        if "delete name" in kinds:
            yield Move(("HAND", "DELETES NAME"), 1, self._by_hand(state, KEY, None))
        if "rewrite name" in kinds:
            ours = record._replace(write="hand", session=None)
            yield Move(("HAND", "REWRITES NAME"), 1, self._by_hand(state, KEY, ours.encode()))
        if "delete session" in kinds and record.session is not None:
            yield Move(
                ("HAND", "DELETES SESSION"), 1, self._written(state, shelf.put(f"session/{record.session}", None))
            )

    def _by_hand(self, state: State, key: str, value: bytes | None) -> State:
        return self._written(state, state.shelf.put(key, value))._replace(by_hand=True, notes=None)

    def _written(self, state: State, shelf: Shelf) -> State:
        """The store holds this now; whoever watches what changed is woken."""
        old = state.shelf
        if old is shelf:
            return state
        state = state._replace(shelf=shelf)
        if self._rolls and old.registers != shelf.registers:
            state = state._replace(before=old)
        note = (shelf.at(KEY).value or b"").partition(b"\n")[2]
        if note not in state.written:
            state = state._replace(written=state.written | {note})
        known = self.catalogue.known
        for seat, party in enumerate(state.parties):
            for key in sorted(known[party].watches):
                if old.at(key) != shelf.at(key) or old.losses != shelf.losses:
                    shown = shelf.view([key]) if self.space.shows else None
                    state = self._send(state, "wake", seat, key, shown, False)
        return state

    # -- steps of clients, and what must hold

    def step(self, state: State, seat: int, event: tuple[Any, ...]) -> State:
        party, out = self.catalogue.step(seat, state.parties[seat], state.now, event)
        state = state._replace(parties=(*state.parties[:seat], party, *state.parties[seat + 1 :]))
        if self.catalogue.known[party].is_over:
            state = self._crash(state, seat)
        for thing in out:
            match thing:
                case ("swap", call, writes, memory):
                    state = self._send(state, "swap", seat, call, writes, memory, False)
                case ("read", call, keys):
                    state = self._send(state, "read", seat, call, keys, False)
                case _:
                    state = self._news(state, seat, thing)
        return state

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

    def _move(self, words: tuple[Any, ...], faults: int, action: Any, *arguments: Any) -> Move:
        try:
            return Move(words, faults, action(*arguments))
        except Violation as violation:
            return Move(words, faults, violation)


def _without(state: State, number: int) -> State:
    net = list(state.net)
    net.remove(number)
    return state._replace(net=tuple(net))
