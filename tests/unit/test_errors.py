"""Errors on their way from another process, as pools and task queues hand them on."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime

import pytest

from leaderlock import LeaseLost, Skipped, SkipReason, StaleToken, TickSkipped, errors
from leaderlock.fences import FenceBusy, WatermarkLost

SKIPPED = Skipped("nightly", SkipReason.DONE, "another host", datetime(2026, 1, 1, tzinfo=UTC))
WITH_MORE = [
    LeaseLost("stop", reason="expired"),
    StaleToken("stop", token=1, highest=2),
    TickSkipped(SKIPPED),
    FenceBusy("later"),
    WatermarkLost("stop"),
]
PLAIN = [
    getattr(errors, name)("the text")
    for name in errors.__all__
    if name not in {type(error).__name__ for error in WITH_MORE}
]
WAYS = [
    copy.copy,
    copy.deepcopy,
    *(
        lambda error, protocol=protocol: pickle.loads(pickle.dumps(error, protocol))
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    ),
]


@pytest.mark.parametrize("error", WITH_MORE + PLAIN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", WAYS)
def test_an_error_arrives_in_another_process_with_all_that_it_says(error, way):
    error.add_note("in the second shard")

    arrived = way(error)

    assert type(arrived) is type(error)
    assert (str(arrived), arrived.args, vars(arrived)) == (str(error), error.args, vars(error))


def loses() -> None:
    raise LeaseLost("stop", reason="expired")


def test_a_lease_that_was_lost_in_a_worker_does_not_break_the_pool():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        with pytest.raises(LeaseLost, match="stop") as raised:
            pool.submit(loses).result()

        assert raised.value.reason == "expired"
        assert pool.submit(int).result() == 0
