"""This turns a job off or on for all hosts, and says whether that changed anything: `pause` and `resume` in one."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from leaderlock.cli._options import Options, add_name, seconds
from leaderlock.cli._store import open_client, printable
from leaderlock.cli._talk import Exit, Talk

if TYPE_CHECKING:
    from leaderlock import Job

__all__ = ["add_arguments", "turn"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)
    parser.add_argument("--timeout", type=seconds, metavar="S", help="give up (75) when it still runs after S seconds")


def turn(options: Options, talk: Talk, *, is_paused: bool, changed: str, unchanged: str) -> int:
    """Pause the job, or let it go on; the two words are what people read where that changed something or nothing."""
    from leaderlock._client import engine_of
    from leaderlock._ticks.job import set_paused

    with open_client(options, label=printable(_person())) as client:

        def waits(why: str) -> None:
            talk.tell("waiting", f"waiting for {options.name!r}: {why}", name=options.name, why=why)

        timeout = options.timeout
        is_new = set_paused(engine_of(client), options.name, is_paused=is_paused, timeout=timeout, on_waiting=waits)
        is_known = _has_run(client.job(options.name))
    if talk.as_json:
        talk.data_json({"name": options.name, "changed": is_new, "known": is_known})
    else:
        talk.data(f"{options.name}: {changed if is_new else unchanged}")
    if not is_known:
        doubt = f"no job of the name {options.name!r} has run here yet: is it spelled right?"
        talk.tell("warning", doubt, message=doubt)
    return Exit.OK


def _person() -> str:
    """Who turns it, for `leaderlock status`: by his own name where he has become root; nothing, where nobody knows."""
    import getpass

    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in containers
        return ""


def _has_run(job: Job | None) -> bool:
    return job is not None and bool(job.history or job.running or job.schedule)
