"""See what leaderlock does: three workers, a crash, a pause, and a write that is refused. Under a minute.

Three real processes campaign for one name, on a SQLite file in a temporary directory. Whoever leads appends to a
ledger. The leader is killed; its successor is stopped until it is replaced, and then wakes up and writes, believing
that it still leads. What you read is what the workers report; each claim at the end is checked against that.

Exit code 0: all of it was seen; 1: not. It needs no store and leaves nothing behind.

examples:
  leaderlock demo
  leaderlock demo --json | jq .verdicts
"""

from __future__ import annotations

import argparse
import itertools
import math
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from leaderlock.cli._demo_stage import NotSeen, Stage, Worker
from leaderlock.cli._options import Options
from leaderlock.cli._store import ttl_of
from leaderlock.cli._talk import BOLD, GREEN, RED, Exit, Talk, Usage, paint

__all__ = ["add_arguments", "command"]

CLAIMS: Final = {
    "one_leads": "of three candidates, one led",
    "taken_over_after_crash": "the killed leader was replaced",
    "taken_over_after_pause": "the stopped leader was replaced",
    "tokens_rise": "each leader's token was higher than the one before",
    "not_held_at_first_look": "the stopped leader, awake again, saw at its first look that it no longer led",
    "late_write_refused": "its late write was refused, because its token was old",
    "handed_over": "a leader that was asked to end resigned, and the next one led at once",
    "ledger_in_order": "the ledger holds every write that was reported, in the order of the tokens, and no other",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def command(options: Options, talk: Talk) -> int:
    if options.url is not None or options.namespace is not None:
        raise Usage("the demo brings a store of its own: leave --url and --namespace away")
    ttl = ttl_of(options, 2.0)
    if not 0.5 <= ttl <= 10:
        raise Usage(f"ttl ({ttl:g} s): the demo waits for two leases to run out; use between 0.5 s and 10 s")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="leaderlock-demo-") as folder:
        show = _Show(Path(folder), ttl, talk)
        try:
            show.play()
        except NotSeen as missing:
            show.say(f"waited in vain: {missing}")
        finally:
            show.stage.close()
        verdicts = show.verdicts()
    if talk.as_json:
        talk.data_json({"verdicts": verdicts, "events": show.stage.events, "takeovers": show.takeovers})
    else:
        _sum_up(verdicts, talk)
    return Exit.OK if all(verdicts.values()) else 1


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _sum_up(verdicts: dict[str, bool], talk: Talk) -> None:
    talk.data("")
    for claim, was_seen in verdicts.items():
        mark = paint("seen    ", GREEN, sys.stdout) if was_seen else paint("NOT SEEN", RED, sys.stdout)
        talk.data(f"  {mark}  {CLAIMS[claim]}")
    talk.data("")
    talk.data("In your program: `with client.election(name) as lease:`, and hand lease.token to what you write to.")
    talk.data("For any command: `leaderlock run NAME -- COMMAND`.")


class _Show:
    """The play: what is done to the workers, and what they are seen to do."""

    def __init__(self, folder: Path, ttl: float, talk: Talk) -> None:
        self._talk = talk
        self._ttl = ttl
        self._ledger = folder / "ledger.txt"
        self.stage = Stage(f"sqlite:///{folder}/demo.db", ttl, self._ledger)
        self.takeovers: dict[str, float] = {}
        self._led_alone = False

    def say(self, text: str) -> None:
        if not self._talk.as_json:
            self._talk.data(f"{paint(f'{self.stage.elapsed:5.1f} s', BOLD, sys.stdout)}  {text}")
            self._talk.flush()

    def play(self) -> None:
        stage = self.stage
        self.say(f"three workers campaign for one name; a lease outlives its last renewal by {self._ttl:g} s")
        for name in ("Ada", "Ben", "Cai"):
            stage.start(name)
        first = stage.next_leader(than=None)
        stage.all_campaign()
        self.say(f"{first.name} leads with token {first.token}, and appends to the ledger; the others wait")
        stage.writes(first, 3)
        self._led_alone = len(stage.reported("leads")) == 1

        self.say(f"{first.name} is killed with -9: it cannot resign")
        second = self._take_over("crash", first.kill(), first)
        stage.writes(second, 3)

        self.say(f"{second.name} is stopped: it is alive, and does not know that time passes")
        third = self._take_over("pause", second.stop(), second)
        stage.writes(third, 2)

        self.say(f"{second.name} wakes up, with its old token, and goes on writing")
        second.wake()
        looked, refused = stage.sees(second, "looked"), stage.sees(second, "refused", "admitted")
        self.say(f"{second.name} looks at its lease: is_held is {looked['is_held']} ({looked['reason']})")
        verb = "refused" if refused["event"] == "refused" else "ADMITTED"
        self.say(f"its late write with token {refused['token']}: {verb}; the ledger has seen token {third.token}")
        stage.writes(third, 1)

        self.say(f"{third.name} is asked to end (TERM), so it resigns")
        fourth = self._take_over("resignation", third.ask(), third)
        stage.writes(fourth, 1)
        fourth.ask()
        stage.gone(fourth)

    def _take_over(self, after: str, began: float, former: Worker) -> Worker:
        leader = self.stage.next_leader(than=former)
        self.takeovers[after] = took = round(leader.led_at - began, 3)
        self.say(f"{leader.name} leads {took:.2f} s later, with token {leader.token}")
        return leader

    def verdicts(self) -> dict[str, bool]:
        """Each claim, checked against what the workers reported."""
        stage = self.stage
        tokens = [event["token"] for event in stage.reported("leads")]
        looks, refused = stage.reported("looked"), stage.reported("refused")
        return {
            "one_leads": self._led_alone,
            "taken_over_after_crash": "crash" in self.takeovers,
            "taken_over_after_pause": "pause" in self.takeovers,
            "tokens_rise": len(tokens) >= 4 and all(old < new for old, new in itertools.pairwise(tokens)),
            "not_held_at_first_look": len(looks) == 1 and looks[0]["is_held"] is False,
            "late_write_refused": len(refused) == 1
            and refused[0]["token"] < refused[0]["highest"]
            and not stage.reported("admitted"),
            "handed_over": self.takeovers.get("resignation", math.inf) < self._ttl / 2,
            "ledger_in_order": stage.ledger_agrees(),
        }
