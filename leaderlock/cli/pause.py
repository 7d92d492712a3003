"""Let no tick of a job start, on any host, until `leaderlock resume`; ticks that come meanwhile are not made up for.

A run that goes on is waited for, as only who leads the name can write its note: exit code 75 if that takes longer than
--timeout. `leaderlock cron --now` runs a paused job all the same.

examples:
  leaderlock pause nightly-report
  leaderlock pause nightly-report --timeout 60
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
        is_new = client.pause(options.name, timeout=options.timeout)
    if talk.as_json:
        talk.data_json({"name": options.name, "changed": is_new})
    else:
        talk.data(f"{options.name}: " + ("is paused" if is_new else "was paused already"))
    return Exit.OK
