"""Ten hosts with wrong clocks that share a crontab, in virtual time, under the rules as they are shipped.

The store and the leases are the simplest that keep what the protocol promises (its own simulator is tests/simulation):
one register with a note, a token that rises, a lease that ends by itself when its holder is dead. What is decided by
whom is decided by ``leaderlock._ticks``: which tick is meant, and whether to run it, to wait or to leave it.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from leaderlock._protocol.candidacy import Wish
from leaderlock._protocol.clocks import Instant
from leaderlock._ticks.claim import Claim
from leaderlock._ticks.record import Ending, read_job
from leaderlock._ticks.rules import Policy, SkipReason, Want, due, finish
from leaderlock._ticks.schedule import Schedule

__all__ = ["Town"]


@dataclass(eq=False)
class Host:
    """One machine: its clock is wrong by ``skew`` seconds, and its cron wakes up to ``jitter`` seconds off."""

    number: int
    skew: float
    jitter: float
    dead_until: float = 0.0
    life: int = 0
    """Counts its crashes: what was begun in an earlier life never goes on."""


@dataclass(eq=False)
class Call:
    """One ``leaderlock cron`` that was started by one host's cron for one tick."""

    host: Host
    life: int
    tick: float
    claim: Claim


@dataclass
class Register:
    """The job's name in the store."""

    note: bytes = b""
    token: int = 0
    holder: Call | None = None
    """Who leads, also if it has died meanwhile: that shows a ttl later."""


@dataclass
class Town:
    """Runs one schedule on its hosts, tick after tick, and keeps account of who ran what."""

    schedule: Schedule
    policy: Policy
    seed: int
    hosts: int = 10
    off: float = 0.4
    """How far clock and cron together may be off, as a share of the interval."""
    crash: float = 0.02
    """How likely it is that a host dies while it seeks, runs or finishes a tick."""
    length: float = 0.1
    """How long a run takes at most, as a share of the interval."""
    ttl: float = 0.02
    """After what share of the interval a dead holder's name is free."""
    ran: Counter[float] = field(default_factory=Counter[float])
    finished: Counter[float] = field(default_factory=Counter[float])
    tokens: defaultdict[float, list[int]] = field(default_factory=lambda: defaultdict(list))
    reasons: Counter[SkipReason] = field(default_factory=Counter[SkipReason])
    crashes: int = 0
    overlaps: int = 0
    """How many runs began while another of a live host went on. At most one leads, so none."""
    alone: set[float] = field(default_factory=set[float])
    """Ticks for which no host was alive from its first call to its last."""

    def run(self, start: float, count: int) -> list[float]:
        """Let ``count`` ticks from ``start`` on come and go; returns them."""
        self._random = random.Random(self.seed)
        self._queue: list[tuple[float, int, object]] = []
        self._number = 0
        self._waiting: list[Call] = []
        self._register = Register()
        self._running: set[Call] = set()
        ticks: list[float] = []
        before, tick = start, self.schedule.around(start)[1]
        self._hosts = [Host(number, 0.0, 0.0) for number in range(self.hosts)]
        while len(ticks) < count:
            after = self.schedule.around(tick)[1]
            gap = min(tick - before, after - tick) if ticks else after - tick
            self._until(tick - gap / 2)
            self._plan(tick, gap)
            ticks.append(tick)
            before, tick = tick, after
        self._until(float("inf"))
        return ticks

    def _plan(self, tick: float, gap: float) -> None:
        """Each host's cron fires for this tick: when its own clock shows it, and a little off."""
        alive = 0
        for host in self._hosts:
            off = self._random.uniform(-self.off, self.off) * gap
            host.skew = self._random.uniform(0.0, 1.0) * off
            host.jitter = off - host.skew
            at = tick - host.skew + host.jitter
            alive += at >= host.dead_until
            self._at(at, self._called, host, gap)
        if not alive:
            self.alone.add(tick)

    def _at(self, when: float, *what: object) -> None:
        self._number += 1
        heapq.heappush(self._queue, (when, self._number, what))

    def _until(self, end: float) -> None:
        while self._queue and self._queue[0][0] < end:
            now, _, (step, *rest) = heapq.heappop(self._queue)
            step(now, *rest)

    # -- what happens

    def _called(self, now: float, host: Host, gap: float) -> None:
        if now < host.dead_until:
            return
        meant = due(self.schedule, self.policy, now + host.skew)
        assert meant is not None, "within the tolerance every call means a tick"
        name = f"host {host.number}"
        want = Want(tick=meant.tick, until=meant.until, policy=self.policy, host=name, schedule="s", zone="z")
        if not self._dies(now, host, gap):
            self._look(now, Call(host, host.life, meant.tick, Claim(self.schedule, want)), gap)

    def _dies(self, now: float, host: Host, gap: float) -> bool:
        if self._random.random() >= self.crash:
            return False
        self.crashes += 1
        host.life += 1
        host.dead_until = now + self._random.uniform(0.0, 3.0) * gap
        return True

    def _is_alive(self, call: Call) -> bool:
        return call.host.life == call.life

    def _look(self, now: float, call: Call, gap: float) -> None:
        """A candidate sees the name: it takes it, waits, or goes."""
        if not self._is_alive(call):
            return
        register, claim = self._register, call.claim
        instant = Instant(now, now, now + call.host.skew)
        if register.holder is not None:
            wish = claim.wish(register.note, instant)
            if wish is Wish.LEAVE:
                self._left(claim)
            elif wish is Wish.TRY and self._is_alive(register.holder):
                self.reasons[SkipReason.OVERLAP if claim.left is None else claim.left.reason] += 1
            else:
                self._at(now + self.ttl * gap * self._random.uniform(0.05, 0.2), self._look, call, gap)
            return
        note = claim.compose(register.note, register.token + 1, instant)
        if note is None:
            self._left(claim)
            return
        register.token += 1
        register.note, register.holder = note, call
        run = read_job(note).running
        assert run is not None
        assert run.token == register.token
        self.ran[run.tick] += 1
        self.tokens[run.tick].append(run.token)
        self.overlaps += any(map(self._is_alive, self._running))
        self._running = {call}
        if self._dies(now, call.host, gap):
            self._at(now + self.ttl * gap, self._expires, call)
        else:
            self._at(now + self._random.uniform(0.0, self.length) * gap, self._ends, call, gap)

    def _left(self, claim: Claim) -> None:
        assert claim.error is None, claim.error
        assert claim.left is not None
        self.reasons[claim.left.reason] += 1

    def _ends(self, now: float, call: Call, gap: float) -> None:
        self._running.discard(call)
        if self._dies(now, call.host, gap):
            self._at(now + self.ttl * gap, self._expires, call)
            return
        assert self._register.holder is call
        record = read_job(self._register.note)
        run = record.running
        assert run is not None
        self.finished[run.tick] += 1
        done = finish(record, Ending.OK, now + call.host.skew, self.policy, again=False)
        self._register.note, self._register.holder = done.encode(), None
        if run.tick != call.tick:
            self._look(now, call, gap)  # an unfinished earlier tick went first

    def _expires(self, now: float, call: Call) -> None:
        if self._register.holder is call:
            self._register.holder = None
