"""A program that has an etcd3 client already; run by test_etcd3_client.py where that package can be imported.

Its arguments are those of ``etcd3.client``, as JSON. It prints what it found, as JSON too.
"""

import json
import sys
import threading
import time

import etcd3

import leaderlock
from leaderlock.backend import ABSENT, Write
from leaderlock.errors import StaleToken
from leaderlock.fences.etcd import EtcdFence
from leaderlock_etcd import from_client

TIMEOUT = 10.0


def connected(settings: dict[str, object]) -> etcd3.Etcd3Client:
    """The client, as soon as its server has started."""
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            client = etcd3.client(**settings)
            client.get("/tests/theirs")
        except etcd3.exceptions.Etcd3Exception:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return client


def fenced(client: etcd3.Etcd3Client) -> list[str]:
    """What a new leader and an old one come to, and what they leave."""
    fence, put = EtcdFence(client, "/tests/fence"), client.transactions.put
    fence.stamp(9)
    fence.transaction([put("/tests/fenced", "new")], token=10)
    try:
        fence.transaction([put("/tests/fenced", "late")], token=9)
    except StaleToken as error:
        found = str(error.highest)
    client.put("/tests/fence", "damage")
    fence.adopt(11)
    return [found, client.get("/tests/fenced")[0].decode(), str(fence.highest())]


def main(settings: dict[str, object]) -> dict[str, object]:
    client = connected(settings)
    backend = from_client(client, namespace="lent", prefix="/tests")
    woken = threading.Event()
    memory = backend.read([], timeout=TIMEOUT).memory
    backend.watch(["name/a"], lambda _: woken.set())
    stands = woken.wait(TIMEOUT)
    woken.clear()
    stamp = backend.read(["name/a"], timeout=TIMEOUT).seen["name/a"].stamp or ABSENT
    (answer,) = backend.swap([Write("name/a", stamp, b"x")], memory, timeout=TIMEOUT)
    was_woken = woken.wait(TIMEOUT)
    backend.close()

    led = from_client(client, namespace="led", prefix="/tests")
    leaders = leaderlock.connect(led, ttl=2.0, longest=2.0, namespace="led")
    with leaders, leaders.election("job", timeout=TIMEOUT) as lease:
        token, is_held = lease.token, lease.is_held
    # The client is its owner's still.
    client.put("/tests/theirs", "kept")
    return {
        "version": etcd3.__version__,
        "swapped": type(answer).__name__,
        "stands": stands,
        "woken": was_woken,
        "token": token,
        "held": is_held,
        "fenced": fenced(client),
        "theirs": client.get("/tests/theirs")[0].decode(),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
