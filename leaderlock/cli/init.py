"""Declare that nobody leads or campaigns in this namespace, so that names may be taken without a first wait.

A store that may have forgotten leaders (a fresh or restarted Redis, say) is watched for the longest ttl before anybody
leads. This ends that wait. It is for a person who knows that no leader is alive; never put it into an entrypoint.

It does nothing where there is no such wait, and refuses where the namespace was in use before; --force says that every
client of it is stopped.

examples:
  leaderlock init --url redis://10.0.0.5
  leaderlock init --longest 60 --force
"""

from __future__ import annotations

import argparse

from leaderlock.cli._options import Options
from leaderlock.cli._store import open_client
from leaderlock.cli._talk import Exit, Talk

__all__ = ["add_arguments", "command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="although leaders of before may be alive: you know better")


def command(options: Options, talk: Talk) -> int:
    with open_client(options) as client:
        is_new = client.init(force=options.force)
        namespace = client.namespace
    if talk.as_json:
        talk.data_json({"namespace": namespace, "settled_now": is_new})
    else:
        talk.data(f"{namespace}: " + ("settled; names may be taken at once" if is_new else "was settled already"))
    return Exit.OK
