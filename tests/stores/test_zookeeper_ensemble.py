"""Whole clients on three ZooKeeper servers, some of which are killed, frozen or wiped meanwhile."""

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoNodeError, NotEmptyError

import leaderlock
from leaderlock import CampaignTimeout, LeaderLockError
from leaderlock._client import engine_of
from leaderlock.backend import ABSENT, Write
from leaderlock.errors import BackendUnavailable
from leaderlock_zookeeper import from_client, open_backend
from tests.servers.loopback import until
from tests.servers.zookeeper import PATIENCE, Ensemble

TTL = 3.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    ensemble = Ensemble(tmp_path_factory.mktemp("ensemble"))
    try:
        ensemble.start()
        yield ensemble
    finally:
        ensemble.kill()


@pytest.fixture(autouse=True)
def whole(ensemble):
    """Every test begins and leaves with three servers."""
    yield
    for server in ensemble.servers:
        server.thaw()


class Contest:
    """Clients that lead in turn, and what each saw: tokens in their order, and how many led at once."""

    def __init__(self, hosts: str, namespace: str, count: int = 3) -> None:
        self.tokens: list[int] = []
        self.overlaps: list[str] = []
        self._leases: list[object] = []
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._clients = [
            leaderlock.connect(open_backend(f"zk://{hosts}", namespace=namespace), ttl=TTL, longest=TTL)
            for _ in range(count)
        ]
        self._threads = [threading.Thread(target=self._compete, args=(client,)) for client in self._clients]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()

    def progress(self, elections: int = 3) -> bool:
        """Whether so many more elections are won before patience ends."""
        with self._lock:
            goal = len(self.tokens) + elections
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with self._lock:
                if len(self.tokens) >= goal:
                    return True
            self._is_over.wait(0.02)
        return False

    def falls_silent(self, *, within: float) -> bool:
        """Whether the last claim has ended by then."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            with self._lock:
                if not any(lease.is_held for lease in self._leases):
                    return True
            self._is_over.wait(0.02)
        return False

    def _compete(self, client) -> None:
        while not self._is_over.is_set():
            try:
                lease = client.election("job").campaign(timeout=1.0)
            except (CampaignTimeout, LeaderLockError):
                continue
            with self._lock:
                if lease.is_held:
                    self.tokens.append(lease.token)
                self._leases = [other for other in self._leases if other.is_held]
                self._leases.append(lease)
            for _ in range(10):
                self._look()
                if not lease.is_held or self._is_over.wait(0.02):
                    break
            try:
                lease.resign(timeout=1.0)
            except LeaderLockError:
                continue

    def _look(self) -> None:
        with self._lock:
            # Each claim is looked at twice around all others: two that are true in between were true at once.
            first = [lease for lease in self._leases if lease.is_held]
            again = [lease for lease in reversed(first) if lease.is_held]
            if len(again) > 1:
                self.overlaps.append(repr(again))


def verdict(contest: Contest) -> None:
    assert not contest.overlaps
    assert contest.tokens == sorted(set(contest.tokens))


@contextmanager
def killed(*servers):
    for server in servers:
        server.kill()
    try:
        yield
    finally:
        for server in servers:
            server.launch()
        for server in servers:
            server.wait()


@contextmanager
def frozen(*servers):
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server.frozen())
        yield


def wipe(shell, path):
    """Also while others write into what is being removed."""
    memory = shell.get(path)[0]
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and shell.exists(path) and shell.get(path)[0] == memory:
        with suppress(NotEmptyError, NoNodeError):
            shell.delete(path, recursive=True)


def a_follower(ensemble):
    leader = ensemble.leader
    return next(server for server in ensemble.servers if server is not leader)


@pytest.mark.parametrize("fault", [killed, frozen])
@pytest.mark.parametrize("whom", ["follower", "leader"])
def test_one_server_less_stops_nobody(ensemble, fault, whom):
    with Contest(ensemble.hosts, f"one-{fault.__name__}-{whom}") as contest:
        before = contest.progress()
        with fault(ensemble.leader if whom == "leader" else a_follower(ensemble)):
            meanwhile = contest.progress()
        after = contest.progress()

    assert (before, meanwhile, after) == (True, True, True)
    verdict(contest)


def test_nobody_leads_beyond_its_deadline_without_a_quorum_and_all_goes_on_with_it(ensemble):
    with Contest(ensemble.hosts, "quorum") as contest:
        before = contest.progress()
        with killed(*ensemble.servers[:2]):
            is_quiet = contest.falls_silent(within=TTL)
        after = contest.progress()

    assert is_quiet
    assert before
    assert after
    verdict(contest)


def test_a_frozen_ensemble_is_outlived_by_nobodys_claim(ensemble):
    with Contest(ensemble.hosts, "silence") as contest:
        before = contest.progress()
        with frozen(*ensemble.servers):
            is_quiet = contest.falls_silent(within=TTL)
        after = contest.progress()

    assert is_quiet
    assert before
    assert after
    verdict(contest)


def test_tokens_go_on_rising_in_a_tree_that_was_wiped(ensemble):
    shell = KazooClient(ensemble.hosts)
    shell.start(timeout=20)
    try:
        with Contest(ensemble.hosts, "wiped") as contest:
            before = contest.progress()
            wipe(shell, "/leaderlock/wiped")
            after = contest.progress()
    finally:
        shell.stop()
        shell.close()

    assert before
    assert after
    assert contest.tokens == sorted(set(contest.tokens))


def test_the_floor_goes_on_through_an_election_and_writes_the_mark_anew(ensemble):
    backend = open_backend(f"zk://{ensemble.hosts}", namespace="floors")
    before = backend.read(["settled"], timeout=20)

    with killed(ensemble.leader):
        assert ensemble.leader
        until, after = time.monotonic() + PATIENCE, None
        while after is None and time.monotonic() < until:
            try:
                # Applied or in conflict with an earlier attempt of our own: either way it went through the new leader.
                backend.swap([Write("settled", ABSENT, b"x")], before.memory, timeout=5)
                after = backend.read(["settled"], timeout=5)
            except leaderlock.BackendUnavailable:
                continue
    backend.close()

    assert after is not None
    assert after.memory == before.memory
    assert before.floor < after.floor < before.floor + 3 * (1 << 18), "an election adds a span, not 2**32"


def test_a_client_handed_in_is_used_and_left_running(ensemble):
    owner = KazooClient(ensemble.hosts, timeout=4.0)
    owner.start(timeout=20)
    try:
        with leaderlock.connect(from_client(owner, namespace="lent"), ttl=TTL, longest=TTL) as client:
            lease = client.election("job").campaign(timeout=20)
            token = lease.token
            assert lease.is_held

        assert owner.connected
        assert owner.exists("/leaderlock/lent")
        assert token > 0
    finally:
        owner.stop()
        owner.close()


def test_the_owner_s_own_callbacks_come_while_leaderlock_is_in_the_middle_of_something(ensemble):
    """kazoo#381: it calls everybody back on one thread, so whoever blocks there silences all others."""
    called = threading.Event()
    owner = KazooClient(ensemble.hosts, timeout=4.0)
    owner.start(timeout=20)
    try:
        with (
            leaderlock.connect(from_client(owner, namespace="shared"), ttl=TTL, longest=TTL) as client,
            leaderlock.connect(
                open_backend(f"zk://{ensemble.hosts}", namespace="shared"), ttl=TTL, longest=TTL
            ) as rival,
            ThreadPoolExecutor(1) as pool,
        ):
            lease = rival.election("job").campaign(timeout=PATIENCE)
            waiting = pool.submit(client.election("job").campaign, timeout=PATIENCE)
            until(lambda: any("name" in path for path in owner._data_watchers.copy()), "it watches")
            owner.exists("/theirs", watch=lambda _: called.set())

            with engine_of(client).locked():
                lease.resign()  # which wakes who waits
                owner.create_async("/theirs")

                assert called.wait(PATIENCE)
            assert waiting.result(PATIENCE).is_held
    finally:
        owner.stop()
        owner.close()


def test_a_client_without_servers_never_pauses_for_long_between_two_knocks():
    """After an outage its pauses are time without a leader, on top of everybody's wait for the session that was."""
    knocks: list[float] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as door,
        closing(open_backend(f"zk://127.0.0.1:{door.getsockname()[1]}", namespace="none")) as backend,
    ):
        door.settimeout(PATIENCE)
        with pytest.raises(BackendUnavailable):
            backend.read((), timeout=0.01)
        while len(knocks) < 16:  # of which the last ten come after the longest pauses there are
            door.accept()[0].close()
            knocks.append(time.monotonic())

    assert max(later - earlier for earlier, later in pairwise(knocks)) < 0.9
