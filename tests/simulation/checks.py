"""What must hold at every moment of true time, whatever the clients see of it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from leaderlock.backend import Write

from .store import Store
from .world import Violation, World

if TYPE_CHECKING:
    from .process import Process

__all__ = ["Checks", "Fate"]

JUST = 30.0
"""Longer than any answer's way and any claim, in seconds."""


class Fate:
    """What a candidacy was told, and what its application did. It is the candidacy's ``audience``."""

    __slots__ = ("answered", "asked_to_resign", "elected_at", "ended", "released", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.elected_at = -1.0
        self.answered = self.asked_to_resign = self.ended = self.released = False


@dataclass(slots=True)
class _Notes:
    """What the next leader of a name may find: the last note that was saved, or one that was asked for after it."""

    possible: list[bytes] = field(default_factory=lambda: [b""])
    any: bool = False
    """The store forgot, and no note was saved since."""


class Checks:
    """The invariants, looked at as things happen.

    A claim begins when its take is acknowledged and ends when either of its clocks reaches its deadline. Two claims of
    one name overlap iff one of them begins while the other stands, so that moment is the only one to be looked at; it
    is looked at exactly, by the clocks of either side, and not by samples.
    """

    def __init__(self, world: World, store: Store) -> None:
        self._world, self._store = world, store
        self.processes: list[Process] = []
        """Those that are running; a crashed one claims nothing."""
        self.counts: Counter[str] = Counter()
        self._tokens: dict[str, int] = {}
        self._notes: defaultdict[str, _Notes] = defaultdict(_Notes)
        self._written_on: dict[bytes, int] = {}
        self._composed: dict[bytes, bytes] = {}
        """What was found under it, for notes that a take carries."""
        self._losses = 0
        self._abandoned: dict[str, float] = {}
        store.applied = self._applied

    # -- around every event

    def before(self, process: Process, now: Any) -> list[Any]:
        """The claims of this process whose deadline has passed."""
        return [claim for claim in process.leading if not claim.standing.until.is_ahead(now)]

    def after(self, process: Process, now: Any, lapsed: list[Any]) -> None:
        for claim in tuple(process.leading):
            if not claim.leads:
                if claim.audience.asked_to_resign:
                    self._ended(process, claim, claim.audience)
                    continue
                raise Violation("news", f"{process.label} leads {claim.name} no more, and was not told")
            if not claim.standing.until.is_ahead(now):
                raise Violation("news", f"{process.label} is past its deadline for {claim.name}, and was not told")
            if claim in lapsed:
                raise Violation("news", f"{process.label}: a passed deadline of {claim.name} was revived")

    # -- news

    def news(self, process: Process, candidacy: Any, news: Any) -> None:
        fate: Fate = candidacy.audience
        match type(news).__name__:
            case "Elected":
                self._elected(process, candidacy, news, fate)
            case "Lost":
                self._require(fate.elected_at >= 0 and not fate.ended, "lost what was not held", process, candidacy)
                self._ended(process, candidacy, fate)
            case "Released":
                self._require(not (candidacy.leads or fate.released), "released what is held", process, candidacy)
                fate.released = True
                if news.acknowledged and candidacy.farewell is not None:
                    self._note_saved(candidacy.name, candidacy.farewell)
            case "Denied" | "Failed" | "Withdrawn":
                self._require(not fate.answered, "answered twice", process, candidacy)
                fate.answered = fate.ended = True
            case "NoteSaved":
                self._note_saved(candidacy.name, news.note)

    def abandoned(self, name: str) -> None:
        """Its leader has crashed."""
        self._abandoned[name] = self._world.now

    def noted(self, name: str, note: bytes) -> None:
        """The application saves a note: from now on the next leader may find it."""
        self._notes[name].possible.append(note)

    def composed(self, name: str, note: bytes, before: bytes) -> None:
        """A candidate makes a note from what it found: its take, if it wins, must replace that very one."""
        self.noted(name, note)
        self._composed[note] = before

    def _elected(self, process: Process, candidacy: Any, news: Any, fate: Fate) -> None:
        name = candidacy.name
        self._require(not fate.answered, "elected after an answer", process, candidacy)
        fate.answered, fate.elected_at = True, self._world.now
        self.counts["claims"] += 1
        if name in self._abandoned:
            self.counts["takeovers"] += 1
            self.counts["seconds leaderless"] += round(self._world.now - self._abandoned.pop(name))
        self._alone(process, candidacy)
        if news.token <= self._tokens.get(name, 0) or news.token != candidacy.token:
            raise Violation("tokens", f"{process.label} got {news.token} for {name}, after {self._tokens.get(name)}")
        self._tokens[name] = news.token
        self._look_for_losses()
        notes = self._notes[name]
        if not notes.any and news.note not in notes.possible:
            raise Violation("notes", f"{process.label} found {news.note!r} at {name} instead of {notes.possible}")
        if candidacy.errand is not None and news.note not in candidacy.errand.composed:
            raise Violation("notes", f"{process.label} won {name} with {news.note!r}, which its errand did not make")
        before = self._composed.pop(news.note, None)
        if before is not None:
            self.counts["errands"] += 1
            if not notes.any and before not in notes.possible:
                raise Violation("notes", f"{process.label} made {news.note!r} from {before!r}, not {notes.possible}")
        notes.possible = [news.note]
        # A take that was acknowledged just before the store forgot says nothing of what is there now.
        notes.any = self._world.now - self._store.lost_at < JUST
        process.leading.append(candidacy)

    def _alone(self, process: Process, candidacy: Any) -> None:
        now = self._world.now
        for other in self.processes:
            for claim in other.leading:
                if claim.name == candidacy.name and claim.standing.until.is_ahead(clock := other.host.clock(now)):
                    left = claim.standing.until.remaining(clock)
                    raise Violation(
                        "overlap", f"{process.label} leads {claim.name} while {other.label} does, for {left:.3f} s more"
                    )

    def _ended(self, process: Process, candidacy: Any, fate: Fate) -> None:
        fate.ended = True
        if candidacy in process.leading:
            process.leading.remove(candidacy)

    def _require(self, true: bool, text: str, process: Process, candidacy: Any) -> None:
        if not true:
            raise Violation("news", f"{process.label}, {candidacy.name}: {text}")

    # -- notes

    def _applied(self, write: Write) -> None:
        if write.value is not None and write.key.startswith("name/"):
            note = write.value.partition(b"\n")[2]
            self._written_on.setdefault(note, self._store.losses)

    def _note_saved(self, name: str, note: bytes) -> None:
        self._look_for_losses()
        self.counts["notes"] += 1
        if note not in self._written_on:
            raise Violation("notes", f"{note!r} was said to be saved at {name}, and was never written")
        notes = self._notes[name]
        if note in notes.possible and self._written_on[note] == self._store.losses:
            del notes.possible[: notes.possible.index(note)]
            notes.any = False

    def _look_for_losses(self) -> None:
        if self._losses != self._store.losses:
            self._losses = self._store.losses
            for notes in self._notes.values():
                notes.any = True
