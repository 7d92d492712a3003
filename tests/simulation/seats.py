"""The applications: one seat is a place where process after process is started, used, closed and killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .checks import Checks, Fate
from .process import Process
from .profiles import Profile
from .world import Host, World

__all__ = ["Seat"]


class Errand:
    """Something to be done once in a while: the name's note decides whether, and the take says so in it."""

    def __init__(self, world: World, checks: Checks, name: str) -> None:
        self._world, self._checks, self._name = world, checks, name
        self.composed: set[bytes] = set()

    def wish(self, note: bytes, now: Any) -> Any:
        wish = self._world.core.candidacy.Wish
        return self._world.random.choice((wish.WAIT, wish.WAIT, wish.TRY, wish.TRY, wish.LEAVE))

    def compose(self, note: bytes, token: int, now: Any) -> bytes | None:
        if self._world.chance(0.1):
            return None
        composed = f"{self._world.new_id()}".encode()
        self.composed.add(composed)
        self._checks.composed(self._name, composed, note)
        return composed


class Seat:
    """An application that wants some names now and then. ``start`` makes its next process."""

    def __init__(
        self,
        world: World,
        profile: Profile,
        checks: Checks,
        *,
        names: tuple[str, ...],
        host: Host,
        ttl: float,
        start: Callable[[Seat], Process],
    ) -> None:
        self._world, self._profile, self._checks = world, profile, checks
        self._start = start
        self.names, self.host, self.ttl = names, host, ttl
        self.wants = True
        """Whether it goes on campaigning by itself."""
        self.tried: dict[str, Any] = {}
        """The last candidacy for each name."""
        self._tickets = 0
        self.process = start(self)
        for name in names:
            self._think(name)

    # -- what it does

    def campaign(self, name: str, *, patient: bool) -> Any | None:
        """Campaign, unless this process still holds the name or campaigns for it."""
        before = self.tried.get(name)
        if before is not None and not before.audience.ended:
            return None
        has_errand = self.wants and self._world.chance(self._profile.errands)
        errand = Errand(self._world, self._checks, name) if has_errand else None
        fate = Fate(self._world.now)
        candidacy = self._world.core.candidacy.Candidacy(name, patient=patient, audience=fate, errand=errand)
        candidacy.yields = self._world.chance(0.7)
        self.tried[name] = candidacy
        self.process.call(self._event("Campaign", [candidacy]))
        return candidacy

    def leave(self, candidacy: Any) -> None:
        """Withdraw what was not won yet, resign what was."""
        if candidacy is self.tried.get(candidacy.name):
            self.process.leave(candidacy)

    def restart(self) -> None:
        """The next process; of the last one's candidacies nobody hears again."""
        self.process = self._start(self)
        self.tried.clear()
        if self.wants:
            for name in self.names:
                self._think(name)

    def crash(self) -> None:
        self.process.crash()
        self.restart()

    def close(self) -> None:
        """End the process in an orderly way, which may be cut short; the next one does not wait for that."""
        process = self.process
        process.call(self._event("Close"))
        if self._world.chance(0.3):
            self._world.after(self._world.random.expovariate(0.5), process.crash)
        self.restart()

    # -- what it would like to do

    def _think(self, name: str) -> None:
        self._world.after(self._world.random.expovariate(1 / self._profile.think), self._begin, self.process, name)

    def _begin(self, process: Process, name: str) -> None:
        if process is not self.process or not self.wants:
            return
        world = self._world
        candidacy = self.campaign(name, patient=world.chance(self._profile.patient))
        if candidacy is not None and world.chance(self._profile.withdraws):
            world.after(world.random.expovariate(0.3), self.leave, candidacy)

    def told(self, process: Process, candidacy: Any, news: Any) -> None:
        """News from a machine of this seat's; what follows from it is done by another thread, a little later."""
        if process is not self.process:
            return
        world, profile = self._world, self._profile
        match type(news).__name__:
            case "Elected" if self.wants:
                world.after(world.random.expovariate(1 / profile.hold), self._end, process, candidacy)
                if world.chance(profile.notes * 3):
                    world.after(world.random.random(), self._save, process, candidacy)
            case "Asked":
                world.after(world.random.expovariate(0.5), self.leave, candidacy)
            case "Lost" | "Denied" | "Failed" | "Withdrawn":
                self._think(candidacy.name)

    def _save(self, process: Process, candidacy: Any) -> None:
        if process is not self.process or candidacy.audience.ended:
            return
        world = self._world
        self._tickets += 1
        note = f"{world.new_id()}".encode()
        process.save(candidacy, note, self._tickets)
        if world.chance(0.6):
            world.after(world.random.random() * 3, self._save, process, candidacy)

    def _end(self, process: Process, candidacy: Any) -> None:
        if process is not self.process or not self.wants:
            return
        world, profile = self._world, self._profile
        if process.host.is_asleep:
            world.after(1.0, self._end, process, candidacy)  # nothing is killed or started there
            return
        drawn = world.random.random()
        if drawn < profile.crashes:
            self.crash()
        elif drawn < profile.crashes + profile.closes:
            self.close()
        elif not candidacy.audience.ended:
            self.leave(candidacy)
            if world.chance(profile.again_at_once):
                self._begin(process, candidacy.name)
            else:
                self._think(candidacy.name)

    def _event(self, name: str, *arguments: Any) -> Any:
        return getattr(self._world.core.events, name)(*arguments)
