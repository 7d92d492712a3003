"""Ask whoever leads NAME, on any host, to yield it, and wait until that term is over.

A leader hears of it at its next renewal: within a third of its ttl. Under `leaderlock run` its command is ended first.
A leader that is dead is waited out. Exit code 0: the term is over, or nobody led; 75: not yet, but the request stands.

--now frees the name at once. Until the old leader looks, within a third of its ttl, it still believes that it leads,
and so may the next one: two act at a time, and only fences protect what they write. For a leader that hangs.

examples:
  leaderlock resign nightly-report
  leaderlock resign nightly-report --timeout 60
"""

from __future__ import annotations

import argparse

from leaderlock.cli._leaders import leader_in_words
from leaderlock.cli._options import Options, add_name, seconds
from leaderlock.cli._store import no_store_yet, open_client
from leaderlock.cli._talk import Exit, Talk

__all__ = ["add_arguments", "command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("--now", action="store_true", help="free the name at once; two may act until the leader looks")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="stop waiting (75) after S seconds")


def command(options: Options, talk: Talk) -> int:
    was_led = not no_store_yet(options, talk) and _resign(options, talk)
    if talk.as_json:
        talk.data_json({"name": options.name, "was_led": was_led, "now": options.now})
    else:
        talk.data(f"{options.name}: that term is over" if was_led else f"{options.name}: nobody leads")
    return Exit.OK


def _resign(options: Options, talk: Talk) -> bool:
    with open_client(options) as client:
        if options.now:
            talk.say("--now: until the old leader looks, two may act; only a fence on the resource refuses the old one")
        elif who := leader_in_words(client, options.name):
            why = f"{who}; it hears of that at its next renewal, and is waited out if it is dead"
            talk.tell("waiting", f"waiting: {why}", name=options.name, why=why)
        return client.resign(options.name, now=options.now, timeout=options.timeout)
