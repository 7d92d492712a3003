"""Whole processes that die, sleep and compete: who takes over, when, and what the resource lets through.

``LEADERLOCK_CHAOS_SECONDS`` says how long the hammering goes on (10 unless set; the full run takes 60).
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from itertools import pairwise

import pytest

from leaderlock.fences.file import FencedFile

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="judged by CLOCK_BOOTTIME"),
]

TTL = 2.0


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def lag_of_this_machine() -> float:
    """How late a sleeper wakes here and now, at worst: what no promise can be held to beyond."""
    worst = 0.0
    for _ in range(100):
        before = now()
        time.sleep(0.005)
        worst = max(worst, now() - before - 0.005)
    return worst


@pytest.mark.parametrize("early", [True, False], ids=["a waiting follower", "a follower that starts later"])
def test_a_killed_leader_is_followed_within_its_ttl_with_a_greater_token(start, early):
    leader = start("lead", TTL)
    _, token, _ = leader.hear()
    follower = start("follow", TTL) if early else None
    if follower is not None:
        assert follower.hear() == ["waiting"]
    time.sleep(random.uniform(0, 1))  # chaos: somewhere between two renewals
    leader.kill()
    killed = now()
    if follower is None:
        follower = start("follow", TTL)
    while (heard := follower.hear())[0] != "elected":
        pass
    _, next_token, elected = heard

    assert int(next_token) > int(token)
    # One kernel: the follower knows when the leader's last claim ended, so it needs no longer, be it ever so young.
    slack = 0.1 + 5 * lag_of_this_machine() + (0.0 if early else 1.0)
    assert float(elected) - killed <= TTL * 1.005 + slack


def test_a_leader_stopped_past_its_ttl_knows_at_its_first_look_and_is_refused(start, tmp_path):
    leader = start("oversleep", TTL)
    _, token = leader.hear()
    leader.stop()
    follower = start("follow", TTL)
    while (heard := follower.hear())[0] != "elected":
        pass
    resource = FencedFile(tmp_path / "resource")
    resource.write(b"the follower's", token=int(heard[1]))
    time.sleep(TTL / 4)
    leader.resume()
    _, held, refused = leader.hear()
    _, reason = leader.hear()

    assert (held, refused) == ("False", "True")
    assert reason in ("EXPIRED", "REVOKED", "STORE_UNREACHABLE")
    assert resource.read() == b"the follower's"
    assert int(heard[1]) > int(token)


@pytest.mark.timeout(300)
def test_fifty_processes_and_random_kills_never_overlap_and_lose_no_update(start, tmp_path, seconds):
    # The one-core machine of a CI job starts fifty interpreters in a good while: those are not part of the time.
    workers = [start("hammer", 1.0, number) for number in range(int(os.environ.get("LEADERLOCK_CHAOS_WORKERS", "50")))]
    log = tmp_path / "log"
    deadline = time.monotonic() + 120
    while not log.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    until, number = time.monotonic() + seconds, 1000
    while time.monotonic() < until:
        time.sleep(random.uniform(0, 0.3))
        victim = random.randrange(len(workers))
        workers[victim].kill()
        number += 1
        workers[victim] = start("hammer", 1.0, number)
    for worker in workers:
        worker.kill()

    lines = [line.split() for line in log.read_text().splitlines()]
    events = [(kind, int(token), int(count), float(at), int(pid)) for kind, token, count, at, pid in lines]
    grants = sorted((at, token) for kind, token, _, at, _ in events if kind == "elected")
    assert len(grants) > 10
    assert all(later > earlier for (_, earlier), (_, later) in pairwise(grants)), "a token did not rise"

    counts = [count for kind, _, count, _, _ in events if kind == "counted"]
    twice = [count for count, times in Counter(counts).items() if times > 1]
    assert twice == [], "an update was lost"
    final = int((tmp_path / "counter").read_text())
    # Whoever is killed between the write and its note leaves a gap, and no more than one each.
    assert len(set(range(1, final + 1)) - set(counts)) <= number - 1000 + len(workers)

    terms = {}
    for kind, token, _, at, _ in events:
        if kind == "lost":
            continue  # noticed then, and over before
        begun, ended = terms.get(token, (None, None))
        if kind == "elected":
            begun = at
        ended = at if ended is None or at > ended else ended
        terms[token] = (begun, ended)
    in_order = [terms[token] for _, token in grants]
    overlaps = [(one, other) for one, other in pairwise(in_order) if one[1] > other[0]]
    assert overlaps == [], "two led at once"
