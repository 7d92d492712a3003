"""The wrapper around a command: campaigns, and what runs under each lease."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from leaderlock._protocol.candidacy import Asked, Lost, News
from leaderlock.cli._leaders import leader_in_words
from leaderlock.cli._options import Options, namespace_of
from leaderlock.cli._signals import Signals
from leaderlock.cli._talk import Exit, Talk
from leaderlock.cli.guardian import Guardian, Outcome, Why
from leaderlock.errors import LeaseLost, NotLeader

if TYPE_CHECKING:
    from leaderlock import Client, Deadline, Lease

__all__ = ["Wrapper"]

RELEASE_WITHIN: Final = 5.0
"""How long, in seconds, a wrapper whose command has ended waits at most for the store to hear of it."""


@dataclass(frozen=True, slots=True)
class _Ending:
    """How one term ended."""

    code: int
    how: str
    """A word: ``exited``, ``not started``, ``lost``, ``guardian lost``."""
    text: str = ""
    """For people; nothing, where the exit code says it all."""
    reason: str | None = None
    """Why the lease was lost."""


@dataclass(slots=True, kw_only=True)
class Wrapper:
    """One ``leaderlock run``, between the start of its guardian and its exit code."""

    options: Options
    grace: float
    talk: Talk
    client: Client
    keeper: Guardian
    signals: Signals
    has_waited: bool = False

    def run(self) -> int:
        while True:
            ending = self._term()
            if ending.how != "lost" or not self.options.restart:
                return ending.code
            self.signals.withdraw()

    def _term(self) -> _Ending:
        """One campaign, and what ran under its lease."""
        began = time.monotonic()
        lease = self._campaign()
        elected = time.monotonic()
        try:
            self._start(lease)
            outcome = self._supervise(lease)
        except LeaseLost:  # between the election and the start
            outcome = Outcome(Why.DEADLINE, None)
        ended = time.monotonic()
        # Nothing may interrupt the release; a command that has ended needs no signals any more.
        self.signals.hold()
        ending = self._judge(lease, outcome)
        self.talk.tell(
            "ended",
            ending.text,
            name=lease.name,
            token=lease.token,
            how=ending.how,
            reason=ending.reason,
            exit_code=ending.code,
            waited=round(elected - began, 3),
            ran=round(ended - elected, 3),
        )
        # Only now, as the command and all that it started are gone, may somebody else lead.
        if lease.is_held and not lease.resign(timeout=min(RELEASE_WITHIN, self.client.ttl / 2)):
            self.talk.say(f"the store does not answer: {lease.name!r} is free in {self.client.ttl:g} s")
        return ending

    # -- before the command

    def _campaign(self) -> Lease:
        options = self.options
        election = self.client.election(options.name)
        try:
            lease = election.campaign(timeout=options.timeout, wait=not options.no_wait, on_waiting=self._waits)
        except NotLeader as error:
            who = leader_in_words(self.client, options.name) or f"somebody else leads {options.name!r}"
            raise NotLeader(f"not elected: {who}") from error
        # Somebody who asks for the name gets it when the command has ended, and not before.
        lease.candidacy.yields = False
        text = f"leads {lease.name!r} now, with token {lease.token}" if self.has_waited else ""
        self.talk.tell("elected", text, name=lease.name, token=lease.token)
        return lease

    def _waits(self, why: str) -> None:
        name, talk = self.options.name, self.talk
        if talk.as_json:
            talk.tell("waiting", "", name=name, why=why)
        elif not talk.is_quiet:
            self.has_waited = True
            talk.say(f"waiting for {name!r}: {why}")
            talk.say(leader_in_words(self.client, name))

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
            "LEADERLOCK_NAMESPACE": namespace_of(self.options),
        }
        if self.options.url is not None:
            # With its credentials: the command may campaign, and read its note, under the same store.
            ours["LEADERLOCK_URL"] = self.options.url
        return {**os.environ, **ours}

    # -- while the command runs

    def _supervise(self, lease: Lease) -> Outcome:
        """Hand every renewal to the guardian, and the news that end the command."""
        lease.listen(self._hear)
        if lease.candidacy.asked or not lease.candidacy.leads:
            self.keeper.end(self.grace)  # so it was before there was anything to end
        told = lease.deadline
        while (outcome := self.keeper.wait(self.client.ttl / 10)) is None:
            deadline = lease.deadline
            if deadline.boot > told.boot:  # not so once the lease is over: then it lies in the past
                self.keeper.extend(deadline)
                told = deadline
        return outcome

    def _hear(self, news: News) -> None:
        """The lease is over, or somebody asks for it. With the engine's lock held: this must not block."""
        if isinstance(news, Lost | Asked):
            self.keeper.end(self.grace)

    def _judge(self, lease: Lease, outcome: Outcome) -> _Ending:
        match outcome.why:
            case Why.EXITED:
                return _Ending(outcome.exit_code, "exited")
            case Why.NOT_STARTED:
                return _Ending(outcome.exit_code, "not started", outcome.detail)
            case Why.GUARDIAN_LOST:
                return _Ending(Exit.BROKEN, "guardian lost", "the guardian died, so the command was killed")
            case _:
                reason = _why_over(lease)
                text = f"the lease of {lease.name!r} was lost ({reason}): the command was ended"
                return _Ending(Exit.LOST, "lost", text, reason)


def _why_over(lease: Lease) -> str:
    """Why a lease that may still be held had to be given up, or was lost."""
    if lease.lost_reason is not None:
        return lease.lost_reason.value
    return "yielded" if lease.candidacy.asked else "not renewed in time"
