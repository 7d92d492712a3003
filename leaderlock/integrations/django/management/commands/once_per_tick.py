"""``manage.py once_per_tick NAME SCHEDULE COMMAND …``: a management command, once per tick, on one of many hosts."""

# pyright: basic
# Django has no types of its own.

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, call_command

from leaderlock import Client, LeaderLockError, Schedule, Skipped, SkipReason, Ticking, connect

__all__ = ["Command"]


class Command(BaseCommand):  # type: ignore[misc]  # it has no types
    """Runs another management command if this tick is not another host's; silent (but for ``-v 2``) if it is.

    The store is ``settings.LEADERLOCK_URL``, or ``$LEADERLOCK_URL``; the schedule is read in ``settings.TIME_ZONE``.
    """

    help = "Run a management command once for each tick of a schedule, on one of many hosts."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """As Django asks for it."""
        parser.add_argument("name", help="what the job is called, the same on all hosts")
        parser.add_argument("schedule", help="when it is due: '0 3 * * *', @daily, '@every 90s'")
        parser.add_argument("--at-least-once", action="store_true", help="run it again if its runner died")
        parser.add_argument("--misfire", choices=("skip", "run"), default="skip", help="near no tick: the missed one?")
        parser.add_argument("--tolerance", type=float, help="how far from its tick, in seconds")
        parser.add_argument("command", help="the management command to run, with its arguments")
        parser.add_argument("arguments", nargs=argparse.REMAINDER)

    def handle(self, *args: Any, **options: Any) -> None:
        """As Django asks for it."""
        try:
            with _opened(options["command"]) as client:
                now = client.now()
                outcome = _ticking(client, options).run(call_command, options["command"], *options["arguments"])
        except LeaderLockError as error:  # a line for whoever reads cron's mail; `--traceback` shows the rest
            raise CommandError(str(error)) from error
        if not isinstance(outcome, Skipped):
            return
        if outcome.reason is SkipReason.NOT_DUE:
            raise CommandError(_not_due(Schedule(options["schedule"], zone=settings.TIME_ZONE), now))
        if options["verbosity"] > 1:
            self.stdout.write(str(outcome))


def _not_due(schedule: Schedule, now: datetime) -> str:
    return (
        f"no tick of {schedule} is near enough to now ({now.isoformat(timespec='seconds')}); the nearest is "
        f"{schedule.nearest(now).isoformat()}. Is it fired in another time zone than TIME_ZONE? If it fires late on "
        "purpose, --tolerance or --misfire run"
    )


def _opened(label: str) -> Client:
    try:
        return connect(getattr(settings, "LEADERLOCK_URL", None), label=label)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _ticking(client: Client, options: Mapping[str, Any]) -> Ticking:
    try:
        return client.tick(
            options["schedule"],
            name=options["name"],
            zone=settings.TIME_ZONE,
            runs="at-least-once" if options["at_least_once"] else "at-most-once",
            misfire=options["misfire"],
            tolerance=options["tolerance"],
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
