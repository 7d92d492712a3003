"""What kind of world a history takes place in. A profile is drawn from once per history, by its seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from .cores import Change

__all__ = ["PROFILES", "QUICK_CLEANING", "Profile"]

QUICK_CLEANING: Final = (
    Change("cleaning.py", "DAY: Final = 86_400.0", "DAY: Final = 90.0"),
    Change("cleaning.py", "max(60.0, 4 * setting.timing.longest)", "max(5.0, setting.timing.longest)"),
)
"""A cleaner's day that passes within a history; no request of the simulated network travels that long."""

FEW_REMEMBERED: Final = (Change("session.py", "REMEMBERED: Final = 20_000", "REMEMBERED: Final = 1"),)
"""After a loss of memory the own names are found by a scan."""

NONE_RESTING: Final = (Change("rivals.py", "MOST_RESTING: Final = 1000", "MOST_RESTING: Final = 0"),)
"""As if each attempt were a process of its own, as a crontab line's is: nothing is known from the one before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Rates are per second of true time, shares are probabilities, everything else is in seconds."""

    name: str
    share: float = 1.0
    """Of the histories that each profile gets in a run of the tests; less where one takes several times as long."""
    seconds: float = 400.0
    constants: tuple[Change, ...] = QUICK_CLEANING

    # who takes part
    seats: int = 3
    names: int = 2
    ttls: tuple[float, ...] = (3.0, 6.0, 10.0)
    longest: float = 10.0
    rhos: tuple[float, ...] = (0.005, 0.03)
    edge: bool = False
    """Every clock is as fast or as slow as ρ allows."""
    slewed: float = 0.3
    same_kernel: float = 0.3
    kernel_known: float = 0.85
    """The share of hosts that can tell which kernel they run under."""
    wrong_wall: float = 0.3
    suspends: float = 0.003
    """Only of hosts whose first clock is not slewed: one of the two clocks must be right."""
    pauses: float = 0.01
    pause: float = 6.0
    reboots: float = 0.0
    """Of hosts, with everything on them: another kernel, and other steady clocks."""

    # what they do
    think: float = 6.0
    hold: float = 8.0
    patient: float = 0.7
    withdraws: float = 0.25
    notes: float = 0.15
    errands: float = 0.0
    """The share of campaigns that are decided by the name's note, and whose take carries one (rule 12)."""
    crashes: float = 0.15
    closes: float = 0.1
    again_at_once: float = 0.2
    on_own_thread: float = 0.3
    requests: float = 0.02

    # the way to the store and back
    latency: float = 0.02
    slow: float = 0.1
    """The share of calls of which each way takes up to the whole of an attempt."""
    slow_reads: bool = True
    lost: float = 0.04
    reply_lost: float = 0.04
    late: float = 0.03
    doubled: float = 0.03
    cut: float = 0.02
    never_sent: float = 0.02
    refused: float = 0.003
    travels: float = 40.0
    """The longest that a late request is on its way."""
    partitions: float = 0.003
    partition: float = 8.0
    deaf: float = 0.2
    """The share of wake-ups that do not come."""
    shows: float = 0.5
    """The share of wake-ups that show what there is, whatever becomes of it while they are on their way."""
    shows_late: float = 0.05
    """The share of these that travel as long as a late request."""
    lagging: float = 0.05
    lag: float = 5.0
    names_unread: float = 0.0
    """The share of reads on the names' lane that are lost besides, by every other process."""

    # the store
    keeps_memory: float = 0.5
    counts_by_key: float = 0.5
    losses: float = 0.0
    losses_at_takes: float = 0.0
    """The share of writes to names that are forgotten at once, while their answers are on their way."""
    left_behind: float = 0.1
    """The share of processes that go on reading what a store showed before it forgot, for a while."""
    staleness: float = 10.0
    one_lane: float = 0.0
    """The share of processes of which only the names' lane is left behind."""
    losses_midway: float = 0.0
    """The share of swaps in the middle of which the store forgets: some of the writes were applied before."""
    rollback: float = 12.0
    """How far back at most."""
    losses_seen: tuple[str, ...] = ("rollback", "rollback", "rollback", "wipe", "wipe", "failover")
    """What may happen at a loss, each as likely as the others."""


_MIXED = Profile(name="mixed")
_FORGETFUL = replace(_MIXED, name="forgetful", keeps_memory=0.0, losses=0.012)

_TUNED = replace(
    _MIXED,
    name="tuned",
    ttls=(4.0,),
    longest=4.0,
    rhos=(0.001,),
    names=1,
    patient=1.0,
    withdraws=0.0,
    think=0.5,
    slewed=0.0,
    same_kernel=0.0,
    suspends=0.0,
    slow=0.7,
    lagging=0.0,
    deaf=0.0,
    partitions=0.06,
    partition=6.0,
    pauses=0.0,
    hold=30.0,
)
"""Slow answers and eager rivals: holders are often cut off, and somebody waits for exactly that."""

PROFILES: Final = {
    profile.name: profile
    for profile in (
        _MIXED,
        replace(
            _MIXED,
            name="calm",
            lost=0.0,
            reply_lost=0.0,
            late=0.0,
            doubled=0.0,
            cut=0.0,
            never_sent=0.0,
            refused=0.0,
            slow=0.0,
            partitions=0.0,
            pauses=0.0,
            suspends=0.0,
            lagging=0.0,
        ),
        replace(_MIXED, name="rough", lost=0.1, reply_lost=0.1, late=0.1, doubled=0.1, cut=0.05, partitions=0.01),
        replace(_MIXED, name="sleepy", pauses=0.05, suspends=0.02, slewed=0.0, pause=9.0),
        replace(_MIXED, name="edge", edge=True, rhos=(0.03, 0.1, 0.2), slewed=0.0, same_kernel=0.0, suspends=0.0),
        replace(_MIXED, name="one-host", same_kernel=1.0, kernel_known=1.0, crashes=0.3),
        replace(
            _MIXED, name="slow", slow=0.6, ttls=(4.0,), same_kernel=0.0, patient=1.0, think=1.0, names=1, pauses=0.03
        ),
        replace(
            _MIXED,
            name="jobs",
            patient=0.0,
            think=20.0,
            crashes=0.4,
            hold=4.0,
            wrong_wall=0.5,
            constants=NONE_RESTING,
        ),
        _FORGETFUL,
        replace(_FORGETFUL, name="amnesia", losses=0.04, longest=6.0, ttls=(3.0, 6.0), late=0.1, reply_lost=0.1),
        replace(
            _FORGETFUL,
            name="repeating",
            losses=0.03,
            longest=6.0,
            ttls=(3.0, 6.0),
            counts_by_key=1.0,
            late=0.12,
            doubled=0.12,
            losses_seen=("rollback", "rollback", "wipe"),
        ),
        replace(_FORGETFUL, name="scanning", constants=QUICK_CLEANING + FEW_REMEMBERED, names=4),
        replace(_MIXED, name="as-built", constants=(), keeps_memory=1.0),
        replace(
            _MIXED, name="scribbling", notes=1.0, on_own_thread=0.8, reply_lost=0.15, slow=0.3, hold=20.0, ttls=(4.0,)
        ),
        # These were tuned until the breakages that are hard to see showed themselves.
        replace(_TUNED, name="tight", edge=True, rhos=(0.1,), slow=0.1),
        replace(_TUNED, name="eager", slow=0.35, partitions=0.1, latency=0.005),
        replace(_TUNED, name="quick", slow=0.05),
        replace(_MIXED, name="asked", names=1, ttls=(8.0,), requests=1.0, crashes=0.5, patient=1.0, kernel_known=0.0),
        replace(
            _TUNED,
            name="overtaken",
            share=0.25,
            keeps_memory=0.0,
            slow=0.5,
            slow_reads=False,
            losses_at_takes=0.1,
            left_behind=0.0,
            names=6,
            partitions=0.0,
            on_own_thread=1.0,
            think=3.0,
            hold=6.0,
            crashes=0.02,
            closes=0.02,
        ),
        replace(
            _TUNED,
            name="blind",
            keeps_memory=0.0,
            ttls=(3.0,),
            longest=3.0,
            slow=0.1,
            losses=0.05,
            rollback=8.0,
            losses_seen=("rollback",),
            names=3,
            names_unread=0.8,
            left_behind=0.0,
            deaf=1.0,
            partitions=0.0,
            hold=10.0,
        ),
        replace(
            _TUNED,
            name="outdated",
            keeps_memory=0.0,
            ttls=(3.0,),
            longest=3.0,
            slow=0.1,
            losses=0.03,
            rollback=8.0,
            losses_seen=("rollback",),
            left_behind=0.5,
            partitions=0.0,
            hold=10.0,
        ),
        replace(
            _TUNED,
            name="told-late",
            keeps_memory=0.0,
            counts_by_key=1.0,
            ttls=(3.0,),
            longest=3.0,
            slow=0.1,
            shows=1.0,
            shows_late=0.5,
            travels=12.0,
            losses=0.06,
            rollback=8.0,
            losses_seen=("rollback",),
            partitions=0.0,
            hold=3.0,
        ),
        replace(_MIXED, name="errands", errands=0.6, late=0.1, reply_lost=0.1, cut=0.05, think=3.0, on_own_thread=0.6),
        replace(
            _FORGETFUL,
            name="torn",
            errands=0.2,
            losses=0.01,
            losses_midway=0.02,
            left_behind=0.5,
            one_lane=0.7,
            longest=6.0,
            ttls=(3.0, 6.0),
            on_own_thread=0.5,
        ),
        replace(
            _MIXED,
            name="rebooted",
            share=0.5,
            same_kernel=0.7,
            reboots=0.04,
            suspends=0.01,
            slewed=0.1,
            think=2.0,
            hold=3.0,
            notes=0.3,
        ),
        replace(
            _MIXED,
            name="tidy",
            longest=3.0,
            ttls=(3.0,),
            counts_by_key=1.0,
            late=0.1,
            doubled=0.4,
            crashes=0.05,
            closes=0.05,
            notes=0.0,
            seats=2,
            think=15.0,
            hold=2.0,
        ),
    )
}
