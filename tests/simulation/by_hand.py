"""A machine driven by hand, over the store in memory: for the tests that walk through one rule at a time."""

from __future__ import annotations

import itertools

from leaderlock._protocol.candidacy import Candidacy
from leaderlock._protocol.clocks import Instant, Timing
from leaderlock._protocol.events import (
    Answered,
    Arm,
    Ask,
    Campaign,
    Disarm,
    Failure,
    Kind,
    Put,
    Retry,
    Scan,
    Scanned,
    Tell,
    Unanswered,
    Viewed,
)
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.reading import read_name, read_session
from leaderlock._protocol.records import Holder
from leaderlock._protocol.setting import Setting
from leaderlock.backend import Write
from leaderlock.errors import MemoryGone, OutcomeUnknown

__all__ = ["RHO", "START", "TTL", "Client", "name_in", "overwrite", "own_session", "put_raw", "register", "session_of"]

START = Instant(100.0, 100.0, 1e9)
TTL, RHO = 15.0, 0.005


class Client:
    """A machine whose effects are carried out at once, except for what ``loses`` says: those answers never come."""

    def __init__(self, store, label="a", *, longest=30.0, keeps_memory=True, kernel=None):
        ids = itertools.count(1)
        self.setting = Setting(
            timing=Timing(ttl=TTL, rho=RHO, longest=longest),
            holder=Holder("host", 1, "program", label),
            durability="memory",
            keeps_memory=keeps_memory,
            kernel=kernel,
            new_id=lambda: f"{label}{next(ids)}",
        )
        self.machine = Machine(self.setting)
        self.store, self.backend = store, store.backend()
        self.loses: dict[Kind, str] = {}
        """By kind: ``reply`` (applied, and nobody hears of it) or ``request`` (never applied; it may come late)."""
        self.slow = 0.0
        self.late: list[Put] = []
        self.sent: list[tuple[Kind, ...]] = []
        self.news: list = []
        self.timers: dict = {}
        self.now = START

    def do(self, event, *, at=None):
        if at is not None:
            self.now = START.plus(at)
        effects = self.machine.handle(event, self.now)
        puts = [effect for effect in effects if isinstance(effect, Put)]
        for effect in effects:
            if isinstance(effect, Tell):
                self.news.append(effect.news)
            elif isinstance(effect, Arm | Retry):
                self.timers[effect.timer] = effect
            elif isinstance(effect, Disarm):
                self.timers.pop(effect.timer, None)
        if puts:
            self._swap(puts)
        for effect in effects:
            if isinstance(effect, Ask):
                self.look(*effect.keys)
            elif isinstance(effect, Scan):
                items = list(self.backend.scan(effect.prefix, timeout=1))
                self.do(Scanned(effect, items, True, self.now))

    def look(self, *keys):
        self.do(Viewed(self.backend.read(keys, timeout=1), self.now))

    def campaign(self, name="n", *, patient=True, at=None):
        candidacy = Candidacy(name, patient=patient)
        self.do(Campaign([candidacy]), at=at)
        return candidacy

    def arrives_late(self, put):
        return self.backend.swap([put.write], put.memory, timeout=1)

    def told(self, kind):
        return [news for news in self.news if isinstance(news, kind)]

    def _swap(self, puts):
        self.sent.append(tuple(put.kind for put in puts))
        lost = {self.loses[put.kind] for put in puts if put.kind in self.loses}
        if "request" in lost:
            self.late += puts
            self.do(Unanswered(puts, Failure.UNKNOWN, OutcomeUnknown("lost")))
            return
        try:
            answers = self.backend.swap([put.write for put in puts], puts[0].memory, timeout=1)
        except MemoryGone as gone:
            self.do(Unanswered(puts, Failure.MEMORY_GONE, gone))
            return
        self.now = self.now.plus(self.slow)
        if lost:
            self.do(Unanswered(puts, Failure.UNKNOWN, OutcomeUnknown("lost")))
        else:
            self.do(Answered(puts, answers))


def register(store, key):
    return store.backend().read([key], timeout=1).seen[key]


def name_in(store, name="n"):
    return read_name(register(store, f"name/{name}").value)


def session_of(store, candidate):
    prefix = f"session/{candidate}"
    [item] = [item for item in store.backend().scan("session/", timeout=1) if item[0].startswith(prefix)]
    return item[0], read_session(item[1].value)


def own_session(client):
    return session_of(client.store, client.setting.holder.label)[0].removeprefix("session/")


def overwrite(store, key, record):
    put_raw(store, key, record.encode())


def put_raw(store, key, value):
    backend = store.backend()
    view = backend.read([key], timeout=1)
    backend.swap([Write(key, view.seen[key].stamp, value)], view.memory, timeout=1)
