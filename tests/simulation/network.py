"""The way to the store and back, on which requests and replies are lost, late, doubled and cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from leaderlock.backend import Answer, View, Write
from leaderlock.errors import BackendRefused, BackendUnavailable, MemoryGone, OutcomeUnknown

from .profiles import Profile
from .store import Gone, Store
from .world import World

__all__ = ["Network"]

_ERRORS = {
    "UNKNOWN": OutcomeUnknown("simulated: no answer"),
    "NEVER_SENT": BackendUnavailable("simulated: never sent"),
    "REFUSED": BackendRefused("simulated: no"),
    "MEMORY_GONE": MemoryGone("simulated: another memory"),
}


class Network:
    """Carries calls. The fate of each is drawn as it leaves; ``done`` hears an answer or the kind of a failure."""

    def __init__(self, world: World, store: Store, profile: Profile) -> None:
        self._world = world
        self._store = store
        self._profile = profile
        self.calm = False
        """Nothing more goes wrong: the end of a history, at which everything has to come right."""
        self.forgets: Callable[[], None] = lambda: None
        """Makes the store forget."""
        self.faults: Counter[str] = Counter()
        total = 0.0
        self._fates: list[tuple[float, str]] = []
        for fate in ("lost", "reply_lost", "late", "doubled", "cut", "never_sent", "refused", "slow"):
            total += getattr(profile, fate)
            self._fates.append((total, fate))

    def swap(
        self,
        writes: Sequence[Write],
        memory: str,
        *,
        patience: float,
        is_cut_off: bool,
        done: Callable[[Sequence[Answer] | str], None],
    ) -> None:
        """Send a swap; within ``patience`` seconds of true time its sender hears of it, or that nothing is known."""
        world, random = self._world, self._world.random
        fate = self._fate(is_cut_off)
        there, back = self._ways(fate, patience)
        if fate in ("never_sent", "refused"):
            world.after(there, done, fate.upper())
            return
        gives_up = patience if random.random() < 0.7 else random.uniform(min(there, patience), patience)
        if fate == "lost":
            world.after(gives_up, done, "UNKNOWN")
        elif fate == "late":
            world.after(random.uniform(0.0, self._profile.travels), self._deliver, writes, memory)
            world.after(gives_up, done, "UNKNOWN")
        elif fate == "cut":
            kept = random.randrange(len(writes) + 1)
            world.after(there, self._deliver, writes[:kept], memory)
            if random.random() < 0.5:
                world.after(random.uniform(there, self._profile.travels), self._deliver, writes[kept:], memory)
            world.after(max(there, gives_up), done, "UNKNOWN")
        elif fate == "reply_lost" or there + back >= patience:
            world.after(there, self._deliver, writes, memory)
            world.after(patience, done, "UNKNOWN")
        else:
            if fate == "doubled":
                world.after(there + random.uniform(0.0, self._profile.travels), self._deliver, writes, memory)
            world.after(there, self._execute, writes, memory, back, done)

    def read(
        self,
        keys: Sequence[str],
        *,
        patience: float,
        is_cut_off: bool,
        is_lost: bool,
        as_of: float | None,
        done: Callable[[View | str], None],
    ) -> None:
        """Read; ``as_of``: from a replica that stands still since then."""
        world = self._world
        fate = self._fate(is_cut_off)
        there, back = self._ways(fate if self._profile.slow_reads else "", patience)
        if fate in ("never_sent", "refused"):
            world.after(there, done, fate.upper())
        elif fate in ("lost", "late", "reply_lost", "cut") or there + back >= patience or (is_lost and not self.calm):
            world.after(patience, done, "UNKNOWN")
        elif as_of is not None and not self.calm:
            world.after(there, self._look, keys, world.now + there - as_of, back, done)
        else:
            lag = 0.0
            if not self.calm and world.chance(self._profile.lagging):
                lag = world.random.uniform(0.0, self._profile.lag)
                self.faults["lagging"] += 1
            world.after(there, self._look, keys, lag, back, done)

    @staticmethod
    def error(failure: str) -> Exception:
        return _ERRORS[failure]

    def _fate(self, is_cut_off: bool) -> str:
        if self.calm:
            return ""
        random = self._world.random
        if is_cut_off:
            return random.choice(("lost", "lost", "late", "reply_lost", "never_sent"))
        drawn = random.random()
        for limit, fate in self._fates:
            if drawn < limit:
                self.faults[fate] += 1
                return fate
        return ""

    def _ways(self, fate: str, patience: float) -> tuple[float, float]:
        random = self._world.random
        longest = patience if fate == "slow" else self._profile.latency
        return random.random() * longest, random.random() * longest

    def _look(self, keys: Sequence[str], lag: float, back: float, done: Callable[[View | str], None]) -> None:
        self._world.after(back, done, self._store.read(keys, lag))

    def _execute(
        self, writes: Sequence[Write], memory: str, back: float, done: Callable[[Sequence[Answer] | str], None]
    ) -> None:
        if not self.calm and self._world.chance(self._profile.losses_midway):
            self._deliver(writes[: self._world.random.randrange(len(writes) + 1)], memory)
            self.forgets()
            self.faults["losses midway"] += 1
        try:
            self._world.after(back, done, self._store.swap(writes, memory))
        except Gone:
            self._world.after(back, done, "MEMORY_GONE")

    def _deliver(self, writes: Sequence[Write], memory: str) -> None:
        """A request whose sender hears nothing of it."""
        try:
            self._store.swap(writes, memory)
        except Gone:
            self._world.note("store", "a late request found another memory")
