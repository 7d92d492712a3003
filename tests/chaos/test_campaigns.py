"""A short campaign on each store. ``LEADERLOCK_CAMPAIGN_SECONDS`` and ``LEADERLOCK_CAMPAIGN_SEED`` make it another."""

from __future__ import annotations

import os
import sys

import pytest

from tests.chaos.campaign import STORES, judge_folder, run
from tests.chaos.histories import read_injuries
from tests.servers.choice import Way, ways_allowed
from tests.servers.stores import way_to

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="judged by CLOCK_BOOTTIME"),
]

SECONDS = float(os.environ.get("LEADERLOCK_CAMPAIGN_SECONDS", "20"))
SEED = int(os.environ.get("LEADERLOCK_CAMPAIGN_SEED", "7"))


CASES = [pytest.param(store, None, id=store) for store in sorted(STORES)]
if way_to("etcd") is Way.CONTAINERS and Way.PATH in ways_allowed():
    # One on processes all the same, so that both kinds of nodes are known to work.
    CASES.append(pytest.param("etcd", Way.PATH, id="etcd-path"))


@pytest.mark.parametrize(("store", "way"), CASES)
def test_no_two_lead_no_token_falls_and_no_stale_write_is_admitted(store, way, tmp_path):
    run(store, tmp_path / "campaign", seconds=SECONDS, seed=SEED, way=way)

    verdict = judge_folder(tmp_path / "campaign")["ours"]
    assert verdict.broken == []
    assert len(read_injuries(tmp_path / "campaign" / "injuries")) >= SECONDS / 10
    assert verdict.terms > 3
    assert verdict.plain > 50
