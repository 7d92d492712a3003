"""Show how the last runs of a job ended: tick, start, length, host, token, and how; the newest last.

Kept are the last twenty, in the note that only the leader of the job's name can write: a run that was taken over cannot
say afterwards that it went well. Instants are in this host's time zone, durations by the clock of the host that ran it.

examples:
  leaderlock history nightly-report
  leaderlock history nightly-report --json | jq '.history[] | select(.how != "ok")'
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from leaderlock.cli._options import Options, add_name
from leaderlock.cli._store import no_store_yet, open_client
from leaderlock.cli._talk import Exit, Talk, ago, plain

if TYPE_CHECKING:
    from leaderlock import Job, Outcome

__all__ = ["add_arguments", "as_json", "command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)


def command(options: Options, talk: Talk) -> int:
    job = _job(options, talk)
    if talk.as_json:
        talk.data_json(None if job is None else as_json(job))
        return Exit.OK
    if job is None or not (job.history or job.running):
        talk.say(f"no job {options.name!r} has run here yet")
        return Exit.OK
    rows = [_row(outcome, outcome.how.value) for outcome in job.history]
    if job.running is not None:
        rows.append(_row(job.running, "running"))
    talk.table([("TICK", "STARTED", "RAN FOR", "HOW", "ATTEMPT", "TOKEN", "HOST"), *rows])
    return Exit.OK


def _job(options: Options, talk: Talk) -> Job | None:
    if no_store_yet(options, talk):
        return None
    with open_client(options) as client:
        return client.job(options.name)


def _row(outcome: Outcome, how: str) -> tuple[str, ...]:
    ran = "?" if outcome.finished is None else ago(max(0.0, (outcome.finished - outcome.started).total_seconds()))
    tick = outcome.tick.astimezone().isoformat(sep=" ", timespec="seconds")
    started = outcome.started.astimezone().isoformat(sep=" ", timespec="seconds")
    return (tick, started, ran, how, str(outcome.attempt), str(outcome.token), plain(outcome.host))


def as_json(job: Job) -> dict[str, Any]:
    running = None if job.running is None else _outcome(job.running)
    if running is not None:
        del running["finished"], running["how"]
    return {
        "name": job.name,
        "schedule": job.schedule,
        "zone": job.zone,
        "next": None if job.next is None else job.next.isoformat(),
        "paused_by": job.paused_by,
        "running": running,
        "owed": [tick.isoformat() for tick in job.owed],
        "history": [_outcome(outcome) for outcome in job.history],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "tick": outcome.tick.isoformat(),
        "token": outcome.token,
        "host": outcome.host,
        "started": outcome.started.isoformat(),
        "finished": None if outcome.finished is None else outcome.finished.isoformat(),
        "how": outcome.how.value,
        "attempt": outcome.attempt,
        "by_hand": outcome.by_hand,
    }
