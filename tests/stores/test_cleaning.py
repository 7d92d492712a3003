"""Ten thousand abandoned sessions and names on each store: cleaned away in small slices, a day later, and nothing else.

The machine and its calls are the real ones, and so is the store; only the clock is moved by hand, from one timer to the
next, so that days pass in seconds.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from leaderlock import ABSENT, DELETE, Backend, Seen, Swapped, Write
from leaderlock._calls import SLICE, Calls
from leaderlock._census import Census, census
from leaderlock._protocol.candidacy import Candidacy
from leaderlock._protocol.cleaning import AT_ONCE, DAY
from leaderlock._protocol.clocks import Timing
from leaderlock._protocol.events import Arm, Ask, Campaign, Disarm, Event, Fired, Kind, Put, Retry, Scan, Scanned
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.records import Ending, Holder, NameRecord, SessionRecord
from leaderlock._protocol.setting import Setting
from leaderlock.testing import ManualClock
from leaderlock_etcd import open_backend as open_etcd
from leaderlock_redis import open_backend as open_redis
from leaderlock_sqlite import open_backend as open_sqlite
from leaderlock_zookeeper import open_backend as open_zookeeper
from tests.servers.etcd import EtcdServer
from tests.servers.redis import RedisServer
from tests.servers.zookeeper import Server, free_ports

TIMEOUT = 30.0
TTL = 3600.0
"""The longest there is here, too: a slice is cleaned every four of these."""
SLICE_EVERY = 4 * TTL
CROWD = 5_000
"""Abandoned sessions, and as many abandoned names."""
LIVING = 5
RENEWALS = 5
"""How often the living renew their sessions in between."""
PASS = 2 * CROWD // SLICE
"""Slices after which everything was seen about once."""
MOST = 20 * PASS


@pytest.fixture(params=["sqlite", "redis", "etcd", "zookeeper"])
def backend(request, tmp_path):
    """A client of a store of this test's own."""
    with closing(STORES[request.param](request, tmp_path)) as backend:
        yield backend


def _sqlite(request, folder) -> Backend:
    return open_sqlite(f"sqlite:///{folder}/leader.db", namespace="n")


def _redis(request, folder) -> Backend:
    server = RedisServer(folder)
    server.start()
    request.addfinalizer(server.kill)
    return open_redis(server.url, namespace="n")


def _etcd(request, folder) -> Backend:
    server = EtcdServer(folder)
    server.start()
    request.addfinalizer(server.kill)
    return open_etcd(f"etcd://127.0.0.1:{server.port}", namespace="n")


def _zookeeper(request, folder) -> Backend:
    server = Server(folder / "data", free_ports(1)[0])
    server.start()
    request.addfinalizer(server.kill)
    return open_zookeeper(f"zk://{server.address}", namespace="n")


STORES: dict[str, Callable[..., Backend]] = {
    "sqlite": _sqlite,
    "redis": _redis,
    "etcd": _etcd,
    "zookeeper": _zookeeper,
}


class Cleaner:
    """A client that lives for days: a machine, its calls at a real store, and its timers on a clock moved by hand."""

    def __init__(self, backend: Backend, clock: ManualClock) -> None:
        ids = itertools.count()
        self.setting = Setting(
            timing=Timing(ttl=TTL, rho=0.005, longest=TTL, renew_every=TTL / 2),
            holder=Holder("host", 1, "cleaner", ""),
            durability=backend.traits.durability,
            keeps_memory=True,  # its own first use is at once, so that no test waits for settling
            kernel=None,
            new_id=lambda: f"cleaner-{next(ids)}-{os.urandom(4).hex()}",
        )
        self.machine = Machine(self.setting)
        self.slices: list[Slice] = []
        self.shortest = float("inf")
        """The least time, in seconds, between the first sight of a register and its deletion."""
        self._met: dict[str, float] = {}
        self._calls = Calls(backend, clock)
        self._clock = clock
        self._timers: dict[object, float] = {}

    def do(self, event: Event) -> None:
        """One event, and all that follows from it."""
        now = self._clock.now().boot
        if isinstance(event, Scanned):
            self.slices.append(Slice(len(event.items)))
            for key, _ in event.items:
                self._met.setdefault(key, now)
        calls: list[Put | Ask | Scan] = []
        for effect in self.machine.handle(event, self._clock.now()):
            match effect:
                case Put() | Ask() | Scan():
                    calls.append(effect)
                case Arm(timer, until):
                    self._timers[timer] = until.boot
                case Retry(timer):
                    self._timers[timer] = self._clock.now().boot + 1.0
                case Disarm(timer):
                    self._timers.pop(timer, None)
                case _:
                    pass
        puts = [call for call in calls if isinstance(call, Put) and call.kind is Kind.CLEAN]
        if puts:
            self.slices[-1].writes = len(puts)
            gone = [now - self._met[put.write.key] for put in puts if put.write.value is DELETE]
            self.shortest = min([self.shortest, *gone])
        answers: list[Event] = []
        self._calls.carry(calls, TIMEOUT, answers.append)
        for answer in answers:
            self.do(answer)

    def live(self, seconds: float) -> None:
        """Let that time pass, from timer to timer."""
        until = self._clock.now().boot + seconds
        while self._timers and (at := min(self._timers.values())) <= until:
            self._clock.advance(max(0.0, at - self._clock.now().boot))
            for timer in [timer for timer, due in self._timers.items() if due <= at]:
                self._timers.pop(timer, None)
                self.do(Fired(timer))
        self._clock.advance(until - self._clock.now().boot)


@dataclass(slots=True)
class Slice:
    """What one step of cleaning cost."""

    reads: int
    writes: int = 0


@dataclass(slots=True)
class Crowd:
    """Registers written as the protocol writes them, straight through the driver."""

    backend: Backend
    wall: float
    stamps: dict[str, object] = field(default_factory=dict)

    def put(self, records: dict[str, bytes]) -> None:
        memory = self.backend.read(["settled"], timeout=TIMEOUT).memory
        writes = [Write(key, self.stamps.get(key, ABSENT), value) for key, value in records.items()]
        most = self.backend.traits.max_batch
        for start in range(0, len(writes), most):
            some = writes[start : start + most]
            for write, answer in zip(some, self.backend.swap(some, memory, timeout=TIMEOUT), strict=True):
                assert isinstance(answer, Swapped)
                self.stamps[write.key] = answer.stamp

    def renew(self, label: str, count: int, at: float) -> None:
        holder = Holder("host", 1, "program", label)
        self.put(
            {
                f"session/{label}-{number}": SessionRecord(os.urandom(6).hex(), TTL, Ending.NO, holder, at).encode()
                for number in range(count)
            }
        )

    def names(self, label: str, count: int, *, session: str | None = None, token: int = 7, note: bytes = b"") -> None:
        history = ("7|1.000|2.000|closed|somebody",)
        self.put(
            {
                f"name/{label}-{number}": NameRecord(
                    os.urandom(6).hex(), session and f"{session}-{number}", token, note, self.wall, history
                ).encode()
                for number in range(count)
            }
        )

    def keys(self, prefix: str) -> set[str]:
        return {key for key, _ in self.backend.scan(prefix, timeout=TIMEOUT)}

    def seen(self, keys: Collection[str]) -> Mapping[str, Seen]:
        return self.backend.read(keys, timeout=TIMEOUT).seen

    def census(self, wall: float) -> Census:
        scans = [list(self.backend.scan(prefix, timeout=TIMEOUT)) for prefix in ("name/", "session/")]
        return census(*scans, wall=wall, rho=0.005)


@pytest.mark.timeout(300)
def test_ten_thousand_that_are_over_are_cleaned_away_and_nobody_else(backend):
    clock = ManualClock()
    wall = clock.now().wall
    crowd = Crowd(backend, wall)
    crowd.renew("dead", CROWD, at=wall - 1e6)
    crowd.renew("living", LIVING, at=wall)
    crowd.names("over", CROWD)
    crowd.names("left", CROWD // 10, session="dead")
    crowd.names("noted-and-left", 3, session="dead", note=b"processed up to here")
    crowd.names("led", LIVING, session="living")
    crowd.names("noted", 3, note=b"processed up to here")
    crowd.names("future", 1, token=2**52)
    over = ("name/over-", "name/left-")
    kept_names = {key for key in crowd.keys("name/") if not key.startswith(over)} | {"name/own"}
    before = crowd.census(wall)

    cleaner = Cleaner(backend, clock)
    cleaner.do(Campaign([Candidacy("own", patient=True)]))
    untouched = {key for key in kept_names if not key.startswith("name/noted-and-left-")} - {"name/own"}
    kept = crowd.seen(untouched)
    for step in itertools.count(1):
        for _ in range(RENEWALS):
            cleaner.live(SLICE_EVERY / RENEWALS)
            crowd.renew("living", LIVING, at=clock.now().wall)
        if step % PASS == 0:
            left = crowd.census(clock.now().wall)
            if left.sessions_to_clean + left.names_to_clean + left.stranded == 1:
                break
        assert step < MOST, left

    assert (before.silent, before.names_to_clean) == (CROWD, CROWD + 1)
    assert crowd.keys("name/") == kept_names
    assert crowd.keys("session/") - {f"session/living-{number}" for number in range(LIVING)} == {
        key for key in crowd.keys("session/") if key.startswith("session/cleaner-")
    }
    assert left.living == LIVING + 1
    assert crowd.seen(untouched) == kept, "not touched at all"
    assert left.noted == 6, "what the dead left noted is free, and kept"
    assert cleaner.shortest >= DAY
    assert max(one.reads for one in cleaner.slices) <= SLICE
    assert max(one.writes for one in cleaner.slices) <= AT_ONCE
