"""One process: a machine, and around it what the engine does, in virtual time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from leaderlock.backend import View

from .checks import Checks
from .network import Network
from .profiles import Profile
from .store import Store
from .timers import Timers
from .world import Host, Violation, World

__all__ = ["Process"]

SLICE = 40
"""How many registers a scan lists at a time."""


@dataclass(slots=True, eq=False)
class _Lane:
    """One call in flight at a time; what waits goes together: one swap, then one read."""

    puts: list[Any] = field(default_factory=list)
    asks: list[Any] = field(default_factory=list)
    scans: list[Any] = field(default_factory=list)
    is_busy: bool = False

    @property
    def is_idle(self) -> bool:
        return not (self.is_busy or self.puts or self.asks or self.scans)


class Process:
    """A machine and its engine. ``told`` hears its news; ``checks`` look at it before and after every event."""

    def __init__(
        self,
        world: World,
        store: Store,
        network: Network,
        profile: Profile,
        checks: Checks,
        *,
        label: str,
        host: Host,
        ttl: float,
        keeps_memory: bool,
        told: Callable[[Any, Any], None],
        watchers: defaultdict[str, set[Process]],
    ) -> None:
        core = world.core
        self.label, self.host = label, host
        self.timing = core.clocks.Timing(ttl=ttl, rho=host.rho, longest=profile.longest)
        setting = core.setting.Setting(
            timing=self.timing,
            holder=core.records.Holder(host.name, 1, "simulated", label),
            durability="simulated",
            keeps_memory=keeps_memory,
            kernel=host.kernel,
            new_id=world.new_id,
        )
        self.machine = core.machine.Machine(setting)
        self.leading: list[Any] = []
        """Its candidacies that were elected, and of whose end it has not been told."""
        self.is_dead = False
        self._events, self._told, self._checks = core.events, told, checks
        self._world, self._store, self._network, self._profile = world, store, network, profile
        self._watchers = watchers
        self._lanes = {lane: _Lane() for lane in core.events.Lane}
        self._flying = 0
        self._one_lane = world.chance(profile.one_lane)
        self._names_unread = profile.names_unread if world.chance(0.5) else 0.0
        self._pauses = 0
        self._inbox: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self._scans: dict[tuple[str, int], list[Any]] = {}
        self.cut_off_until = self.stale_since = self.stale_until = 0.0
        self._patience = host.later(0.0, self.timing.attempt)
        timers = Timers(world, host, ttl, self._reach, lambda timer: self._handle(core.events.Fired(timer)))
        self._doing = {
            core.events.Arm: timers.arm,
            core.events.Retry: timers.retry,
            core.events.Disarm: timers.disarm,
            core.events.Watch: self._watch,
            core.events.Unwatch: self._unwatch,
            core.events.Tell: self._tell,
            core.events.Warn: self._warn,
            core.events.Closed: self._closed,
        }

    # -- what happens to it

    def call(self, event: Any) -> None:
        """The application asks for something, on a thread of its own."""
        self._reach(self._handle, event, self._on_own_thread())

    def leave(self, candidacy: Any) -> None:
        """The application withdraws what was not won yet, or resigns what was."""
        self._reach(self._leave, candidacy)

    def save(self, candidacy: Any, note: bytes, ticket: int) -> None:
        self._reach(self._save, candidacy, note, ticket)

    def crash(self) -> None:
        self._world.note(self.label, "CRASH")
        for claim in self.leading:
            self._checks.abandoned(claim.name)
        self.is_dead = True
        self.leading.clear()
        for watching in self._watchers.values():
            watching.discard(self)

    def pause(self, seconds: float) -> None:
        self._world.note(self.label, "pauses for", seconds)
        self._pauses += 1
        self._world.after(seconds, self._resume)

    def wake(self, key: str, shown: View | None) -> None:
        self._reach(self._woken, key, shown)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, in doubt, or still to be told to the store."""
        machine = self.machine
        busy = machine._names._busy.values()
        in_doubt = any(name.flight or name.doubts or name.leaving or name.notes for name in busy)
        lanes = all(lane.is_idle for lane in self._lanes.values())
        return lanes and not (self._flying or self._inbox or in_doubt or machine._sessions.retired)

    @property
    def session(self) -> str | None:
        current = self.machine._sessions.current
        return None if current is None else current.id

    def _reach(self, action: Callable[..., None], *args: Any) -> None:
        """Do it now, or, if the process stands still, when it goes on."""
        if self.is_dead:
            return
        if self._pauses:
            self._inbox.append((action, args))
        else:
            action(*args)

    def _resume(self) -> None:
        self._pauses -= 1
        if self._pauses or self.is_dead:
            return
        self._world.note(self.label, "goes on")
        inbox, self._inbox = self._inbox, []
        if self._world.chance(0.5):
            self._world.random.shuffle(inbox)  # threads go on in any order
        for action, args in inbox:
            self._reach(action, *args)
        if self._world.chance(0.3):
            self._reach(self._handle, self._events.RenewNow(suspect=True))  # the wall clock has jumped ahead

    def _on_own_thread(self) -> bool:
        """Whether the caller sends what follows himself, beside the lanes."""
        return self._world.chance(self._profile.on_own_thread)

    def _leave(self, candidacy: Any) -> None:
        fate = candidacy.audience
        if not fate.ended:
            fate.asked_to_resign = True
            event = self._events.Withdraw(candidacy) if fate.elected_at < 0 else self._farewell(candidacy)
            self._handle(event, self._on_own_thread())

    def _farewell(self, candidacy: Any) -> Any:
        """A release, and every other time one that carries a note (rule 12)."""
        if candidacy.token % 2:
            return self._events.Resign(candidacy)
        note = b"farewell %d" % candidacy.token
        self._checks.noted(candidacy.name, note)
        return self._events.Resign(candidacy, note)

    def _save(self, candidacy: Any, note: bytes, ticket: int) -> None:
        if not candidacy.audience.ended:
            self._checks.noted(candidacy.name, note)
            self._handle(self._events.SaveNote(candidacy, note, ticket), self._on_own_thread())

    # -- the machine

    def _handle(self, event: Any, at_once: bool = False) -> None:
        world = self._world
        now = self.host.clock(world.now)
        lapsed = self._checks.before(self, now)
        try:
            effects = self.machine.handle(event, now)
        except self._events.Refused:
            world.note(self.label, "is closed already")
            return
        except Exception as error:
            raise Violation("error", f"{self.label}: {error!r} from {event!r}") from error
        world.note(self.label, event, "->", effects)
        puts, asks, scans = [], [], []
        events = self._events
        for effect in effects:
            kind = type(effect)
            if kind is events.Put:
                puts.append(effect)
            elif kind is events.Ask:
                asks.append(effect)
            elif kind is events.Scan:
                scans.append(effect)
            else:
                self._doing[kind](effect)
        self._checks.after(self, now, lapsed)
        if at_once and puts and len({put.write.key for put in puts}) == len(puts):
            self._fly(None, puts)
            puts = []
        lanes = self._lanes
        for put in puts:
            lanes[put.lane].puts.append(put)
        for ask in asks:
            lanes[ask.lane].asks.append(ask)
        for scan in scans:
            lanes[scan.lane].scans.append(scan)
        for lane in lanes.values():
            self._pump(lane)

    def _pump(self, lane: _Lane) -> None:
        if lane.is_busy:
            return
        if lane.puts:
            batch, keys = [], set()
            for put in lane.puts:
                if put.write.key in keys or put.memory != lane.puts[0].memory:
                    break
                keys.add(put.write.key)
                batch.append(put)
            del lane.puts[: len(batch)]
            self._fly(lane, batch)
        elif lane.asks:
            keys = tuple(dict.fromkeys(key for ask in lane.asks for key in ask.keys))
            lane.asks.clear()
            self._read(lane, keys)
        elif lane.scans:
            self._scan(lane, lane.scans.pop(0))

    # -- calls

    def _fly(self, lane: _Lane | None, puts: Sequence[Any]) -> None:
        if lane is not None:
            lane.is_busy = True
        self._flying += 1

        def done(outcome: Any) -> None:
            self._reach(self._swapped, lane, puts, outcome)

        self._network.swap(
            [put.write for put in puts],
            puts[0].memory,
            patience=self._patience,
            is_cut_off=self._is_cut_off,
            done=done,
        )

    def _swapped(self, lane: _Lane | None, puts: Sequence[Any], outcome: Any) -> None:
        self._flying -= 1
        if lane is not None:
            lane.is_busy = False
        if isinstance(outcome, str):
            self._handle(self._events.Unanswered(puts, self._events.Failure[outcome], self._network.error(outcome)))
        else:
            self._handle(self._events.Answered(puts, outcome))

    def _read(self, lane: _Lane, keys: tuple[str, ...]) -> None:
        lane.is_busy = True
        sent = self.host.clock(self._world.now)

        def done(outcome: View | str) -> None:
            self._reach(self._was_read, lane, keys, sent, outcome)

        is_current = self._one_lane and lane is self._lanes[self._events.Lane.SESSION]
        stale = self._world.now < self.stale_until and not is_current
        self._network.read(
            keys,
            patience=self._patience,
            is_cut_off=self._is_cut_off,
            is_lost=lane is self._lanes[self._events.Lane.NAMES] and self._world.chance(self._names_unread),
            as_of=self.stale_since if stale else None,
            done=done,
        )

    def _was_read(self, lane: _Lane, keys: tuple[str, ...], sent: Any, outcome: View | str) -> None:
        lane.is_busy = False
        if isinstance(outcome, str):
            self._handle(self._events.Unread(keys, self._events.Failure[outcome], self._network.error(outcome)))
        else:
            self._handle(self._events.Viewed(outcome, sent))

    def _scan(self, lane: _Lane, scan: Any) -> None:
        """What it lists is of the moment at which its run began; one that has no answer begins anew."""
        lane.is_busy = True
        if not self._network.calm and self._world.chance(self._profile.lost):
            self._scans.pop((scan.prefix, scan.run), None)
            self._world.after(self._patience, self._reach, self._not_scanned, lane, scan)
            return
        if (scan.prefix, scan.run) not in self._scans:
            self._scans[scan.prefix, scan.run] = self._store.scan(scan.prefix)
        self._world.after(self._world.random.random() * self._patience, self._reach, self._scanned, lane, scan)

    def _not_scanned(self, lane: _Lane, scan: Any) -> None:
        lane.is_busy = False
        failure = self._events.Failure.UNKNOWN
        self._handle(self._events.Unread((scan.prefix,), failure, self._network.error("UNKNOWN")))

    def _scanned(self, lane: _Lane, scan: Any) -> None:
        lane.is_busy = False
        left = self._scans.pop((scan.prefix, scan.run))
        slice_, left = left[:SLICE], left[SLICE:]
        if left:
            self._scans[scan.prefix, scan.run] = left
        self._handle(self._events.Scanned(scan, slice_, not left, self.host.clock(self._world.now)))

    @property
    def _is_cut_off(self) -> bool:
        return self._world.now < self.cut_off_until

    # -- the other effects

    def _watch(self, effect: Any) -> None:
        self._watchers[effect.key].add(self)

    def _unwatch(self, effect: Any) -> None:
        self._watchers[effect.key].discard(self)

    def _woken(self, key: str, shown: View | None) -> None:
        if self in self._watchers[key]:
            self._handle(self._events.Woken(key, shown), self._on_own_thread())

    def _tell(self, effect: Any) -> None:
        self._checks.news(self, effect.candidacy, effect.news)
        self._told(effect.candidacy, effect.news)

    def _warn(self, effect: Any) -> None:
        self._world.note(self.label, effect.message)

    def _closed(self, effect: Any) -> None:
        """Nothing of it is left to do: the engine ends."""
        if self.leading:
            raise Violation("news", f"{self.label} has closed, and still leads")
        self.is_dead = True
