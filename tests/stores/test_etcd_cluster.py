"""Whole clients on three etcd members of which some freeze, die, or lose their disk."""

import threading
import time
from contextlib import ExitStack
from itertools import pairwise

import pytest

import leaderlock
from leaderlock import Write
from leaderlock.errors import BackendUnavailable, LeaderLockError, MemoryGone
from leaderlock_etcd import open_backend
from tests.servers.etcd import EtcdServer, free_ports

TTL = 2.0
RHO = 0.1
"""More than any machine's; only the patience of these tests depends on it."""
TIMEOUT = 10.0

pytestmark = pytest.mark.slow


class Cluster:
    def __init__(self, directory):
        ports = free_ports(6)
        pairs = list(zip(ports[::2], ports[1::2], strict=True))
        everybody = ",".join(f"m{at}=http://127.0.0.1:{peer}" for at, (_, peer) in enumerate(pairs))
        self.members = [
            EtcdServer(directory / f"m{at}", name=f"m{at}", ports=pair, cluster=everybody)
            for at, pair in enumerate(pairs)
        ]

    def start(self):
        for member in self.members:
            member.start(wait=False)
        for member in self.members:
            member.wait_until_healthy()

    def kill(self):
        for member in self.members:
            member.kill()

    def wipe(self):
        self.kill()
        for member in self.members:
            member.forget()
        self.start()

    def leader(self):
        """The member that leads the cluster, as soon as one does."""
        until = time.monotonic() + TIMEOUT
        while time.monotonic() < until:
            for member in self.members:
                status = member.ask("maintenance/status", {})
                if status.get("leader") == status["header"]["member_id"]:
                    return member
        raise AssertionError("no member leads")

    @property
    def url(self):
        return "etcd://" + ",".join(f"127.0.0.1:{member.port}" for member in self.members)


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


class Worker(threading.Thread):
    """A client that leads whenever it can, and writes down from when to when it was sure to."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.terms: list[tuple[int, float, float]] = []
        self.seen = threading.Condition()
        self._is_over = threading.Event()
        self._url = url

    def run(self):
        with leaderlock.connect(self._url, ttl=TTL, longest=TTL) as client:
            while not self._is_over.is_set():
                try:
                    with client.election("job", timeout=0.5) as lease:
                        self._lead(lease)
                except LeaderLockError:
                    self._is_over.wait(0.02)

    def _lead(self, lease):
        until = time.monotonic() + 0.3
        while time.monotonic() < until and not self._is_over.is_set():
            began = time.monotonic()
            if not lease.is_held:
                return
            # Held when it was asked: that instant lies after `began`, so a point is enough of an interval.
            with self.seen:
                self.terms.append((lease.token, began, time.monotonic()))
                self.seen.notify_all()
            self._is_over.wait(0.005)

    def end(self):
        self._is_over.set()
        self.join(TIMEOUT)


@pytest.fixture
def workers(cluster):
    with ExitStack() as stack:
        started = [Worker(cluster.url) for _ in range(3)]
        for worker in started:
            worker.start()
            stack.callback(worker.end)
        yield started


def wait_for_leader(workers, *, after, within):
    """The first moment after ``after`` at which somebody was sure to lead."""
    until = after + within
    while time.monotonic() < until:
        led = [began for worker in workers for _, began, _ in list(worker.terms) if began > after]
        if led:
            return min(led)
        time.sleep(0.01)
    raise AssertionError(f"nobody led within {within:g} s")


def check_history(workers):
    """No two leaders at once, and tokens rise with time."""
    looks = sorted(
        (began, ended, token, number) for number, worker in enumerate(workers) for token, began, ended in worker.terms
    )
    assert looks
    for (_, ended, token, number), (began, _, later, other) in pairwise(looks):
        if ended < began:
            assert later >= token, "a later leader has a lower token"
            assert later > token or other == number, "two leaders hold one token"


def test_leadership_goes_on_while_members_freeze_die_and_return(cluster, workers):
    wait_for_leader(workers, after=time.monotonic(), within=2 * TTL + 5)

    with cluster.members[0].frozen():
        wait_for_leader(workers, after=time.monotonic() + TTL, within=2 * TTL + 3)
    victim = cluster.leader()
    victim.kill()
    wait_for_leader(workers, after=time.monotonic() + TTL, within=2 * TTL + 3)
    victim.start()

    for worker in workers:
        worker.end()
    check_history(workers)


def test_after_a_lost_quorum_somebody_leads_within_a_ttl_of_its_return(cluster, workers):
    wait_for_leader(workers, after=time.monotonic(), within=2 * TTL + 5)

    for member in cluster.members[:2]:
        member.kill()
    lost = time.monotonic() + TTL
    while time.monotonic() < lost + 1.0:
        time.sleep(0.05)
    silence = [began for worker in workers for _, began, _ in list(worker.terms) if began > lost]
    for member in cluster.members[:2]:
        member.start(wait=False)
    for member in cluster.members:
        member.wait_until_healthy()
    back = time.monotonic()
    led = wait_for_leader(workers, after=back, within=TTL * (1 + RHO) + 1.0)

    for worker in workers:
        worker.end()
    assert not silence, "somebody led although no renewal can have been acknowledged for a ttl"
    assert led - back < TTL * (1 + RHO) + 1.0
    check_history(workers)


def test_a_read_finds_another_member_when_the_one_it_talks_to_freezes(cluster):
    backend = open_backend(cluster.url, namespace="rotation")
    try:
        before = backend.read(["settled"], timeout=TIMEOUT)

        # Frozen too is whoever leads, if it is this one: then the others elect another first.
        with cluster.members[0].frozen():
            began = time.monotonic()
            while True:
                try:
                    after = backend.read(["settled"], timeout=0.5)
                    break
                except BackendUnavailable:
                    assert time.monotonic() < began + TIMEOUT

        assert after.memory == before.memory
        assert time.monotonic() - began < TIMEOUT
    finally:
        backend.close()


def test_a_watch_moves_to_another_member_with_the_calls(cluster):
    watcher, writer = (open_backend(cluster.url, namespace="rotation") for _ in range(2))
    heard = threading.Event()
    try:
        memory = watcher.read(["settled"], timeout=TIMEOUT).memory
        watcher.watch(["name/a"], lambda _: heard.set())
        assert heard.wait(TIMEOUT)

        with cluster.members[0].frozen():
            for backend in (watcher, writer):
                eventually(lambda backend=backend: backend.read(["name/a"], timeout=0.5))
            heard.clear()
            eventually(lambda: writer.swap([Write("name/a", 0, b"x")], memory, timeout=0.5))

            assert heard.wait(TIMEOUT)
    finally:
        watcher.close()
        writer.close()


def test_in_a_wiped_cluster_an_old_write_does_not_fit_and_tokens_still_rise(cluster):
    backend = open_backend(cluster.url, namespace="default")
    try:
        with leaderlock.connect(cluster.url, ttl=TTL, longest=TTL) as client:
            with client.election("job", timeout=TIMEOUT) as lease:
                first = lease.token
            before = backend.read(["settled"], timeout=TIMEOUT)
            identity = cluster.members[0].cluster_id()

            cluster.wipe()
            # A namespace whose revisions run the same way as before: only the birth mark tells the two apart.
            with pytest.raises(MemoryGone):
                eventually(lambda: backend.swap([Write("name/late", 0, b"late")], before.memory, timeout=1.0))
            with client.election("job", timeout=4 * TTL + TIMEOUT) as lease:
                second = lease.token

        after = backend.read(["name/late"], timeout=TIMEOUT)
        assert cluster.members[0].cluster_id() == identity
        assert after.seen["name/late"].value is None
        assert after.floor > before.floor
        assert second > first
    finally:
        backend.close()


def eventually(call):
    """The first answer of ``call``, while the store is away."""
    until = time.monotonic() + TIMEOUT
    while True:
        try:
            return call()
        except BackendUnavailable:
            if time.monotonic() > until:
                raise
