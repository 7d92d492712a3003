"""The end of every history: all faults stop, and everything has to come right within a bounded time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .profiles import QUICK_CLEANING
from .seats import Seat
from .world import Violation

if TYPE_CHECKING:
    from .history import History

__all__ = ["heal"]

EVERY = 20.0
"""How often a job is tried by who does not wait."""


def heal(history: History) -> None:
    """Let nothing more go wrong, and require progress.

    Raises:
        Violation: a name is kept by nobody, or not led though it is wanted; an answer does not come; something is
            never finished; a dead client's session stays.
    """
    wait = 1.3 * history.profile.longest
    _give_up(history)
    _rest(history, wait)
    _lead(history, wait)
    if history.world.chance(0.3):
        _hand_over(history)
    if history.world.chance(0.3):
        _hurry(history, wait)
        _inherit(history, wait)
    if set(QUICK_CLEANING) <= set(history.profile.constants) and history.world.chance(0.3):
        _bury(history, wait)


def _give_up(history: History) -> None:
    """Everybody gives up what he has, while things still go wrong; a little later nothing does any more."""
    for seat in history.seats:
        seat.wants = False
        for candidacy in tuple(seat.tried.values()):
            seat.leave(candidacy)
    history.world.run(history.world.now + 1.0)
    history.network.calm = True
    for process in history.checks.processes:
        process.cut_off_until = 0.0


def _rest(history: History, wait: float) -> None:
    """Late requests arrive. Then nothing is under way, and no name shows a session that is alive."""
    history.world.run(history.world.now + history.profile.travels + 1.0)
    _require(history, wait, lambda: not _unfinished(history), lambda: _unfinished(history))
    _require(history, wait, lambda: not _kept_by_nobody(history), lambda: _kept_by_nobody(history))


def _lead(history: History, wait: float) -> None:
    """Everybody wants every name: each is led, after the settling and the burials that this may need."""
    for seat in history.seats:
        for name in seat.names:
            seat.campaign(name, patient=True)

    def without() -> list[str]:
        return [name for name in history.names if _leader(history, name) is None]

    _require(history, 4 * wait + 10, lambda: not without(), lambda: f"nobody leads {without()}")


def _hand_over(history: History) -> None:
    """What is released is led by the one who waits for it: soon, and all the same where no watch tells of names."""
    ttl = max(history.profile.ttls)
    # At the longest, both sides first wait for a scan to get out of the way, which takes as long as an attempt.
    _follow(history, within=0.5 * ttl + 0.5)
    history.hears_of_names = False
    _follow(history, within=1.8 * ttl)
    history.hears_of_names = True
    for seat in history.seats:
        for name in seat.names:
            seat.campaign(name, patient=True)
    history.world.run(history.world.now + 1.0)


def _follow(history: History, *, within: float) -> None:
    """One seat campaigns for all that the others lead, and these resign a moment later."""
    world = history.world
    for seat in history.seats:
        for candidacy in tuple(seat.tried.values()):
            if candidacy.campaigns:
                seat.leave(candidacy)
    world.run(world.now + 1.0)
    leaders = {name: _leader(history, name) for name in history.names}
    follower = world.random.choice([seat for seat in history.seats if seat not in leaders.values()] or history.seats)
    wanted = {name: leader for name, leader in leaders.items() if leader is not None and leader is not follower}
    for number, (name, leader) in enumerate(wanted.items()):
        follower.campaign(name, patient=True)
        if number == 0:
            world.run(world.now + 1.0)  # so that it knows the session of whoever leads the others too
        world.after(world.random.random() * 0.05, leader.leave, leader.tried[name])

    def behind() -> list[str]:
        return [name for name in wanted if _leader(history, name) is not follower]

    _require(history, within, lambda: not behind(), lambda: f"nobody leads {behind()}, which were resigned")
    history.checks.counts["resignations followed"] += len(wanted)


def _hurry(history: History, wait: float) -> None:
    """Who does not wait for a live leader is told so within a bounded time (rule 14)."""
    for seat in history.seats:
        for candidacy in tuple(seat.tried.values()):
            if candidacy.campaigns:
                seat.leave(candidacy)
                seat.campaign(candidacy.name, patient=False)

    def undecided() -> list[str]:
        return [name for seat in history.seats for name, tried in seat.tried.items() if tried.campaigns]

    _require(history, wait + 2, lambda: not undecided(), lambda: f"no answer about {undecided()}")


def _inherit(history: History, wait: float) -> None:
    """A job that is tried now and then without waiting runs again after its host has died."""
    name = history.names[0]
    seat = _leader(history, name)
    assert seat is not None
    died = history.world.now
    seat.crash()
    rivals = [other for other in history.seats if other is not seat]

    def retried() -> bool:
        if (history.world.now - died) % EVERY < 1.0:
            for rival in rivals:
                rival.campaign(name, patient=False)
        return _leader(history, name) is not None

    _require(history, 2 * EVERY + 2 * wait, retried, lambda: f"{name} does not run again")
    history.checks.counts["inherited"] += 1
    history.checks.counts["seconds to inherit"] += round(history.world.now - died)


def _bury(history: History, wait: float) -> None:
    """The sessions of dead clients end, without anybody wanting what they held."""

    def undead() -> list[str]:
        return [f"session {session} is never buried" for session in _alive(history) - _own(history)]

    _require(history, 8 * wait + 20, lambda: not undead(), undead)


def _require(history: History, wait: float, true: Any, otherwise: Any) -> None:
    if not history.world.run_until(true, wait):
        raise Violation("liveness", f"after {wait:.0f} s without a fault: {otherwise()}")


# -- what is looked at


def _leader(history: History, name: str) -> Seat | None:
    for seat in history.seats:
        if any(claim.name == name for claim in seat.process.leading):
            return seat
    return None


def _alive(history: History) -> set[str]:
    """The sessions that the store shows alive."""
    records, reading = history.world.core.records, history.world.core.reading
    return {
        key.removeprefix("session/")
        for key, seen in history.store.scan("session/")
        if reading.read_session(seen.value).ended is records.Ending.NO
    }


def _own(history: History) -> set[str | None]:
    return {process.session for process in history.checks.processes if not process.is_dead}


def _kept_by_nobody(history: History) -> list[str]:
    """Names that show a session which its owner keeps alive (nobody leads now, so nobody claims them)."""
    reading, found = history.world.core.reading, []
    for key, seen in history.store.scan("name/"):
        session = reading.read_name(seen.value).session
        if session is not None and session in _alive(history) and session in _own(history):
            found.append(f"{key} is kept by nobody, for session {session}")
    return found


def _unfinished(history: History) -> list[str]:
    running = [process for process in history.checks.processes if not process.is_dead]
    found = [f"{process.label} is never done" for process in running if not process.is_idle]
    for seat in history.seats:
        for candidacy in seat.tried.values():
            fate = candidacy.audience
            resigned = fate.asked_to_resign and fate.elected_at >= 0 and candidacy.reason is None
            if not fate.ended:
                found.append(f"{seat.process.label} is never told the end of {candidacy.name}")
            elif resigned and not fate.released:
                found.append(f"{seat.process.label} is never told that {candidacy.name} was released")
    return found
