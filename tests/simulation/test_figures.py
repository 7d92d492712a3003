"""What no invariant sees, and figures do."""

from __future__ import annotations

from collections import Counter

from .cores import Change
from .history import run

A_REQUEST_RESTARTS_THE_OBSERVATION = Change(
    "rivals.py", "if old.mark == fresh.mark and type", "if old.seen.stamp == fresh.seen.stamp and type"
)


def _leaderless(profile: str, histories: int, *changes: Change) -> float:
    """The mean time for which a name had no leader after its leader had crashed, in seconds."""
    counts: Counter[str] = Counter()
    for seed in range(histories):
        counts += run(profile, seed, changes).counts
    return counts["seconds leaderless"] / counts["takeovers"]


def test_requests_do_not_lengthen_the_wait_for_a_dead_leader():
    assert _leaderless("asked", 8) < 0.7 * _leaderless("asked", 8, A_REQUEST_RESTARTS_THE_OBSERVATION)


def test_a_crashed_leader_is_replaced_within_about_two_of_the_longest_ttls():
    assert _leaderless("calm", 10) < 20


def test_a_job_that_does_not_wait_runs_again_soon_after_its_host_died():
    counts = sum((run("jobs", seed).counts for seed in range(30)), start=Counter[str]())

    assert counts["inherited"] > 2
    assert counts["seconds to inherit"] / counts["inherited"] < 45
