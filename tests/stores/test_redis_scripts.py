"""The scripts for Redis against a plain model: their arguments are all text, and none is taken for something else."""

from __future__ import annotations

import itertools
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leaderlock.backend import ABSENT, Conflict, Seen, Swapped, Write
from leaderlock_redis import open_backend
from tests.servers.redis import RedisServer

TIMEOUT = 15.0
KEYS = ("settled", "name/-", "name/0", "session/nil")
MARKS = (
    b"",
    b"0",
    b"-1",
    b"1",
    b"nil",
    b"gone",
    b"-",
    b"\r\n",
    b"\n\n1",
    b"$-1\r\n",
    b"-ERR no\r\n",
    b"%s%%",
    b"\x00\xff",
)
NAMESPACES = (f"script-{number}" for number in itertools.count())

values = st.none() | st.sampled_from(MARKS) | st.binary(max_size=40)
guesses = st.sampled_from(
    ["as it is", "as it was", "absent", "as text", "as bytes", "negative", "negative text", "with a space", "huge"]
)
batches = st.lists(
    st.lists(st.tuples(st.sampled_from(KEYS), guesses, values), unique_by=lambda one: one[0]), max_size=8
)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")).running() as server:
        yield server


def expected(guess, now, before):
    """A stamp that may be the register's: it is only where it equals that, type and all."""
    return {
        "as it is": now,
        "as it was": before,
        "absent": ABSENT,
        "as text": str(now),
        "as bytes": str(now).encode(),
        "negative": -now,
        "negative text": f"-{now}",
        "with a space": f" {now}",
        "huge": 2**63 + now,
    }[guess]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches)
def test_no_stamp_and_no_value_is_taken_for_an_order_to_delete_or_for_an_answer(server, batches):
    with closing(open_backend(server.url, namespace=next(NAMESPACES))) as store:
        memory = store.read([], timeout=TIMEOUT).memory
        model = dict.fromkeys(KEYS, Seen(None, ABSENT))
        before = dict.fromkeys(KEYS, 1)
        for batch in batches:
            writes = [Write(key, expected(guess, model[key].stamp, before[key]), value) for key, guess, value in batch]
            answers = store.swap(writes, memory, timeout=TIMEOUT)

            for write, answer in zip(writes, answers, strict=True):
                there = model[write.key]
                if type(write.expected) is int and write.expected == there.stamp:
                    assert isinstance(answer, Swapped)
                    before[write.key] = there.stamp or 1
                    model[write.key] = Seen(write.value, answer.stamp)
                    assert (answer.stamp == ABSENT) == (write.value is None)
                else:
                    assert answer == Conflict(there)
            assert store.read(KEYS, timeout=TIMEOUT).seen == model
        shown = dict(store.scan("", timeout=TIMEOUT))
        assert shown == {key: seen for key, seen in model.items() if seen.stamp != ABSENT}
