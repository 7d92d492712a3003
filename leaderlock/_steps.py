"""The machine behind its lock: one step at a time, and each of them whole, or else that machine never takes another."""

from __future__ import annotations

import logging
import threading

from leaderlock._clock import Clock
from leaderlock._handed import Handed
from leaderlock._journal import Journal
from leaderlock._locks import signal_safe
from leaderlock._outward import Outward
from leaderlock._protocol.candidacy import LossReason, State
from leaderlock._protocol.clocks import PAST
from leaderlock._protocol.events import Campaign, Event, Refused
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.setting import Setting
from leaderlock._thread import apart, hand_over
from leaderlock.errors import LeaderLockError, UsageError

__all__ = ["Steps"]


class Steps:
    """Events in, and what follows from them carried out, all of it under one lock.

    An interruption in the middle of a step, or a mistake of ours, leaves a machine that may be half-way between two
    states. It is given up with all that it led, and another takes its place (ADR 0008), whatever interrupts that: what
    was not done then is done by a thread that no signal interrupts, or by whoever comes first with another event.
    """

    def __init__(self, setting: Setting, clock: Clock, outward: Outward, journal: Journal) -> None:
        self._setting = setting
        self._clock = clock
        self._outward = outward
        self._journal = journal
        self._is_busy = False
        self._broken_by: BaseException | None = None
        """What a step of this machine ended with, until everybody was told and there is another machine."""
        self.lock = signal_safe(threading.RLock())
        self.machine = Machine(setting)

    def take(self, event: Event, mine: Handed | None) -> None:
        """One step, with the lock held. A call to the store that follows is the caller's own if ``mine`` takes it.

        Raises:
            UsageError: the machine refuses this event, or who tells it has interrupted another step.
            LeaderLockError: something in leaderlock broke, and every lease was given up.
        """
        if self._is_busy:
            raise UsageError(
                "a signal handler called leaderlock while it had interrupted leaderlock: let the handler set a flag"
            )
        self._is_busy = True
        try:
            if self._broken_by is not None:
                self._collapse(self._broken_by)
            refusal = self._step(event, mine)
        except BaseException as error:
            self._broken_by = error
            try:
                self._collapse(error)
            except BaseException:  # Ctrl-C again, or another signal
                hand_over(apart, (self.mend,))
                raise
            if isinstance(error, Exception):
                raise LeaderLockError(f"leaderlock failed and gave up its leases: {error!r}") from error
            raise
        finally:
            self._is_busy = False
        if refusal is not None:
            raise UsageError(str(refusal))

    def _step(self, event: Event, mine: Handed | None) -> Refused | None:
        seekers = event.candidacies if isinstance(event, Campaign) else ()
        if seekers:
            self._outward.expect(seekers)
        try:
            effects, refusal = self.machine.handle(event, self._clock.now()), None
        except Refused as error:  # by the machine's own word, which nobody else can say: not a signal handler either
            effects, refusal = self.machine.drain(), error
            mine = None
            self._outward.expect_no_more(one for one in seekers if one.state is State.IDLE)
        self._outward.carry_out(effects, mine)
        return refusal

    def fail(self, error: Exception) -> None:
        """Outside of any step, something broke without which the machine cannot be relied upon. With the lock held."""
        self._broken_by = error
        self._collapse(error)

    def mend(self) -> None:
        """Finish what an interruption has left undone, if anything."""
        with self.lock:
            if self._broken_by is not None:
                self._collapse(self._broken_by)

    def _collapse(self, error: BaseException) -> None:
        """No claim survives, everybody is told, and another machine takes the next step. Done again from the start if
        it was interrupted."""
        self.machine.standing.until = PAST
        self.machine.drain()
        self.machine = Machine(self._setting)
        self._outward.give_up(LossReason.FAILED, LeaderLockError(f"leaderlock failed: {error!r}"))
        self._journal.say(logging.CRITICAL, "leaderlock gives up all leases of this client: %r", error, exc_info=error)
        self._broken_by = None

    def disown(self) -> None:
        """In a forked child: no claim, and a lock that no thread of the parent's holds."""
        self.lock = signal_safe(threading.RLock())
        self.machine.standing.until = PAST
