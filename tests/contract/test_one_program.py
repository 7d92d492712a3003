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


def test_one_program_runs_unchanged_on_every_store(environment):
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=100, check=False
    )

    assert (ran.returncode, ran.stdout) == (0, SAYS), ran.stderr


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
