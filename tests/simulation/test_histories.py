"""The protocol as it is, over all profiles: nothing is ever violated."""

from __future__ import annotations

import os

import pytest

from .history import run
from .profiles import PROFILES

HISTORIES = int(os.environ.get("LEADERLOCK_HISTORIES", "60"))
"""How many of each profile; a campaign sets it to thousands, or runs ``python -m tests.simulation``."""
PIECES = 4


@pytest.mark.parametrize("piece", range(PIECES))
@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_no_history_violates_anything(profile: str, piece: int):
    for seed in range(piece, round(HISTORIES * PROFILES[profile].share), PIECES):
        outcome = run(profile, seed)

        assert outcome.violation is None, str(outcome)


def test_a_history_is_the_same_whenever_it_is_asked_for():
    first, second = run("rough", 3), run("rough", 3)

    assert first.counts == second.counts


def test_takes_carry_notes_and_stores_forget_in_the_middle_of_a_call():
    counts = run("torn", 0).counts

    assert counts["errands"] > 3
    assert counts["losses midway"] > 3


@pytest.mark.parametrize("profile", ["mixed", "forgetful", "jobs"])
def test_histories_are_eventful(profile: str):
    counts = sum((run(profile, seed).counts for seed in range(9)), start=run(profile, 9).counts)

    assert counts["claims"] > 50
    assert counts["takeovers"] > 5
    assert counts["resignations followed"] > 0
    assert min(counts[fault] for fault in ("lost", "reply_lost", "late", "doubled", "pauses")) > 5
