"""What ``leaderlock cron`` does: claims the tick that is due, runs the command, and says how it ended."""

from __future__ import annotations

import time

from leaderlock._ticks.held import Held
from leaderlock._ticks.record import Ending
from leaderlock._ticks.results import Skipped
from leaderlock._ticks.rules import SkipReason
from leaderlock._ticks.ticking import Ticking, calling_of
from leaderlock.cli._supervisor import Ended, Supervisor
from leaderlock.cli._talk import Exit, Talk, Usage
from leaderlock.cli._zone import local_zone
from leaderlock.errors import LeaseLost

__all__ = ["Ticker"]

EVERY_MINUTE = "* * * * *"


class Ticker:
    """One ``leaderlock cron``, between the start of its guardian and its exit code."""

    def __init__(self, supervisor: Supervisor, talk: Talk) -> None:
        self.supervisor = supervisor._replace(max_run=supervisor.options.max_run)
        self.options = supervisor.options
        self.client = supervisor.client
        self.signals = supervisor.signals
        self.talk = talk

    def run(self) -> int:
        ticking = self._ticking()
        ticking.on_waiting = self._waits
        calling = calling_of(ticking)
        meant = calling.meant()
        if meant is None:
            raise Usage(self._not_due())
        while True:
            began = time.monotonic()
            held = calling.claim(meant)
            if isinstance(held, Skipped):
                return self._skipped(held)
            ended = self._run(held, waited=time.monotonic() - began)
            if held.run.by_hand or held.run.tick == meant.tick or ended.how != "exited":
                return ended.code
            self.signals.withdraw()  # an unfinished earlier tick went first

    def _ticking(self) -> Ticking:
        options = self.options
        zone = options.zone
        try:
            return self.client.tick(
                options.schedule or (None if options.now else EVERY_MINUTE),
                name=options.name,
                now=options.now,
                zone=None if options.now and not options.schedule else zone or local_zone(),
                runs="at-least-once" if options.at_least_once else "at-most-once",
                overlap=options.overlap,
                misfire=options.misfire,
                tolerance=options.tolerance,
                window=options.window,
                hold_for=options.hold_for,
                retries=options.retries,
            )
        except (ValueError, TypeError) as error:
            raise Usage(str(error)) from error

    def _waits(self, why: str) -> None:
        text = f"waiting for {self.options.name!r}: {why}" if self.options.verbose else ""
        self.talk.tell("waiting", text, name=self.options.name, why=why)

    def _not_due(self) -> str:
        from leaderlock import Schedule

        options = self.options
        schedule = Schedule(options.schedule or EVERY_MINUTE, zone=options.zone or local_zone())
        now = self.client.now()
        return (
            f"no tick of {schedule} is near enough to now ({now.isoformat(timespec='seconds')}); the nearest is "
            f"{schedule.nearest(now).isoformat()}. If cron fires in another time zone, say --zone; if a timer fires "
            "late on purpose, --tolerance or --misfire run; to run it by hand, --now"
        )

    def _skipped(self, skipped: Skipped) -> int:
        self.talk.tell(
            "skipped",
            str(skipped) if self.options.verbose else "",
            name=skipped.name,
            reason=skipped.reason.value,
            by=skipped.by,
            tick=None if skipped.tick is None else skipped.tick.isoformat(),
        )
        # Who runs by hand wants it run: that somebody else does is not what he asked for.
        if self.options.now and skipped.reason is not SkipReason.DONE:
            self.talk.say("" if self.options.verbose else str(skipped))
            return Exit.NOT_ELECTED
        return Exit.OK

    def _run(self, held: Held, *, waited: float) -> Ended:
        """The command, until it has ended well or its retries are used up."""
        lease = held.tick.lease
        # Somebody who asks for the name gets it when the command has ended, and not before.
        held.course.candidacy.yields = False
        tick, began = held.tick.at.isoformat(), time.monotonic()
        self.talk.tell("elected", "", name=lease.name, token=lease.token, tick=tick, attempt=held.tick.attempt)
        retries = self.options.retries
        while True:
            environment = {"LEADERLOCK_TICK": tick, "LEADERLOCK_ATTEMPT": str(held.tick.attempt)}
            ended = self.supervisor._replace(environment=environment).run(lease)
            if not self._fails(ended) or retries <= 0 or not self._pause(held, ended):
                break
            retries -= 1
            held.begin_again()
        ran = time.monotonic() - began
        ended.tell(self.talk, lease, waited=waited, ran=ran, tick=tick, attempt=held.tick.attempt)
        how = self._ending(ended)
        try:
            held.finish(how, again=how is Ending.INTERRUPTED)
        except LeaseLost as lost:
            if ended.how != "lost":
                self.talk.say(f"{lost}; another host may run it too")
                return Ended(Exit.LOST, "lost", reason=lost.reason)
        return ended

    def _fails(self, ended: Ended) -> bool:
        return ended.how == "exited" and ended.code != 0 and not self.signals.was_told_to_end

    def _pause(self, held: Held, ended: Ended) -> bool:
        """Wait before the command is run again; returns whether it is."""
        pause = held.next_pause()
        if pause is None:
            return False
        self.talk.tell(
            "retrying",
            f"{held.tick.name!r} ended with exit code {ended.code}, and is run again in {pause:.1f} s",
            name=held.tick.name,
            exit_code=ended.code,
            pause=round(pause, 3),
        )
        self.signals.forward()  # while nothing runs they are the next command's
        return held.pause(pause) and not self.signals.was_told_to_end

    def _ending(self, ended: Ended) -> Ending:
        match ended.how:
            case "too long":
                return Ending.TOO_LONG
            case "lost" | "guardian lost":
                return Ending.INTERRUPTED
            case _ if self.signals.was_told_to_end:
                return Ending.INTERRUPTED
            case _:
                return Ending.OK if ended.code == 0 else Ending.FAILED
