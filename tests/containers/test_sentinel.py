"""The profile ``sentinel``: a primary that dies, the replica that Sentinel appoints, and who leads then."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack

import pytest

import leaderlock
from tests.servers.choice import Way, absent
from tests.servers.loopback import until
from tests.servers.sentinels import SentinelContainers
from tests.servers.stores import way_to

LONGEST = 6.0
"""The ttl of all here; a failover takes two to four seconds."""
SETTLING = LONGEST * 1.1
"""docs/stores/redis.md: longest·(1 + ρ), 30 to 33 s by default."""
SLACK = 4.0
"""Seconds in which clients hear of the new primary, on a busy machine."""
TIMEOUT = 10.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def all_of_them():
    way = way_to("redis")
    if way is not Way.CONTAINERS:
        absent("containers", f"Redis is had by {way}" if isinstance(way, Way) else way)
    return SentinelContainers()


@pytest.fixture
def group(all_of_them):
    """Whole, and for this test alone."""
    with all_of_them.turn():
        yield all_of_them


@pytest.mark.parametrize("durability", ["memory", "replicas:1"])
def test_a_primary_that_is_killed_is_followed_and_somebody_leads_within_a_settling_time(group, durability):
    terms = {"namespace": f"sentinel-{uuid.uuid4().hex[:12]}", "ttl": LONGEST, "longest": LONGEST}
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(leaderlock.connect(group.url, durability=durability, **terms)) for _ in range(2)
        )
        first.init()
        old, primary = first.election("job").campaign(timeout=TIMEOUT), group.primary()

        with group.outage(primary):
            # A replica that cannot go on where it stood is given all anew: seconds, in which it confirms nothing.
            replicas = 1 if durability == "replicas:1" else 0
            until(lambda: group.has_moved(primary, replicas=replicas), "Sentinel appoints another, which is followed")
            promoted, before = time.monotonic(), group.failovers()
            # Where its record is known to the replica, and it was quick enough, it goes on.
            if old.is_held:
                old.resign()
            new = until(lambda: patiently(second), "somebody leads")
            waited = time.monotonic() - promoted
            were_two = old.is_held and new.is_held

        assert group.primary().service != primary.service
        # Another failover, as on a machine that is busy for a moment, lets them begin anew.
        assert waited < (SETTLING + SLACK) * (1 + group.failovers() - before)
        assert new.token > old.token
        assert not were_two


def patiently(client):
    """A lease, unless the store is away."""
    try:
        return client.election("job").campaign(timeout=SETTLING + SLACK)
    except (leaderlock.BackendUnavailable, leaderlock.CampaignTimeout):
        return None
