"""Let no tick of a job start, on any host, until `leaderlock resume`; ticks that come meanwhile are not made up for.

A run that goes on is waited for, as only who leads the name can write its note: exit code 75 if that takes longer than
--timeout. `leaderlock cron --now` runs a paused job all the same.

examples:
  leaderlock pause nightly-report
  leaderlock pause nightly-report --timeout 60
"""

from __future__ import annotations

from leaderlock.cli._options import Options
from leaderlock.cli._switch import add_arguments, turn
from leaderlock.cli._talk import Talk

__all__ = ["add_arguments", "command"]


def command(options: Options, talk: Talk) -> int:
    return turn(options, talk, is_paused=True, changed="is paused", unchanged="was paused already")
