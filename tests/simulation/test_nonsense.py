"""A store that says anything, in any order: the machine may lose its leases by it, and never breaks (ADR 0008)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from leaderlock._protocol.candidacy import Candidacy, Wish
from leaderlock._protocol.clocks import Timing
from leaderlock._protocol.events import (
    Answered,
    Arm,
    Ask,
    Campaign,
    Close,
    Failure,
    Fired,
    Put,
    Refused,
    RenewNow,
    Resign,
    Retry,
    SaveNote,
    Scan,
    Scanned,
    Unanswered,
    Unread,
    Viewed,
    Withdraw,
    Woken,
)
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.records import (
    SETTLED,
    Boot,
    Ending,
    Holder,
    NameRecord,
    Request,
    SessionRecord,
    SettledRecord,
)
from leaderlock._protocol.setting import Setting
from leaderlock.backend import ABSENT, Conflict, Seen, Swapped, View
from leaderlock.errors import OutcomeUnknown

from .by_hand import START

NAMES = ("a", "b")
LOST = OutcomeUnknown("nonsense")
ODD = (b"", b"junk", b'{"v":9,"r":2}', b"[" * 60_000, SessionRecord("w", 15.0).encode().replace(b"15.0", b"9" * 400))


class Nonsense:
    """A machine, everything that it waits for, and one source of chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        ids = itertools.count(1)
        self.setting = Setting(
            timing=Timing(ttl=15.0, rho=0.005, longest=30.0),
            holder=Holder("host", 1, "program", ""),
            durability="memory",
            keeps_memory=self.chance.random() < 0.5,
            kernel=("kernel", "namespace"),
            new_id=lambda: f"i{next(ids)}",
        )
        self.machine, self.now, self.tickets = Machine(self.setting), START, ids
        self.calls: list[Put | Ask | Scan] = []
        self.timers: dict[Any, None] = {("renew",): None, ("verify",): None, ("clean",): None, ("close", "i1"): None}
        self.candidacies: list[Candidacy] = []
        self.marks = ["w"]

    def step(self) -> None:
        pick = self.chance.choice
        self.now = self.now.plus(pick((0.001, 0.01, 0.5, 3.0, 16.0)))
        begins: tuple[Callable[[], Any], ...] = (self.campaign, self.renew, self.fire, self.fire, self.wake)
        goes_on = (self.answer,) * 12 if self.calls else ()
        acts = (self.withdraw, self.resign, self.save) if self.candidacies else ()
        event = Close() if self.chance.random() < 0.003 else pick(begins + goes_on + acts)()
        try:
            effects = self.machine.handle(event, self.now)
        except Refused:
            effects = self.machine.drain()
        for effect in effects:
            match effect:
                case Put() | Ask() | Scan():
                    self.calls.append(effect)
                case Arm(timer) | Retry(timer):
                    self.timers[timer] = None
                case _:
                    pass
        self.marks += [effect.mark for effect in effects if isinstance(effect, Put) and effect.mark is not None]

    # -- what is done here

    def campaign(self) -> Campaign:
        errand = self if self.chance.random() < 0.4 else None
        self.candidacies.append(Candidacy(self.chance.choice(NAMES), patient=self.chance.random() < 0.6, errand=errand))
        return Campaign([self.candidacies[-1]])

    def wish(self, note: bytes, now: Any) -> Wish:
        return self.chance.choice(tuple(Wish))

    def compose(self, note: bytes, token: int, now: Any) -> bytes | None:
        return self.chance.choice((None, b"composed"))

    def withdraw(self) -> Withdraw:
        return Withdraw(self.chance.choice(self.candidacies))

    def resign(self) -> Resign:
        return Resign(self.chance.choice(self.candidacies), self.chance.choice((None, b"farewell")))

    def save(self) -> SaveNote:
        return SaveNote(self.chance.choice(self.candidacies), b"note", next(self.tickets))

    def renew(self) -> RenewNow:
        return RenewNow(suspect=self.chance.random() < 0.5)

    def fire(self) -> Fired:
        return Fired(self.chance.choice(tuple(self.timers)))

    def wake(self) -> Woken:
        key = self.chance.choice(("name/a", "name/b", "session/other", SETTLED))
        return Woken(key, self.chance.choice((None, self.view((key,)))))

    # -- what the store says

    def answer(self) -> Any:
        call = self.calls.pop(self.chance.randrange(len(self.calls)))
        if self.chance.random() < 0.05:
            self.calls.append(call)  # it is answered twice
        fails, failure = self.chance.random() < 0.3, self.chance.choice(tuple(Failure))
        match call:
            case Put():
                done = self.chance.choice(
                    (Swapped(self.stamp()), Swapped(self.stamp()), Conflict(self.seen(call.owner)))
                )
                return Unanswered([call], failure, LOST) if fails else Answered([call], [done])
            case Ask(keys):
                return Unread(keys, failure, LOST) if fails else Viewed(self.view(keys), self.now)
            case Scan(prefix):
                items = [(prefix + name, self.seen(prefix)) for name in (*NAMES, "other", "i2")]
                return (
                    Unread((prefix,), failure, LOST)
                    if fails
                    else Scanned(call, items, self.chance.random() < 0.7, self.now)
                )

    def view(self, keys: tuple[str, ...]) -> View:
        memory = self.chance.choice(("m1",) * 6 + ("m2", "m3"))
        return View({key: self.seen(key) for key in keys}, self.chance.choice((1, 10, 1 << 50)), memory)

    def seen(self, key: str) -> Seen:
        value = self.chance.choice(
            (self.name, self.session, self.settled, lambda: None, lambda: self.chance.choice(ODD))
        )
        likely = self.session if key.startswith("session/") else self.settled if key == SETTLED else self.name
        held = value() if self.chance.random() < 0.3 else likely()
        return Seen(held, ABSENT if held is None else self.stamp())

    def stamp(self) -> int:
        return self.chance.randrange(1, 6)

    def name(self) -> bytes:
        mine = self.machine._sessions.current
        session = self.chance.choice((None, "other", "i1", "i2", mine.id if mine else "other"))
        token = self.chance.choice((0, 5, 6, 1 << 52, (1 << 53) - 1))
        return NameRecord(self.chance.choice(self.marks), session, token, history=("5|1.000||leads|x",)).encode()

    def session(self) -> bytes:
        asked: list[Any] = [[["a"], 1, "me", 0.0]] if self.chance.random() < 0.1 else []
        asked += [Request(one.name, one.token, "me", 0.0) for one in self.candidacies[-1:]]
        return SessionRecord(
            self.chance.choice(self.marks),
            self.chance.choice((0.0, 3.0, 15.0)),
            self.chance.choice((Ending.NO, Ending.NO, Ending.CLOSED, Ending.EXPIRED)),
            at=self.chance.choice((0.0, self.now.wall)),
            boot=self.chance.choice((None, Boot("kernel", "namespace", self.now.boot))),
            requests=tuple(asked),
        ).encode()

    def settled(self) -> bytes:
        return SettledRecord(
            self.chance.choice(("m1", "m2")), self.chance.choice((30.0, 30.0, 60.0)), "memory"
        ).encode()


@pytest.mark.parametrize("piece", range(4))
def test_nothing_that_a_store_says_breaks_the_machine(piece: int):
    for seed in range(piece, 200, 4):
        nonsense = Nonsense(seed)

        for _ in range(120):
            nonsense.step()

        assert nonsense.candidacies
