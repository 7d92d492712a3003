"""Let a paused job go on, with its next tick.

Ticks that a host with a wrong clock has run ahead of their time are forgotten, by this host's clock.

examples:
  leaderlock resume nightly-report
  leaderlock resume nightly-report --timeout 60
"""

from __future__ import annotations

import argparse

from leaderlock.cli._options import Options, add_name, open_client, seconds
from leaderlock.cli._talk import Exit, Talk

__all__ = ["add_arguments", "command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("--timeout", type=seconds, metavar="S", help="give up (75) when it still runs after S seconds")


def command(options: Options, talk: Talk) -> int:
    with open_client(options) as client:
        is_new = client.resume(options.name, timeout=options.timeout)
    if talk.as_json:
        talk.data_json({"name": options.name, "changed": is_new})
    else:
        talk.data(f"{options.name}: " + ("goes on" if is_new else "was not paused"))
    return Exit.OK
