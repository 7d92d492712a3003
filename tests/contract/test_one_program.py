"""The same program, and the same line of a crontab, run on every store: only the URL differs."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from tests.servers import stores

PROGRAM = """
import os
from leaderlock import NotLeader, connect, current, only_on_leader

namespace = os.environ["NAMESPACE"]
one = connect(ttl=5.0, namespace=namespace)
other = connect(ttl=5.0, namespace=namespace)
one.init()
lost = []

with one.election("job", timeout=20) as lease:
    lease.on_lost(lambda lease: lost.append(lease.lost_reason))
    first = lease.token
    lease.save_note(b"page 7")
    lease.check()
    try:
        other.election("job").campaign(wait=False, timeout=5)
    except NotLeader:
        print("the other waits")
    assert other.election("job").leader().token == first

with other.election("job", timeout=20) as lease:
    assert lease.token > first
    print("the note:", lease.note.decode())


@only_on_leader("guarded", client=one)
def guarded():
    return current().token > 0


print("guarded:", guarded(), "elsewhere:", only_on_leader("guarded", client=other)(guarded.__wrapped__)())
print("names:", sorted(one.names()), "lost:", lost)
one.close()
other.close()
"""
SAYS = """\
the other waits
the note: page 7
guarded: True elsewhere: None
names: ['guarded', 'job'] lost: []
"""


IN_ASYNCIO = """
import asyncio, os
from leaderlock import NotLeader, aio, only_on_leader

namespace = os.environ["NAMESPACE"]


async def main():
    async with aio.connect(ttl=5.0, namespace=namespace) as one, aio.connect(ttl=5.0, namespace=namespace) as other:
        await one.init()

        waits = asyncio.Event()
        loop = asyncio.get_running_loop()

        async with one.election("job", timeout=20) as lease:
            await lease.save_note(b"page 7")
            await lease.ensure(4)
            cancelled = asyncio.create_task(
                other.election("job").campaign(on_waiting=lambda why: loop.call_soon_threadsafe(waits.set))
            )
            async with asyncio.timeout(20):
                await waits.wait()
            cancelled.cancel()
            await asyncio.wait([cancelled])
            next_one = asyncio.create_task(other.election("job").campaign())
            try:
                await other.election("job2", wait=False, timeout=10).campaign()
                await one.election("job2", wait=False).campaign()
            except NotLeader:
                print("cancelled:", cancelled.cancelled(), "waiting:", not next_one.done())

        async with asyncio.timeout(20):
            follower = await next_one
        print("later token:", follower.token > lease.token, "the note:", follower.note.decode())

        crowd = await one.campaign_all([f"crowd-{number}" for number in range(200)], timeout=20)
        print("crowd:", len(crowd), all(lease.is_held for lease in crowd.values()))
        rivals = [asyncio.create_task(other.election(name).campaign()) for name in crowd]
        await asyncio.sleep(0)
        await asyncio.gather(*(lease.resign() for lease in crowd.values()))
        async with asyncio.timeout(30):
            taken = await asyncio.gather(*rivals)
        print("handed over:", all(late.token > crowd[late.name].token for late in taken))

        @only_on_leader("guarded", client=one)
        async def guarded():
            return aio.current().token > 0

        print("guarded:", await guarded())


asyncio.run(main())
"""
SAID_IN_ASYNCIO = """\
cancelled: True waiting: True
later token: True the note: page 7
crowd: 200 True
handed over: True
guarded: True
"""


@pytest.fixture(params=["sqlite", *stores.STORES])
def url(request, tmp_path):
    """Where the store is: all that the program is told of it."""
    match request.param:
        case "sqlite":
            yield f"sqlite:///{tmp_path}/leader.db"
            return
        case "zookeeper":
            opened = stores.zookeeper(tmp_path)
        case "etcd":
            opened = stores.etcd(tmp_path)
        case store:
            opened = stores.redis(tmp_path, store=store)
    with opened as server, stores.turn(server):
        yield server.url


@pytest.fixture
def environment(url):
    return {**os.environ, "LEADERLOCK_URL": url, "NAMESPACE": f"program-{uuid.uuid4().hex[:12]}"}


@pytest.mark.parametrize(
    ("program", "says"), [(PROGRAM, SAYS), (IN_ASYNCIO, SAID_IN_ASYNCIO)], ids=["threads", "asyncio"]
)
def test_one_program_runs_unchanged_on_every_store(environment, program, says):
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=100, check=False
    )

    assert (ran.returncode, ran.stdout) == (0, says), ran.stderr


def test_one_command_line_runs_unchanged_on_every_store(environment):
    leaderlock = [sys.executable, "-m", "leaderlock"]
    place = ["--namespace", environment["NAMESPACE"]]
    says = 'echo "leads $LEADERLOCK_NAME" && test "$LEADERLOCK_TOKEN" -gt 0 && exit 7'

    started = subprocess.run(
        [*leaderlock, "init", *place], env=environment, capture_output=True, timeout=50, check=False
    )
    ran = subprocess.run(
        [*leaderlock, "run", "nightly", *place, "--timeout", "30", "--", "sh", "-c", says],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert started.returncode == 0, started.stderr
    assert (ran.returncode, ran.stdout) == (7, "leads nightly\n"), ran.stderr
