"""A command under a lease: started with time enough to end it, fed every renewal, ended before the lease does."""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from leaderlock._lease import course_of
from leaderlock._protocol.candidacy import Asked, Lost, News
from leaderlock.cli import guardian
from leaderlock.cli._options import Options, seconds
from leaderlock.cli._signals import Signals, Withdrawn
from leaderlock.cli._store import label_of, open_client, ttl_of
from leaderlock.cli._talk import Exit, Talk, Usage
from leaderlock.cli.guardian import Guardian, Outcome, Why
from leaderlock.errors import LeaseLost

if TYPE_CHECKING:
    from leaderlock import Client, Deadline, Lease

__all__ = ["Ended", "Supervisor", "add_grace", "guarded"]


def _inherited() -> dict[str, str]:
    """The environment that this process was started with: where the locale is C, as cron leaves it, Python has put an
    ``LC_CTYPE`` of its own there (PEP 538)."""
    inherited = dict(os.environ)
    try:
        with open("/proc/self/environ", "rb") as file:
            given = os.fsdecode(file.read()).split("\0")
    except OSError:
        return inherited  # no Linux
    inherited.pop("LC_CTYPE", None)
    for variable in given:
        name, _, value = variable.partition("=")
        if name == "LC_CTYPE":
            inherited[name] = value
    return inherited


def add_grace(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--grace",
        type=seconds,
        metavar="S",
        help="seconds from TERM to KILL when the lease ends; at most half the ttl (default: a quarter, at most 10)",
    )


def grace_of(options: Options) -> float:
    """How long the command has between TERM and KILL."""
    grace, ttl = options.grace, ttl_of(options)
    if grace is None:
        return min(10.0, ttl / 4)
    if grace > ttl / 2:
        raise Usage(
            f"grace ({grace:g} s) leaves too little of the ttl ({ttl:g} s) for renewals: the command would be ended "
            f"while the store may still answer. Use at most {ttl / 2:g} s, or --ttl {2 * grace:g}"
        )
    return float(grace)


def guarded(options: Options, talk: Talk, act: Callable[[Supervisor], int]) -> int:
    """Have ``act`` run the command, which is gone whatever becomes of this process; returns the exit code."""
    grace = grace_of(options)
    # Around all that may be interrupted: a signal may come as soon as its handler stands, amid the imports.
    try:
        with (
            # First of all, while there is one thread: the guardian is forked from it.
            guardian.start() as keeper,
            Signals(keeper) as signals,
            # The guardian ends before the client does: no name is freed while the command may live.
            open_client(options, label=label_of(options)) as client,
            keeper,
        ):
            return act(Supervisor(options=options, grace=grace, client=client, keeper=keeper, signals=signals))
    except Withdrawn as signal:
        talk.tell("withdrawn", f"withdrawn from {options.name!r} by {signal.name}", signal=signal.name)
        return 128 + signal.number


class Ended(NamedTuple):
    """How one run of the command ended."""

    code: int
    how: str
    """A word: ``exited``, ``not started``, ``lost``, ``too long``, ``guardian lost``."""
    text: str = ""
    """For people; nothing, where the exit code says it all."""
    reason: str | None = None
    """Why the lease was lost."""

    def tell(self, talk: Talk, lease: Lease, *, waited: float, ran: float, **facts: object) -> None:
        """Say so; ``waited`` and ``ran`` are seconds, before the election and since."""
        talk.tell(
            "ended",
            self.text,
            name=lease.name,
            token=lease.token,
            **facts,
            how=self.how,
            reason=self.reason,
            exit_code=self.code,
            waited=round(waited, 3),
            ran=round(ran, 3),
        )


class Supervisor(NamedTuple):
    """Runs the command of one command line."""

    options: Options
    grace: float
    client: Client
    keeper: Guardian
    signals: Signals
    max_run: float | None = None
    """After how many seconds the command is ended; ``None``: it may run for as long as the lease lasts."""
    environment: Mapping[str, str] = {}
    """What the command finds in its environment, beside what every one does."""

    def run(self, lease: Lease) -> Ended:
        """Run it, to its end. Signals are the command's while it runs, and kept from then on."""
        is_too_long = False
        try:
            self._start(lease)
            outcome, is_too_long = self._supervise(lease)
        except LeaseLost:  # between the election and the start
            outcome = Outcome(Why.DEADLINE, None)
        # Nothing may interrupt the release; a command that has ended needs no signals any more.
        self.signals.hold()
        return self._judge(lease, outcome, is_too_long=is_too_long)

    def _start(self, lease: Lease) -> None:
        """Start the command, with time enough to end it."""
        while True:
            # A lease that was won long after the session's last renewal may have less left than the grace.
            lease.ensure(self.grace + self.client.ttl / 10)
            deadline = lease.deadline
            lease.check()
            self.signals.hold()
            try:
                environment = self._environment(lease, deadline)
                self.keeper.spawn(self.options.argv, env=environment, deadline=deadline, grace=self.grace)
            except ValueError:  # this process was stopped since: look again
                self.signals.withdraw()
            else:
                self.signals.forward()
                return

    def _environment(self, lease: Lease, deadline: Deadline) -> dict[str, str]:
        ours = {
            "LEADERLOCK_TOKEN": str(lease.token),
            "LEADERLOCK_NAME": lease.name,
            # Rounded down, as a deadline never is to be believed too late.
            "LEADERLOCK_DEADLINE": f"{math.floor(deadline.boot * 1000) / 1000:.3f}",
            "LEADERLOCK_NAMESPACE": self.client.namespace,
        }
        if self.options.url is not None:
            # With its credentials: the command may campaign, and read its note, under the same store.
            ours["LEADERLOCK_URL"] = self.options.url
        return {**_inherited(), **ours, **self.environment}

    def _supervise(self, lease: Lease) -> tuple[Outcome, bool]:
        """Hand every renewal to the guardian, and the news that end the command; also whether it ran for too long."""
        course = course_of(lease)
        course.listen(self._hear)
        if course.candidacy.asked or not course.candidacy.leads:
            self.keeper.end(self.grace)  # so it was before there was anything to end
        told = lease.deadline
        began = time.monotonic()
        is_too_long = False
        while (outcome := self.keeper.wait(self._look_in(began, is_too_long=is_too_long))) is None:
            deadline = lease.deadline
            if deadline.boot > told.boot:  # not so once the lease is over: then it lies in the past
                self.keeper.extend(deadline)
                told = deadline
            if self.max_run is not None and not is_too_long and time.monotonic() - began >= self.max_run:
                is_too_long = True
                self.keeper.end(self.grace)
        return outcome, is_too_long and outcome.why is Why.ASKED

    def _look_in(self, began: float, *, is_too_long: bool) -> float:
        """After how many seconds to look at the lease and the clock again."""
        look = self.client.ttl / 10
        if self.max_run is None or is_too_long:
            return look
        return min(look, max(0.0, began + self.max_run - time.monotonic()))

    def _hear(self, news: News) -> None:
        """The lease is over, or somebody asks for it. With the engine's lock held: this must not block."""
        if isinstance(news, Lost | Asked):
            self.keeper.end(self.grace)

    def _judge(self, lease: Lease, outcome: Outcome, *, is_too_long: bool) -> Ended:
        match outcome.why:
            case Why.EXITED:
                return Ended(outcome.exit_code, "exited")
            case Why.NOT_STARTED:
                return Ended(outcome.exit_code, "not started", outcome.detail)
            case Why.GUARDIAN_LOST:
                return Ended(Exit.BROKEN, "guardian lost", "the guardian died, so the command was killed")
            case _ if is_too_long and lease.is_held:
                text = f"{lease.name!r} ran for more than {self.max_run:g} s: the command was ended"
                return Ended(Exit.TOO_LONG, "too long", text)
            case _:
                reason = _why_over(lease)
                text = f"the lease of {lease.name!r} was lost ({reason}): the command was ended"
                return Ended(Exit.LOST, "lost", text, reason)


def _why_over(lease: Lease) -> str:
    """Why a lease that may still be held had to be given up, or was lost."""
    if lease.lost_reason is not None:
        return lease.lost_reason.value
    return "yielded" if course_of(lease).candidacy.asked else "not renewed in time"
