"""Let a paused job go on, with its next tick.

Ticks that a host with a wrong clock has run ahead of their time are forgotten, by this host's clock.

examples:
  leaderlock resume nightly-report
  leaderlock resume nightly-report --timeout 60
"""

from __future__ import annotations

from leaderlock.cli._options import Options
from leaderlock.cli._switch import add_arguments, turn
from leaderlock.cli._talk import Talk

__all__ = ["add_arguments", "command"]


def command(options: Options, talk: Talk) -> int:
    return turn(options, talk, is_paused=False, changed="goes on", unchanged="was not paused")
