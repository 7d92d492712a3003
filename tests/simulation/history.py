"""One history: a world drawn from a profile by a seed, lived through, healed, and looked at once more."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from leaderlock.backend import Write

from .checks import Checks
from .cores import Change, load
from .healing import heal
from .network import Network
from .process import Process
from .profiles import PROFILES, Profile
from .seats import Seat
from .store import Store
from .world import Host, Violation, World

__all__ = ["History", "Outcome", "run"]


@dataclass(slots=True)
class Outcome:
    """What became of a history."""

    profile: str
    seed: int
    violation: Violation | None = None
    tail: str = ""
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return f"{self.tail}\n\nprofile={self.profile} seed={self.seed}: {self.violation}"


class History:
    """Who takes part, and what happens to them."""

    def __init__(self, profile: Profile, seed: int, changes: tuple[Change, ...] = ()) -> None:
        world = self.world = World(f"{profile.name}:{seed}", load(profile.constants + changes))
        random = world.random
        self.profile = profile
        self.store = Store(world, counts_by_key=world.chance(profile.counts_by_key))
        self.network = Network(world, self.store, profile)
        self.network.forgets = self._forget
        self.checks = Checks(world, self.store)
        self.keeps_memory = world.chance(profile.keeps_memory)
        self.watchers: defaultdict[str, set[Process]] = defaultdict(set)
        self.hears_of_names = True
        """Whether any watch tells of a name that changed; of sessions it may tell all the same."""
        self.store.changed = self._changed
        self.hosts = self._hosts()
        self.names = tuple(f"n{number}" for number in range(profile.names))
        self.seats = [
            Seat(
                world,
                profile,
                self.checks,
                names=self.names,
                host=host,
                ttl=random.choice(profile.ttls),
                start=self._start,
            )
            for host in self.hosts
        ]

    def live(self) -> None:
        """The part in which everything goes wrong."""
        for rate, happens in (
            (self.profile.pauses, self._pause),
            (self.profile.suspends, self._suspend),
            (self.profile.partitions, self._cut_off),
            (self.profile.losses, self._forget),
            (self.profile.requests, self._request),
            (self.profile.reboots, self._reboot),
        ):
            if rate:
                self._again(rate, happens)
        self.world.run(self.profile.seconds)

    def _hosts(self) -> list[Host]:
        """A host for every seat; some seats share one."""
        profile, world, random = self.profile, self.world, self.world.random
        hosts: list[Host] = []
        for number in range(profile.seats):
            if hosts and world.chance(profile.same_kernel):
                hosts.append(hosts[-1])
                continue
            rho = random.choice(profile.rhos)
            off = random.choice((-1, 1)) if profile.edge else random.uniform(-1, 1)
            slew = random.choice((-0.083, 0.083)) if world.chance(profile.slewed) else 0.0
            wall = random.choice((-3600.0, 3600.0)) if world.chance(profile.wrong_wall) else random.uniform(-1, 1)
            rate, known = 1 + off * rho * 0.9999, world.chance(profile.kernel_known)
            hosts.append(Host(world, f"h{number}", rho=rho, rate=rate, slew=slew, wall=wall, kernel_known=known))
        return hosts

    def _start(self, seat: Seat) -> Process:
        number = self.checks.counts["processes"]
        self.checks.counts["processes"] += 1
        process = Process(
            self.world,
            self.store,
            self.network,
            self.profile,
            self.checks,
            label=f"p{number}",
            host=seat.host,
            ttl=seat.ttl,
            keeps_memory=self.keeps_memory,
            told=lambda candidacy, news: seat.told(process, candidacy, news),
            watchers=self.watchers,
        )
        self.checks.processes = [other for other in self.checks.processes if not other.is_dead]
        self.checks.processes.append(process)
        return process

    def _changed(self, key: str) -> None:
        if key.startswith("name/") and self.world.chance(self.profile.losses_at_takes):
            self.world.after(self.world.random.random() * 0.1, self._forget_take, self.world.now)
        self._wake(key)

    def _wake(self, key: str) -> None:
        world, profile = self.world, self.profile
        if key.startswith("name/") and not self.hears_of_names:
            return
        deaf = 0.0 if self.network.calm else profile.deaf
        for process in sorted(self.watchers.get(key, ()), key=lambda process: process.label):
            if not world.chance(deaf):
                shown = self.store.read([key]) if world.chance(profile.shows) else None
                is_late = shown is not None and not self.network.calm and world.chance(profile.shows_late)
                longest = profile.travels if is_late else profile.latency
                world.after(world.random.random() * longest, process.wake, key, shown)

    # -- what happens to them

    def _again(self, rate, happens) -> None:
        self.world.after(self.world.random.expovariate(rate), self._happen, rate, happens)

    def _happen(self, rate, happens) -> None:
        if not self.network.calm:
            happens()
            self._again(rate, happens)

    def _seat(self) -> Seat:
        return self.world.random.choice(self.seats)

    def _pause(self) -> None:
        left = self.profile.seconds - self.world.now
        self._seat().process.pause(min(left, self.world.random.expovariate(1 / self.profile.pause)))
        self.network.faults["pauses"] += 1

    def _suspend(self) -> None:
        """A host sleeps: nothing runs there, and one of its clocks stands still."""
        host = self.world.random.choice(self.hosts)
        if host.is_slewed or host.is_asleep:
            return
        left = self.profile.seconds - self.world.now
        seconds = min(left, self.world.random.expovariate(1 / self.profile.pause))
        self.world.note(host.name, "sleeps for", seconds)
        self.network.faults["suspends"] += 1
        for process in self.checks.processes:
            if process.host is host:
                process.pause(seconds)
        # It wakes before its processes do: what is to happen at one moment happens in the order in which it was put.
        host.sleep(self.world.now, asleep=True)
        self.world.after(seconds * 0.999999, self._wake_up, host)

    def _wake_up(self, host: Host) -> None:
        host.sleep(self.world.now, asleep=False)

    def _cut_off(self) -> None:
        process = self._seat().process
        process.cut_off_until = self.world.now + self.world.random.expovariate(1 / self.profile.partition)
        self.world.note(process.label, "is cut off until", process.cut_off_until)
        self.network.faults["partitions"] += 1

    def _forget(self) -> None:
        how = "failover" if self.keeps_memory else self.world.random.choice(self.profile.losses_seen)
        self.lose_memory(how, self.world.random.uniform(0.0, self.profile.rollback))

    def _forget_take(self, since: float) -> None:
        if not self.network.calm:
            self.lose_memory("rollback", self.world.now - since + 1e-6)

    def lose_memory(self, how: str, back: float) -> None:
        world, now = self.world, self.world.now
        for process in self.checks.processes:
            if world.chance(self.profile.left_behind):
                process.stale_since = now - 1e-6
                process.stale_until = now + world.random.expovariate(1 / self.profile.staleness)
                world.note(process.label, "reads what was before until", process.stale_until)
        self.store.forget(how, back)
        world.note("STORE", how, "->", self.store.memory)
        self.network.faults["losses"] += 1
        for key in sorted(self.watchers):
            self._wake(key)

    def _reboot(self) -> None:
        """A host stops, with all that runs there, and begins anew at once."""
        host = self.world.random.choice(self.hosts)
        if host.is_asleep:
            return
        self.world.note(host.name, "reboots")
        self.network.faults["reboots"] += 1
        for process in self.checks.processes:
            if process.host is host:
                process.crash()
        host.reboot(self.world.now)
        for seat in self.seats:
            if seat.host is host:
                seat.restart()

    def _request(self) -> None:
        """Somebody asks for a name, in the record of the session that holds it (rule 13)."""
        records, reading = self.world.core.records, self.world.core.reading
        key = records.name_key(self.world.random.choice(self.names))
        view = self.store.read([key])
        name = None if view.seen[key].value is None else reading.read_name(view.seen[key].value)
        if name is None or name.session is None:
            return
        session = records.session_key(name.session)
        seen = self.store.read([session]).seen[session]
        record = None if seen.value is None else reading.read_session(seen.value)
        if record is None or record.ended is not records.Ending.NO:
            return
        by = f"asker-{self.world.random.randrange(20)}"
        request = records.Request(key.removeprefix("name/"), name.token, by, self.world.now)
        self.store.swap([Write(session, seen.stamp, record.asking(request).encode())], view.memory)
        self.network.faults["requests"] += 1


def run(profile: Profile | str, seed: int, changes: tuple[Change, ...] = ()) -> Outcome:
    """Live through one history, which is the same whenever it is asked for."""
    profile = PROFILES[profile] if isinstance(profile, str) else profile
    outcome = Outcome(profile.name, seed)
    history = History(profile, seed, changes)
    try:
        history.live()
        heal(history)
    except Violation as violation:
        outcome.violation, outcome.tail = violation, history.world.tail()
    outcome.counts = history.checks.counts + history.network.faults
    return outcome
