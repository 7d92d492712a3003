"""Locks over real stores, ours and others', each as nothing but ``acquire`` and ``release``; and the bare write beside
which they are measured.

A peer that is not installed is left out, and said so. None of the others has a fencing token; of those over Redis none
renews by itself.
"""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from leaderlock import connect

from .figures import bare_file

__all__ = ["OURS", "STORES", "Lock", "bare_write", "opened", "peers"]

OURS: Final = "leaderlock"
STORES: Final = ("redis", "zookeeper", "etcd")
TTL: Final = 15


class Lock(NamedTuple):
    acquire: Callable[[], object]
    release: Callable[[], object]


@contextmanager
def _ours(url: str) -> Iterator[Lock]:
    leases: list[Any] = []
    with connect(url, ttl=TTL) as client:
        client.init()  # the server is fresh: nobody leads, so that half a minute need not be watched
        election = client.election("bench")
        yield Lock(lambda: leases.append(election.campaign()), lambda: leases.pop().resign())


@contextmanager
def _redis_py(url: str) -> Iterator[Lock]:
    import redis

    with redis.Redis.from_url(url) as client:
        lock = client.lock("bench-redis-py", timeout=TTL)
        yield Lock(lock.acquire, lock.release)


@contextmanager
def _python_redis_lock(url: str) -> Iterator[Lock]:
    import redis
    import redis_lock

    with redis.StrictRedis.from_url(url) as client:
        lock = redis_lock.Lock(client, "bench-python-redis-lock", expire=TTL)
        yield Lock(lock.acquire, lock.release)


@contextmanager
def _kazoo(url: str) -> Iterator[Lock]:
    with _kazoo_client(url) as client:
        lock = client.Lock("/bench-kazoo")
        yield Lock(lock.acquire, lock.release)


@contextmanager
def _etcd_sdk(url: str) -> Iterator[Lock]:
    import pyetcd

    client = pyetcd.client(host="127.0.0.1", port=urlsplit(url).port)
    lock = client.lock("bench-etcd-sdk", ttl=TTL)
    yield Lock(lambda: lock.acquire(timeout=60), lock.release)
    client.close()


@contextmanager
def _tooz(url: str) -> Iterator[Lock]:
    from tooz import coordination

    where = urlsplit(url)
    scheme = {"redis": "redis", "zk": "kazoo", "etcd": "etcd3+http"}[where.scheme]
    coordinator = coordination.get_coordinator(f"{scheme}://{where.netloc}", os.urandom(8).hex().encode())
    coordinator.start()
    lock = coordinator.get_lock(b"bench-tooz")
    yield Lock(lock.acquire, lock.release)
    coordinator.stop()


_PEERS: Final[dict[str, dict[str, tuple[str, Callable[[str], Any]]]]] = {
    "redis": {
        "redis-py": ("redis", _redis_py),
        "python-redis-lock": ("redis_lock", _python_redis_lock),
        "tooz": ("tooz", _tooz),
    },
    "zookeeper": {"kazoo": ("kazoo", _kazoo), "tooz": ("tooz", _tooz)},
    "etcd": {"etcd-sdk-python": ("pyetcd", _etcd_sdk), "tooz": ("etcd3gw", _tooz)},
}


def peers(store: str) -> list[str]:
    """The others' locks over that store which are installed here."""
    return [name for name, (module, _) in _PEERS.get(store, {}).items() if importlib.util.find_spec(module)]


@contextmanager
def opened(store: str, name: str, url: str) -> Iterator[Lock]:
    """That lock on the store at ``url``."""
    opener = _ours if name == OURS else _PEERS[store][name][1]
    with opener(url) as lock:
        yield lock


@contextmanager
def bare_write(store: str, url: str) -> Iterator[Callable[[], object]]:
    """One conditional write with the client alone: the least that a lock of any kind can do twice."""
    with {"sqlite": _bare_sqlite, "redis": _bare_redis, "zookeeper": _bare_zookeeper, "etcd": _bare_etcd}[store](
        url
    ) as write:
        yield write


@contextmanager
def _bare_sqlite(url: str) -> Iterator[Callable[[], object]]:
    with bare_file(Path(url.removeprefix("sqlite://")).parent) as bare:
        yield bare.write


@contextmanager
def _bare_redis(url: str) -> Iterator[Callable[[], object]]:
    import redis

    with redis.Redis.from_url(url) as client:
        swap = client.register_script(
            "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('SET', KEYS[1], ARGV[2]) end"
        )
        key, count = f"bench-bare-{os.getpid()}", itertools.count()
        client.set(key, 0)
        yield lambda: swap(keys=[key], args=[number := next(count), number + 1])


@contextmanager
def _bare_zookeeper(url: str) -> Iterator[Callable[[], object]]:
    with _kazoo_client(url) as client:
        path, count = f"/bench-bare-{os.getpid()}", itertools.count()
        client.create(path, b"")
        yield lambda: client.set(path, os.urandom(300), version=next(count))


@contextmanager
def _bare_etcd(url: str) -> Iterator[Callable[[], object]]:
    import grpc

    from leaderlock_etcd import _messages as messages

    key = f"bench-bare-{os.getpid()}".encode()
    with grpc.insecure_channel(urlsplit(url).netloc) as channel:
        call = channel.unary_unary(messages.TXN)
        revision = 0

        def write() -> None:
            nonlocal revision
            request = messages.txn([messages.has_stamp(key, revision)], [messages.put(key, os.urandom(300))])
            revision = messages.txn_answer(call(request, timeout=10)).revision

        yield write


@contextmanager
def _kazoo_client(url: str) -> Iterator[Any]:
    from kazoo.client import KazooClient

    client = KazooClient(hosts=urlsplit(url).netloc)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()
