"""Show who leads NAME, with which token and since when, and when it may be free; without NAME, who leads what.

Nothing is written and no session is opened. What is shown is what the store records: a leader may have died since its
session last moved, and the seconds are as right as the two hosts' wall clocks. No lease depends on them.

examples:
  leaderlock status
  leaderlock status nightly-report
  leaderlock status nightly-report --json | jq .leader.token
"""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

from leaderlock.cli._leaders import leader_as_json
from leaderlock.cli._options import Options, add_name
from leaderlock.cli._store import no_store_yet, open_client
from leaderlock.cli._talk import BOLD, Exit, Talk, ago, in_iso, paint, plain
from leaderlock.cli.history import as_json as job_as_json
from leaderlock.errors import BackendRefused

if TYPE_CHECKING:
    from leaderlock import Client, Job, Status
    from leaderlock._census import Census
    from leaderlock._protocol.records import Stint

__all__ = ["add_arguments", "command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser, optional=True)


def command(options: Options, talk: Talk) -> int:
    if no_store_yet(options, talk):
        _show_nothing(options.name, talk)
        return Exit.OK
    with open_client(options) as client:
        if options.name is not None:
            status = client.status(options.name)
            job = _job(client, status)
            if talk.as_json:
                talk.data_json(_as_json(status, job))
            else:
                _show(status, job, client, talk)
            return Exit.OK
        return _list(client, talk)


def _show_nothing(name: str | None, talk: Talk) -> None:
    if name is None:
        if talk.as_json:
            talk.data_json([])
        return
    from leaderlock import Status

    if talk.as_json:
        talk.data_json(_as_json(Status(name, None, 0, None, None, settled=False, history=()), None))
    else:
        talk.data(f"{paint(name, BOLD, sys.stdout)}\n  leader    nobody yet")


def _list(client: Client, talk: Talk) -> int:
    """Every name; one that cannot be read does not hide the others."""
    from leaderlock._census import take_census
    from leaderlock._client import engine_of

    code = Exit.OK
    statuses: list[tuple[Status, Job | None]] = []
    counted = take_census(engine_of(client))
    names = client.names()
    for name in names:
        try:
            status = client.status(name)
            statuses.append((status, _job(client, status)))
        except BackendRefused as error:
            code = Exit.STORE
            talk.fail(error, code)
    if talk.as_json:
        talk.data_json([_as_json(status, job) for status, job in statuses])
        _tell_cleaning(counted, talk)
        return code
    if not names:
        talk.say("no name was ever led here")
    width = max((len(name) for name in names), default=0)
    for status, job in statuses:
        talk.data(f"{status.name:<{width}}  {_in_short(status, job)}")
    _tell_cleaning(counted, talk)
    return code


def _tell_cleaning(counted: Census, talk: Talk) -> None:
    if counted.cleaning:
        sessions, names = counted.sessions_to_clean, counted.names_to_clean
        talk.tell("cleaning", f"to be cleaned away: {counted.cleaning}", sessions=sessions, names=names)


def _job(client: Client, status: Status) -> Job | None:
    """The job that the name's note tells of, if it does."""
    if not status.note:
        return None
    from leaderlock._ticks.job import job_in  # it brings cronsim along

    return job_in(status.name, status.note, client.now().timestamp())


def _in_short(status: Status, job: Job | None) -> str:
    term = status.term
    if term is None:
        return f"nobody leads{_due(job)}"
    return f"{plain(term.holder)}, token {term.token}, since {_moment(term.since)}, {_liveness(status)}{_due(job)}"


def _due(job: Job | None) -> str:
    if job is None:
        return ""
    if job.paused_by:
        return f"; paused by {plain(job.paused_by)}"
    return "" if job.next is None else f"; next tick {_moment(job.next.timestamp())}"


def _show(status: Status, job: Job | None, client: Client, talk: Talk) -> None:
    talk.data(paint(status.name, BOLD, sys.stdout))
    term = status.term
    if term is None:
        last = f"; the last token was {status.last_token}" if status.last_token else " yet"
        talk.data(f"  leader    nobody{last}")
    else:
        talk.data(f"  leader    {plain(term.holder)}")
        talk.data(f"  token     {term.token}")
        talk.data(f"  since     {_moment(term.since)}")
        talk.data(f"  session   {_liveness(status)}")
    talk.data(f"  store     {client.traits.store}, namespace {client.namespace}: {_settledness(status)}")
    if job is not None:
        _show_job(job, talk)
    for number, stint in enumerate(reversed(status.history)):
        label = "" if number else "history"
        talk.data(f"  {label:<9} {_span(stint)}: {plain(stint.holder)}, token {stint.token}, {plain(stint.how)}")


def _show_job(job: Job, talk: Talk) -> None:
    talk.data(f"  job       {job.schedule or 'run by hand'}" + (f" ({job.zone})" if job.schedule else ""))
    if job.paused_by:
        talk.data(f"  next      paused by {plain(job.paused_by)}")
    elif job.next is not None:
        talk.data(f"  next      {_moment(job.next.timestamp())}")
    if job.history:
        last = job.history[-1]
        talk.data(f"  last      {_moment(last.tick.timestamp())}: {last.how.value}, on {plain(last.host)}")


def _liveness(status: Status) -> str:
    if status.moved_ago is None or status.free_in is None:
        return "its session does not show (a replica may lag, or the register was deleted)"
    if status.free_in > 0:
        return f"moved {ago(status.moved_ago)} ago; free in {status.free_in:.1f} s if it does not move"
    return f"moved {ago(status.moved_ago)} ago: dead by the clocks; the next candidate makes sure, and takes it"


def _settledness(status: Status) -> str:
    if status.settled:
        return "settled"
    return (
        "not settled, as it may have forgotten leaders who are alive: the first candidate watches it for the longest "
        "ttl, or `leaderlock init` says that nobody leads"
    )


def _span(stint: Stint) -> str:
    if stint.until is not None:
        return f"{_moment(stint.since)} to {_moment(stint.until)}"
    return f"since {_moment(stint.since)}" if stint.how == "leads" else f"{_moment(stint.since)} to ?"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")


def _as_json(status: Status, job: Job | None) -> dict[str, Any]:
    term = status.term
    leader = None
    if term is not None:
        session = term.session
        leader = {
            **leader_as_json(term),
            "session": session.id,
            "ttl": session.ttl,
            "renewed_at": session.renewed_at,
            "renewed_at_iso": in_iso(session.renewed_at),
        }
    return {
        "name": status.name,
        "leader": leader,
        "last_token": status.last_token,
        "moved_ago": status.moved_ago,
        "free_in": status.free_in,
        "settled": status.settled,
        "history": [
            {**stint._asdict(), "since_iso": in_iso(stint.since), "until_iso": in_iso(stint.until)}
            for stint in status.history
        ],
        "job": None if job is None else job_as_json(job),
    }
