"""Wait until this process leads NAME, run a command, and renew; the command is gone before the lease is.

The command finds LEADERLOCK_TOKEN, LEADERLOCK_NAME, LEADERLOCK_DEADLINE, LEADERLOCK_URL and LEADERLOCK_NAMESPACE in its
environment. Hand the token to whatever it writes to: a fence there refuses an older leader's.

Signals are forwarded to the command. If the lease cannot be renewed, or is taken away, the command gets TERM, and KILL
before the lease's deadline; also when leaderlock itself is killed or stopped. NAME is free once the command has ended.

examples:
  leaderlock run nightly-report -- ./report.sh
  leaderlock run --no-wait --quiet poll -- ./poll.py      # crontab on many hosts: one runs it, the others exit 75
  leaderlock run --restart --ttl 5 scheduler -- python -m scheduler
  leaderlock run load -- sh -c 'psql -v token=$LEADERLOCK_TOKEN -f load.sql'
"""

from __future__ import annotations

import argparse
from typing import Final

from leaderlock.cli._options import QUIET, Options, add_name, check_argv, filled, seconds
from leaderlock.cli._supervisor import add_grace, guarded
from leaderlock.cli._talk import Talk
from leaderlock.cli._wrapper import Wrapper

__all__ = ["add_arguments", "command"]

FORM: Final = "leaderlock run [options] NAME -- COMMAND [argument...]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = FORM
    add_name(parser)
    parser.add_argument("--timeout", type=seconds, metavar="S", help="give up (75) when not elected after S seconds")
    parser.add_argument(
        "--no-wait",
        action="store_true",
        help="give up (75) as soon as somebody who is alive leads; one who may be dead is watched for up to one ttl, a "
        "store that must settle for --longest",
    )
    parser.add_argument("--restart", action="store_true", help="after a loss of the lease, campaign again")
    add_grace(parser)
    parser.add_argument(
        "--label", type=filled, help="who this is, for `leaderlock status` (default: the command's name)"
    )
    parser.add_argument("--quiet", action="store_true", help=QUIET)


def command(options: Options, talk: Talk) -> int:
    check_argv(options, FORM)
    return guarded(options, talk, lambda supervisor: Wrapper(supervisor, talk).run())
