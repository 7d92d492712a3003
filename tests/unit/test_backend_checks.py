"""What no store can take is refused by every driver alike, before a server is asked."""

from contextlib import closing

import pytest

import leaderlock_etcd
import leaderlock_redis
import leaderlock_sqlite
import leaderlock_zookeeper
from leaderlock.backend import ABSENT, Write
from leaderlock.errors import BackendRefused
from leaderlock.testing import MemoryBackend

AWAY = "127.0.0.1:1"
MEMORY = "0" * 32


@pytest.fixture(params=["memory", "sqlite", "redis", "zookeeper", "etcd"])
def backend(request, tmp_path):
    openers = {
        "memory": MemoryBackend,
        "sqlite": lambda: leaderlock_sqlite.open_backend(f"sqlite:///{tmp_path}/x.db", namespace="n"),
        "redis": lambda: leaderlock_redis.open_backend(f"redis://{AWAY}", namespace="n"),
        "zookeeper": lambda: leaderlock_zookeeper.open_backend(f"zk://{AWAY}", namespace="n"),
        "etcd": lambda: leaderlock_etcd.open_backend(f"etcd://{AWAY}", namespace="n"),
    }
    with closing(openers[request.param]()) as backend:
        yield backend


def test_a_key_that_stands_twice_in_one_swap_is_a_mistake(backend):
    with pytest.raises(ValueError, match="appears twice"):
        backend.swap([Write("name/a", ABSENT, b"x"), Write("name/a", ABSENT, b"y")], MEMORY, timeout=1.0)


def test_more_keys_than_a_call_takes_are_a_mistake(backend):
    traits = backend.traits
    keys = [f"name/{number}" for number in range(traits.max_batch + 1)]

    for call in (
        lambda: backend.read(keys, timeout=1.0),
        lambda: backend.swap([Write(key, ABSENT, b"x") for key in keys], MEMORY, timeout=1.0),
    ):
        with pytest.raises(ValueError, match=f"more than {traits.store} takes .{traits.max_batch}.; split them"):
            call()


def test_a_value_that_is_too_great_is_refused_with_its_key(backend):
    traits = backend.traits
    value = b"x" * (traits.max_value + 1)

    with pytest.raises(BackendRefused, match=f"'name/a' has {len(value)} bytes; {traits.store} takes"):
        backend.swap([Write("name/a", ABSENT, value)], MEMORY, timeout=1.0)
