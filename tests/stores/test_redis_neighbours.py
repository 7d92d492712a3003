"""What others on the same Redis notice of leaderlock, whatever a person types; and what a lent client's settings do."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import closing

import pytest
import redis
import redis.asyncio

from leaderlock import aio, connect
from leaderlock.backend import ABSENT, Write
from leaderlock.cli import main
from leaderlock_redis import from_client, open_backend
from tests.servers.redis import RedisServer, until

TIMEOUT = 15.0
LONG_ENOUGH = 2
"""Seconds: many times the time-out of the client that is lent, and less than a watch waits before it asks."""
NAMESPACES = (f"neighbour-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(
        tmp_path_factory.mktemp("redis"), "--appendonly", "yes", "--appendfsync", "always"
    ).running() as one:
        yield one


@pytest.fixture
def theirs(server):
    """Another client's whole view of the server."""
    with closing(redis.Redis(port=server.port)) as client:
        yield client


def test_no_command_of_a_person_s_deletes_what_others_have_nor_forgets_a_token(server, theirs):
    """python-redis-lock's reset_all: every lock of every program on the server was gone."""
    ours, others = next(NAMESPACES), next(NAMESPACES)
    store = ["--url", server.url, "--ttl", "2", "--longest", "2", "--namespace", ours]
    theirs.set("lock:job", "held")
    with (
        connect(server.url, namespace=others, ttl=20.0) as neighbour,
        connect(server.url, namespace=ours, ttl=2.0, longest=2.0) as client,
    ):
        for one in (neighbour, client):
            one.init(force=True)
        lease, mine = (
            neighbour.election("job").campaign(timeout=TIMEOUT),
            client.election("job").campaign(timeout=TIMEOUT),
        )
        mine.save_note(b"processed up to here")
        before = {key: theirs.dump(key) for key in theirs.scan_iter() if b"{%b}" % ours.encode() not in key}

        for command in (["resign", "--now", "job"], ["init", "--force"], ["status"], ["doctor"], ["pause", "work"]):
            main([*command, *store])

        after = {key: theirs.dump(key) for key in theirs.scan_iter() if b"{%b}" % ours.encode() not in key}
        assert after.keys() == before.keys()
        assert lease.is_held
        assert theirs.get("lock:job") == b"held"
        mine.wait_lost(TIMEOUT)  # by force: it believes in its lease until it looks at the name
        with client.election("job", timeout=TIMEOUT) as following:
            assert following.token > mine.token
            assert following.note == b"processed up to here"
    called = set(theirs.info("commandstats"))
    assert not called & {"cmdstat_keys", "cmdstat_flushall", "cmdstat_flushdb", "cmdstat_unlink", "cmdstat_expire"}


def test_a_watch_is_not_ended_by_the_time_out_of_the_client_that_was_lent(server, theirs):
    """One that waits for longer than its socket does misses what is said while it connects anew, again and again."""
    namespace, woken = next(NAMESPACES), threading.Event()
    lent = redis.Redis(port=server.port, socket_timeout=0.1)

    def idle():
        """The connection that listens, and for how many seconds it was silent."""
        (line,) = theirs.client_list(_type="pubsub")
        return line["id"], int(line["idle"])

    with (
        closing(from_client(lent, namespace=namespace)) as one,
        closing(open_backend(server.url, namespace=namespace)) as other,
    ):
        memory = other.read([], timeout=TIMEOUT).memory
        one.watch(["name/a"], lambda _: woken.set())
        assert woken.wait(TIMEOUT), "it listens"
        woken.clear()
        listening, _ = idle()

        until(lambda: idle()[1] >= LONG_ENOUGH, "nothing was said for long enough")
        other.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)

        assert woken.wait(TIMEOUT)
        assert idle()[0] == listening


def test_an_asyncio_program_lends_the_client_that_it_has(server):
    """Its connections live in its loop, and ours beside it: what is lent is where to connect, and as whom."""
    namespace = next(NAMESPACES)
    server.do("ACL", "SETUSER", "looped", "on", ">s3cret", "~*", "&*", "+@all")

    async def main():
        lent = redis.asyncio.Redis(port=server.port, username="looped", password="s3cret", decode_responses=True)
        async with aio.connect(from_client(lent, namespace=namespace), namespace=namespace) as client:
            await client.init()
            async with client.election("job", timeout=TIMEOUT) as lease:
                await lent.set("theirs", lease.token)
                assert lease.is_held
                assert {one["user"] for one in await lent.client_list()} >= {"looped"}
                assert int(await lent.get("theirs")) == lease.token
        await lent.aclose()

    asyncio.run(main())
