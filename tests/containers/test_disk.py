"""``durability="disk"`` where the server knows WAITAOF: a write is acknowledged once it is on the disk."""

from __future__ import annotations

import re
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from leaderlock import ABSENT, OutcomeUnknown, Swapped, Write
from leaderlock.errors import BackendRefused
from leaderlock_redis import open_backend

TIMEOUT = 10.0
KEY = "name/a"

servers = pytest.mark.parametrize("nodes", ["Redis", "Valkey"], indirect=True)


@pytest.fixture
def disk(nodes, request):
    """Opens a driver that wants its writes on the disk; of a namespace of the test's own, which nobody settled."""

    def open_one(url: str = nodes.url):
        backend = open_backend(url, namespace=request.node.name, durability="disk")
        request.addfinalizer(backend.close)
        return backend

    yield open_one
    nodes.wipe("")


@contextmanager
def setting(nodes, name: str, value: str):
    """Another one for the running server, and then what docker-compose.yml says again."""
    usual = {"appendonly": "yes", "appendfsync": "always"}[name]
    nodes.do("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        nodes.do("CONFIG", "SET", name, usual)


def waits(nodes) -> int:
    """How often somebody has waited for the disk."""
    found = re.search(rb"cmdstat_waitaof:calls=(\d+)", nodes.do("INFO", "commandstats"))
    return int(found[1]) if found else 0


@servers
def test_each_write_waits_for_the_disk_and_no_read_does(nodes, disk):
    one = disk()
    memory = one.read([KEY], timeout=TIMEOUT).memory
    before = waits(nodes)

    one.read([KEY], timeout=TIMEOUT)
    after_a_read = waits(nodes)
    (answer,) = one.swap([Write(KEY, ABSENT, b"x")], memory, timeout=TIMEOUT)

    assert isinstance(answer, Swapped)
    assert after_a_read == before
    assert waits(nodes) == before + 1


@servers
@pytest.mark.parametrize(("name", "value"), [("appendonly", "no"), ("appendfsync", "no")])
def test_a_write_that_no_longer_gets_to_the_disk_is_unknown(nodes, disk, name, value):
    one = disk()
    memory = one.read([KEY], timeout=TIMEOUT).memory

    with setting(nodes, name, value), pytest.raises(OutcomeUnknown, match="not on the disk yet"):
        one.swap([Write(KEY, ABSENT, b"x")], memory, timeout=1.0)


@servers
def test_a_write_under_everysec_is_acknowledged_once_it_is_on_the_disk(nodes, disk):
    one = disk()
    memory = one.read([KEY], timeout=TIMEOUT).memory

    with setting(nodes, "appendfsync", "everysec"):
        before = waits(nodes)
        (answer,) = one.swap([Write(KEY, ABSENT, b"x")], memory, timeout=TIMEOUT)
        waited = waits(nodes) - before

    assert isinstance(answer, Swapped)
    assert waited == 1


@servers
@pytest.mark.parametrize(("name", "value"), [("appendonly", "no"), ("appendfsync", "everysec")])
def test_a_server_that_does_not_write_at_once_is_not_taken_for_durable(nodes, disk, name, value):
    with setting(nodes, name, value), pytest.raises(BackendRefused, match="appendfsync always"):
        disk().read([KEY], timeout=TIMEOUT)


@servers
def test_who_may_not_wait_for_the_disk_is_told_before_anything_is_written(nodes, disk):
    nodes.do("ACL", "SETUSER", "hasty", "on", ">s3cret", "~*", "&*", "+@all", "-waitaof")
    try:
        with pytest.raises(BackendRefused, match=r"\+waitaof.*hasty has no permissions.*waitaof"):
            disk(f"redis://hasty:s3cret@{urlsplit(nodes.url).netloc}").read([KEY], timeout=TIMEOUT)
    finally:
        nodes.do("ACL", "DELUSER", "hasty")
