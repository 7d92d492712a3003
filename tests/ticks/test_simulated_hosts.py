"""Ten hosts, clocks wrong by up to 40 % of the interval, crashes at any step, changes of the clocks in three zones.

``LEADERLOCK_TICKS=100000`` runs that many ticks for each promise; `make chaos` does.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from leaderlock import Schedule, SkipReason
from leaderlock._ticks.rules import Policy

from .town import Town

TICKS = int(os.environ.get("LEADERLOCK_TICKS", "2000"))
"""How many ticks in all for each of the promises."""

# A few days before the clocks change, so that a small share of the ticks meets it too.
PLACES = [
    ("Europe/Berlin", "*/10 * * * *", "2026-03-27"),
    ("Europe/Berlin", "30 2 * * *", "2020-01-01"),
    ("America/New_York", "0 * * * *", "2026-10-25"),
    ("America/New_York", "30 1 * * *", "2020-01-01"),
    ("Australia/Lord_Howe", "*/15 * * * *", "2026-04-02"),
    ("Australia/Lord_Howe", "45 1 * * *", "2020-01-01"),
    ("UTC", "@every 10s", "2026-01-01"),
    ("Europe/Berlin", "7,37 0-5 * * MON-FRI", "2026-10-23"),
]
SHARE = TICKS // len(PLACES)


def town(place: tuple[str, str, str], policy: Policy, seed: int, **settings: float) -> tuple[Town, list[float]]:
    zone, line, start = place
    schedule = Schedule(line, zone=zone)
    one = Town(schedule, policy, seed, **settings)
    return one, one.run(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp(), SHARE)


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_at_most_once_no_tick_is_begun_twice(place):
    # The tolerance is that of calls which are off by up to 40 % of the interval, however long that is.
    one, ticks = town(place, Policy(tolerance=1e9), seed=PLACES.index(place), crash=0.05)

    assert one.crashes > SHARE / 20
    assert max(one.ran.values()) == 1
    assert one.overlaps == 0
    assert set(one.ran) <= set(ticks)
    # Lost are those whose every caller was dead, or whose one runner died: nothing else keeps a tick from being begun.
    unrun = set(ticks) - set(one.ran) - one.alone
    assert len(unrun) <= one.reasons[SkipReason.OVERLAP] + one.crashes / 10


@pytest.mark.parametrize("place", PLACES, ids=" ".join)
def test_at_least_once_every_tick_is_run_to_its_end_and_each_time_under_a_higher_token(place):
    policy = Policy(runs="at-least-once", tolerance=1e9, window=30 * 86_400)
    one, ticks = town(place, policy, seed=100 + PLACES.index(place), crash=0.05)

    assert len(one.alone) < SHARE / 100
    reruns = [tokens for tokens in one.tokens.values() if len(tokens) > 1]
    assert reruns
    assert all(earlier < later for tokens in reruns for earlier, later in pairwise(tokens))
    assert one.overlaps == 0
    assert set(ticks) - set(one.finished) - one.alone == set()


@pytest.mark.parametrize("runs", ["at-most-once", "at-least-once"])
@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_runs_longer_than_the_interval_never_overlap(runs, overlap):
    policy = Policy(runs=runs, overlap=overlap, tolerance=1e9)
    one, ticks = town(PLACES[0], policy, seed=4, crash=0.02, length=3.0)

    left = SkipReason.OVERLAP if overlap == "skip" else SkipReason.SUPERSEDED
    assert one.overlaps == 0
    assert one.reasons[left] + one.reasons[SkipReason.LATE] > 0
    assert SHARE / 4 < len(one.ran) <= len(ticks)
    assert runs == "at-least-once" or max(one.ran.values()) == 1


def test_without_crashes_every_tick_is_run_exactly_once():
    for place in PLACES:
        for policy in (Policy(tolerance=1e9), Policy(runs="at-least-once", tolerance=1e9)):
            one, ticks = town(place, policy, seed=3, crash=0.0)

            assert one.ran == dict.fromkeys(ticks, 1)
            assert one.finished == one.ran


def test_a_rule_that_marks_too_late_is_found(monkeypatch):
    """The town sees a broken rule: here one that forgets, when it takes, which tick is the newest."""
    from leaderlock._ticks import claim as claims
    from leaderlock._ticks.rules import Take, when_free

    def forgetful(record, want, now, token):
        verdict = when_free(record, want, now, token)
        if isinstance(verdict, Take):
            return Take(verdict.record.__class__(running=verdict.record.running), verdict.died)
        return verdict

    monkeypatch.setattr(claims, "when_free", forgetful)
    one, _ = town(PLACES[0], Policy(tolerance=1e9), seed=1)

    assert max(one.ran.values()) > 1
