"""One thread's call for a tick: which one is meant, and the wait for its claim."""

from __future__ import annotations

from collections.abc import Callable

from leaderlock._engine import Engine
from leaderlock._ticks.claiming import Claiming
from leaderlock._ticks.held import Held
from leaderlock._ticks.results import Skipped
from leaderlock._ticks.rules import Due
from leaderlock._ticks.slot import Slot
from leaderlock.errors import CampaignTimeout, NotLeader

__all__ = ["Calling"]


class Calling:
    """Carries what :class:`Claiming` decides, and blocks meanwhile."""

    def __init__(self, engine: Callable[[], Engine], claiming: Claiming) -> None:
        self._engine = engine
        self._claiming = claiming

    def meant(self) -> Due | None:
        """Which tick is meant; ``None``: none is near."""
        return self._claiming.meant(self._engine())

    def claim(self, meant: Due) -> Held | Skipped:
        """Take the job's name for that tick, if it is this caller's to run."""
        engine = self._engine()
        slot = self._claiming.slot(engine)
        reason = slot.enter(lambda: self._claiming.turn(engine, slot, meant))
        if reason is not None:
            return self._claiming.skipped(reason, str(engine.terms.holder), meant)
        try:
            held = self._seek(engine, slot, meant)
        except BaseException:
            slot.leave()
            raise
        if isinstance(held, Skipped):
            slot.leave()
        return held

    def _seek(self, engine: Engine, slot: Slot, meant: Due) -> Held | Skipped:
        seeking = self._claiming.seek(engine, meant)
        try:
            lease = seeking.campaign.run(seeking.within)
        except (NotLeader, CampaignTimeout) as error:
            return self._claiming.not_won(seeking, meant, error)
        finally:
            self._claiming.look_at_clocks(engine, slot, seeking.claim)
        try:
            return self._claiming.won(engine, slot, seeking)
        except BaseException:
            lease.resign(timeout=0)
            raise
