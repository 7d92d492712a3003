"""Run a command once for each tick of SCHEDULE, on one host: for the same crontab line (or timer) on many.

Every host runs this line; all agree which tick is meant, by the schedule and not by how long the command takes. One
runs the command, under a lease, as `leaderlock run` does; on the others, and when the tick is done already, nothing
happens: exit code 0, and not a word. So cron mails only what went wrong.

SCHEDULE is the line's own, quoted: "0 3 * * *", @daily, "@every 90s"; without it, a tick is a minute. It is read in the
time zone of this host, as cron reads it ($CRON_TZ, $TZ, /etc/localtime), unless --zone says another.

By default a tick is run at most once. With --at-least-once the other hosts stand by, and one of them runs it again,
under a higher token, if its runner dies.

The command finds LEADERLOCK_TICK (its instant, in UTC), LEADERLOCK_ATTEMPT and LEADERLOCK_TOKEN in its environment,
beside what `leaderlock run` gives it.

examples:
  0 3 * * *    leaderlock cron nightly-report "0 3 * * *" -- ./report.sh
  */5 * * * *  leaderlock cron poll "*/5 * * * *" --overlap queue -- ./poll.py
  0 * * * *    leaderlock cron billing @hourly --at-least-once --retries 2 --max-run 1800 -- ./bill.sh
  leaderlock cron nightly-report --now -- ./report.sh     # by hand, whatever the schedule says
"""

from __future__ import annotations

import argparse
from typing import Final

from leaderlock.cli._options import Options, add_name, check_argv, filled, seconds
from leaderlock.cli._supervisor import Supervisor, add_grace, guarded
from leaderlock.cli._talk import Talk, Usage

__all__ = ["add_arguments", "command"]

FORM: Final = "leaderlock cron [options] NAME [SCHEDULE] -- COMMAND [argument...]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = FORM
    add_name(parser)
    parser.add_argument(
        "schedule", metavar="SCHEDULE", nargs="?", type=filled, help="when it is due (default: every minute)"
    )
    parser.add_argument("--zone", type=filled, help="the IANA time zone of SCHEDULE (default: this host's)")
    parser.add_argument("--now", action="store_true", help="run it by hand, whatever SCHEDULE says, even if paused")
    parser.add_argument(
        "--at-least-once", action="store_true", help="stand by, and run a tick again if its runner died"
    )
    parser.add_argument(
        "--overlap",
        choices=("skip", "queue"),
        help="while an earlier tick still runs (default: skip; with --at-least-once: queue)",
    )
    parser.add_argument(
        "--misfire", choices=("skip", "run"), default="skip", help="near no tick: nothing, or the newest missed one"
    )
    parser.add_argument(
        "--tolerance", type=seconds, metavar="S", help="how far from its tick (default: half an interval, at most 300)"
    )
    parser.add_argument(
        "--window", type=seconds, metavar="S", help="how long after its instant it may start (default: to the next)"
    )
    parser.add_argument("--hold-for", type=seconds, metavar="S", default=0.0, help="least seconds between two starts")
    parser.add_argument("--max-run", type=seconds, metavar="S", help="end the command (124) after S seconds")
    parser.add_argument(
        "--retries", type=_count, metavar="N", default=0, help="run it again, up to N times, if it fails"
    )
    add_grace(parser)
    parser.add_argument(
        "--label", type=filled, help="who this is, for `leaderlock history` (default: the command's name)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say why a tick is not run here, or waits")


def _count(word: str) -> int:
    """A number of times on the command line, for argparse."""
    if not (word.isascii() and word.isdigit()):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of times, such as 0 or 3")
    return int(word)


def command(options: Options, talk: Talk) -> int:
    check_argv(options, FORM)
    if options.retries and not options.at_least_once:
        raise Usage("--retries runs a tick again, which at most once excludes: say --at-least-once too")

    def act(supervisor: Supervisor) -> int:
        from leaderlock.cli._ticker import Ticker  # as late as can be: it loads cronsim and the time zones

        return Ticker(supervisor, talk).run()

    return guarded(options, talk, act)
