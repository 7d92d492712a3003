"""The wrapper around a command: campaigns, and what runs under each lease."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from leaderlock._lease import course_of
from leaderlock.cli._leaders import leader_in_words
from leaderlock.cli._talk import Talk
from leaderlock.errors import NotLeader

if TYPE_CHECKING:
    from leaderlock import Lease
    from leaderlock.cli._supervisor import Ended, Supervisor

__all__ = ["RELEASE_WITHIN", "Wrapper"]

RELEASE_WITHIN: Final = 5.0
"""How long, in seconds, a wrapper whose command has ended waits at most for the store to hear of it."""


class Wrapper:
    """One ``leaderlock run``, between the start of its guardian and its exit code."""

    def __init__(self, supervisor: Supervisor, talk: Talk) -> None:
        self.supervisor = supervisor
        self.options = supervisor.options
        self.client = supervisor.client
        self.talk = talk
        self.has_waited = False

    def run(self) -> int:
        signals = self.supervisor.signals
        while True:
            ending = self._term()
            if ending.how != "lost" or not self.options.restart or signals.was_told_to_go:
                return ending.code
            signals.withdraw()

    def _term(self) -> Ended:
        """One campaign, and what ran under its lease."""
        began = time.monotonic()
        lease = self._campaign()
        elected = time.monotonic()
        ending = self.supervisor.run(lease)
        ending.tell(self.talk, lease, waited=elected - began, ran=time.monotonic() - elected)
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
        course_of(lease).candidacy.yields = False
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
