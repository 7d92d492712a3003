"""Connect to the store, measure it, name what this very server does, and say what then still holds.

It reads settings and registers, and writes one register of its own, which it removes again. Each finding is ok, a note,
a warning or an error. Exit code 0: nothing worse than notes; 1: a warning; 69: an error, so that nobody can be elected.

examples:
  leaderlock doctor redis://10.0.0.5
  leaderlock doctor --namespace billing --longest 60
  leaderlock doctor --json | jq '.findings[] | select(.level == "warning")'
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any, Final

from leaderlock.cli._options import Options, filled
from leaderlock.cli._store import namespace_of, no_store_yet, open_client
from leaderlock.cli._talk import BOLD, GREEN, RED, Exit, Talk, Usage, paint, plain
from leaderlock.errors import BackendError

if TYPE_CHECKING:
    from leaderlock._census import Census
    from leaderlock._doctor import Diagnosis, RoundTrip
    from leaderlock.diagnosis import Level

__all__ = ["add_arguments", "command"]

YELLOW: Final = "33"
_COLOURS: Final = {"ok": GREEN, "warning": YELLOW, "error": RED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="URL", nargs="?", type=filled, help="the store; the same as --url")


def command(options: Options, talk: Talk) -> int:
    if options.place and options.url not in (None, options.place):
        raise Usage("two stores are named, URL and --url: leave one of them out")
    options.url = options.place or options.url
    no_store_yet(options, talk)  # it is made, as by the first candidate, to see whether it can be: but not in silence
    found = _examined(options)
    if talk.as_json:
        talk.data_json(_as_json(found, namespace_of(options)))
    else:
        _show(found, namespace_of(options), talk)
    return _code(found.level)


def _examined(options: Options) -> Diagnosis:
    from leaderlock._client import engine_of
    from leaderlock._doctor import Diagnosis, examine, out_of_use

    try:
        client = open_client(options)
    except BackendError as error:
        return Diagnosis((out_of_use(error),))
    with client:
        return examine(engine_of(client))


def _code(level: Level) -> int:
    from leaderlock.diagnosis import Level

    return Exit.STORE if level is Level.ERROR else Exit.WARNED if level is Level.WARNING else Exit.OK


def _show(found: Diagnosis, namespace: str, talk: Talk) -> None:
    from leaderlock._doctor import HOLDS

    if found.traits is not None:
        store = f"{found.traits.store}, durability {found.traits.durability}, namespace {namespace}"
        talk.data(f"{paint('store', BOLD, sys.stdout)}       {store}")
    if found.round_trip is not None:
        talk.data(f"round trip  {_trip(found.round_trip)}")
    if found.census is not None:
        talk.data(f"namespace   {_counted(found.census)}")
        for program in found.census.programs:
            hosts = ", ".join(program.hosts[:4]) + (", …" if len(program.hosts) > 4 else "")
            sessions = "" if program.sessions == 1 else f"{program.sessions} sessions, "
            talk.data(f"            {plain(program.name)} on {plain(hosts)}: {sessions}leads {program.leads}")
    talk.data("")
    for finding in sorted(found.findings, key=lambda finding: -finding.level):
        level = finding.level.name.lower()
        shown = paint(f"{level:<8}", _COLOURS[level], sys.stdout) if level in _COLOURS else f"{level:<8}"
        talk.data(f"{shown}    {finding.code}: {plain(finding.text)}")
        if finding.advice:
            talk.data(f"              {plain(finding.advice)}")
    talk.data("\n" + paint("what holds", BOLD, sys.stdout))
    for promise, words in HOLDS.items():
        talk.data(f"  {promise.value}  {words}")
        for clause in found.exceptions(promise):
            talk.data(f"      except {clause}")


def _trip(trip: RoundTrip) -> str:
    write = "" if trip.write is None else f", write {trip.write * 1000:.3g} ms"
    return f"read {trip.read * 1000:.3g} ms{write}, at worst {trip.worst * 1000:.3g} ms"


def _counted(counted: Census) -> str:
    sessions = f"sessions: {counted.living} alive, {counted.silent} silent, {counted.ended} ended"
    return f"{sessions}; names: {counted.led} led, {counted.stranded} left by the dead, {counted.free} free"


def _as_json(found: Diagnosis, namespace: str) -> dict[str, Any]:
    from leaderlock.diagnosis import Promise

    trip, settled, counted = found.round_trip, found.settled, found.census
    return {
        "level": found.level.name.lower(),
        "namespace": namespace,
        "traits": None if found.traits is None else found.traits._asdict(),
        "round_trip": None if trip is None else {"read": trip.read, "write": trip.write, "worst": trip.worst},
        "settled": None if settled is None else {"longest": settled.longest, "durability": settled.durability},
        "census": None if counted is None else _census_as_json(counted),
        "findings": [
            {
                "level": finding.level.name.lower(),
                "code": finding.code,
                "text": finding.text,
                "advice": finding.advice,
                "limits": [limit.promise.value for limit in finding.limits],
            }
            for finding in found.findings
        ],
        "except": {promise.value: found.exceptions(promise) for promise in Promise},
    }


def _census_as_json(counted: Census) -> dict[str, Any]:
    return {
        **counted._asdict(),
        "programs": [program._asdict() for program in counted.programs],
        "sessions_to_clean": counted.sessions_to_clean,
        "names_to_clean": counted.names_to_clean,
    }
