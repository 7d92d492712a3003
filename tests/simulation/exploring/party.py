"""One client: a machine and what the engine does around it, as a value that can be set aside and taken up again."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from leaderlock.backend import View
from leaderlock.errors import BackendRefused, BackendUnavailable, MemoryGone, OutcomeUnknown

from ..cores import Core
from ..world import Violation
from .spaces import RHO, Space

__all__ = ["NAME", "Engine", "Party"]

NAME = "n"
ORIGIN = 1000.0
"""What every steady clock shows at the beginning."""
ERRORS = {
    "UNKNOWN": OutcomeUnknown("explored: no answer"),
    "NEVER_SENT": BackendUnavailable("explored: never sent"),
    "REFUSED": BackendRefused("explored: no"),
    "MEMORY_GONE": MemoryGone("explored: another memory"),
}


class Engine(NamedTuple):
    """What is the same for a client at every moment."""

    core: Core
    rate: float
    wall: float
    patient: bool
    own_thread: bool

    def clock(self, now: int) -> Any:
        steady = ORIGIN + now * self.rate / 1000
        return self.core.clocks.Instant(steady, steady, self.wall)

    def when(self, until: Any, *, patiently: bool) -> int | None:
        """The first millisecond at which both clocks (``patiently``), or either, show ``until``."""
        steady = max(until.boot, until.raw) if patiently else min(until.boot, until.raw)
        if math.isinf(steady):
            return None
        due = math.floor((steady - ORIGIN) / self.rate * 1000)
        while self.clock(due).boot < steady:
            due += 1
        return due


class Ids:
    """Ids that nobody else gives, the same whatever the others did meanwhile."""

    def __init__(self, label: str) -> None:
        self.label, self.number = label, 0

    def __call__(self) -> str:
        self.number += 1
        return f"{self.label}{self.number}"


class Party:
    """A client. :meth:`step` is the only door, and what comes out of it is plain data."""

    def __init__(self, space: Space, core: Core, label: str, ttl: float) -> None:
        self.label = label
        self.attempt = round(ttl * 250)
        """In milliseconds: after so long the engine gives a call up. A back-off takes as long."""
        self.ids = Ids(label)
        setting = core.setting.Setting(
            timing=core.clocks.Timing(ttl=ttl, rho=RHO, longest=space.longest),
            holder=core.records.Holder("host", 1, "explored", label),
            durability="explored",
            keeps_memory=space.keeps_memory,
            kernel=("boot", "time:[1]") if space.one_kernel else None,
            new_id=self.ids,
        )
        self.machine = core.machine.Machine(setting)
        self.candidacy: Any = None
        """The last one."""
        self.status = "new"
        """Of the candidacy: new (there was none yet), idle, campaigning, leading, leaving (not released yet)."""
        self.lanes: dict[str, list[Any]] = {lane.name: [None, [], []] for lane in core.events.Lane}
        """The call under way, and the puts and asks that wait for it."""
        self.calls: dict[int, tuple[str | None, tuple[Any, ...], int, Any]] = {}
        """By number: the lane, the puts or keys, when it is given up, and the clock when it was sent."""
        self.called = 0
        self.timers: dict[Any, int] = {}
        self.watches: set[str] = set()
        self.is_closing = self.is_closed = False

    def step(self, engine: Engine, now: int, event: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Handle one event; returns calls and news, in order.

        Raises:
            Violation: the client broke a promise that it can keep alone.
        """
        out: list[tuple[Any, ...]] = []
        clock = engine.clock(now)
        lapsed = self.status == "leading" and not self.candidacy.standing.until.is_ahead(clock)
        asked = self._event(engine, event)
        if getattr(asked, "note", None) is not None:
            out.append(("asked", asked.note))
        try:
            effects = self.machine.handle(asked, clock)
        except engine.core.events.Refused as refused:
            raise Violation("error", f"{self.label}: {refused}") from refused
        except Exception as error:
            raise Violation("error", f"{self.label}: {error!r} from {event!r}") from error
        puts = []
        for effect in effects:
            match type(effect).__name__:
                case "Put":
                    puts.append(effect)
                case "Ask":
                    self.lanes[effect.lane.name][2].append(effect)
                case "Arm":
                    due = engine.when(effect.until, patiently=effect.patiently)
                    self.timers.pop(effect.timer, None)
                    if due is not None:
                        self.timers[effect.timer] = max(due, now)
                case "Retry":
                    self.timers[effect.timer] = now + self.attempt
                case "Disarm":
                    self.timers.pop(effect.timer, None)
                case "Watch":
                    self.watches.add(effect.key)
                case "Unwatch":
                    self.watches.discard(effect.key)
                case "Tell":
                    self._told(effect.candidacy, effect.news, out)
                case "Closed":
                    self.is_closed = True
        if self.status == "resigning":
            self.status = "leaving"
        self._keeps_its_word(clock, lapsed)
        if event[0] == "do" and engine.own_thread and puts and len({put.write.key for put in puts}) == len(puts):
            self._call(None, tuple(puts), now, clock, out)
        else:
            for put in puts:
                self.lanes[put.lane.name][1].append(put)
        for name in self.lanes:
            self._pump(name, now, clock, out)
        return out

    def _event(self, engine: Engine, event: tuple[Any, ...]) -> Any:
        events = engine.core.events
        match event:
            case ("do", verb):
                return self._verb(engine, verb)
            case ("fired", timer):
                del self.timers[timer]
                return events.Fired(timer)
            case ("woken", key, shown):
                return events.Woken(key, None if shown is None else _view(*shown))
            case ("told", number, told):
                lane, what, _, sent = self.calls.pop(number)
                if lane is not None:
                    self.lanes[lane][0] = None
                if isinstance(what[0], str):
                    if isinstance(told, str):
                        return events.Unread(what, events.Failure[told], ERRORS[told])
                    return events.Viewed(_view(*told), sent)
                if isinstance(told, str):
                    return events.Unanswered(what, events.Failure[told], ERRORS[told])
                return events.Answered(what, told)
        raise AssertionError(event)

    def _verb(self, engine: Engine, verb: str) -> Any:
        events = engine.core.events
        match verb:
            case "campaign" | "again" | "stay":
                patient = engine.patient or verb == "stay"
                self.candidacy = engine.core.candidacy.Candidacy(NAME, patient=patient)
                self.status = "campaigning"
                return events.Campaign([self.candidacy])
            case "withdraw":
                return events.Withdraw(self.candidacy)
            case "resign" | "farewell":
                self.status = "resigning"
                note = b"farewell %d" % self.candidacy.token if verb == "farewell" else None
                return events.Resign(self.candidacy, note)
            case "note":
                return events.SaveNote(self.candidacy, b"note %d" % self.candidacy.token, 1)
            case "close":
                self.is_closing = True
                return events.Close()
        raise AssertionError(verb)

    # -- what it is told

    def _told(self, candidacy: Any, news: Any, out: list[tuple[Any, ...]]) -> None:
        what = type(news).__name__
        if candidacy is not self.candidacy:
            if what != "Released":
                raise Violation("news", f"{self.label} is told {what} of a candidacy that is over")
        else:
            expected, then = _FOLLOWS[what]
            if self.status not in expected:
                raise Violation("news", f"{self.label} is told {what} while it is {self.status}")
            if then is not None and (what, self.status) != ("Lost", "resigning"):
                self.status = then
        match what:
            case "Elected":
                candidacy.audience = self.machine._sessions.current.id
                out.append(("elected", news.token, news.note))
            case "Released" if news.acknowledged:
                out.append(("released", candidacy.audience, candidacy.token, candidacy.farewell))
            case "NoteSaved":
                out.append(("saved", news.note))

    def _keeps_its_word(self, clock: Any, lapsed: bool) -> None:
        if self.status != "leading":
            return
        if not self.candidacy.leads:
            raise Violation("news", f"{self.label} leads no more, and was not told")
        if not self.candidacy.standing.until.is_ahead(clock):
            raise Violation("news", f"{self.label} is past its deadline, and was not told")
        if lapsed:
            raise Violation("news", f"{self.label}: a passed deadline was revived")

    # -- calls

    def _pump(self, name: str, now: int, clock: Any, out: list[tuple[Any, ...]]) -> None:
        busy, puts, asks = lane = self.lanes[name]
        if busy is not None:
            return
        if puts:
            batch, keys = [], set()
            for put in puts:
                if put.write.key in keys or put.memory != puts[0].memory:
                    break
                keys.add(put.write.key)
                batch.append(put)
            del puts[: len(batch)]
            lane[0] = self._call(name, tuple(batch), now, clock, out)
        elif asks:
            keys = tuple(dict.fromkeys(key for ask in asks for key in ask.keys))
            asks.clear()
            lane[0] = self._call(name, keys, now, clock, out)

    def _call(self, lane: str | None, what: tuple[Any, ...], now: int, clock: Any, out: list[tuple[Any, ...]]) -> int:
        self.called += 1
        self.calls[self.called] = lane, what, now + self.attempt, clock
        if isinstance(what[0], str):
            out.append(("read", self.called, what))
        else:
            out.append(("swap", self.called, tuple(put.write for put in what), what[0].memory))
        return self.called


_FOLLOWS = {
    "Elected": (("campaigning",), "leading"),
    "Denied": (("campaigning",), "idle"),
    "Failed": (("campaigning",), "idle"),
    "Withdrawn": (("campaigning",), "idle"),
    "Waiting": (("campaigning",), None),
    "Lost": (("leading", "resigning"), "idle"),
    "Released": (("leaving", "resigning"), "idle"),
    "NoteSaved": (("leading",), None),
    "NoteLost": (("leading", "resigning", "leaving", "idle"), None),
    "Asked": (("leading",), None),
}
"""While it is what a candidacy may be told this, and what it is then."""


def _view(items: tuple[Any, ...], floor: int, memory: str) -> View:
    return View(dict(items), floor, memory)
