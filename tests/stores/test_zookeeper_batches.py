"""Many registers in few requests on ZooKeeper: what fails in a batch, whom it delays, and servers before 3.6."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_acl

import leaderlock
from leaderlock import BackendRefused, MemoryGone, OutcomeUnknown
from leaderlock.backend import ABSENT, DELETE, Conflict, Seen, Swapped, Write
from leaderlock_zookeeper import from_client, open_backend
from leaderlock_zookeeper._paths import Layout
from tests.servers.zookeeper import Server, free_ports
from tests.servers.zookeeper_before_36 import Before36

MANY = 300
KEYS = [f"name/{number}" for number in range(MANY)]
PATIENCE = 20
WRITE_ALL = 14
names = itertools.count()


@pytest.fixture
def namespace():
    return f"batches-{next(names)}"


class Observed(KazooClient):
    """Remembers the kinds of what it sends, and does something before."""

    def __init__(self, hosts):
        super().__init__(hosts=hosts, connection_retry={"max_tries": -1, "max_delay": 1.0})
        self.sent = []
        self.before = lambda kind: None

    def _call(self, request, result):
        self.before(request.type)
        self.sent.append(request.type)
        return super()._call(request, result)


@contextmanager
def started(client):
    client.start(timeout=PATIENCE)
    try:
        yield client
    finally:
        client.stop()
        client.close()


@pytest.fixture
def lent(zookeeper):
    with started(Observed(zookeeper.hosts)) as client:
        yield client


@pytest.fixture
def backend(lent, namespace):
    with closing(from_client(lent, namespace=namespace)) as backend:
        yield backend


def swap(backend, writes):
    return backend.swap(writes, backend.read((), timeout=PATIENCE).memory, timeout=PATIENCE)


def created(backend, keys=KEYS, value=b"first"):
    answers = swap(backend, [Write(key, ABSENT, value) for key in keys])
    return dict(zip(keys, (answer.stamp for answer in answers), strict=True))


def test_many_registers_are_made_and_read_in_few_requests(backend, lent):
    backend.read((), timeout=PATIENCE)
    lent.sent.clear()

    created(backend)
    seen = backend.read(KEYS, timeout=PATIENCE).seen

    assert {seen[key].value for key in KEYS} == {b"first"}
    assert len(lent.sent) < 20


def test_in_a_batch_of_which_every_other_write_fails_the_others_are_applied_together(backend, lent):
    stamps = created(backend)
    others = KEYS[::2]
    swap(backend, [Write(key, stamps[key], b"second") for key in others])
    lent.sent.clear()

    answers = swap(backend, [Write(key, stamps[key], b"third") for key in KEYS])

    for key, answer in zip(KEYS, answers, strict=True):
        if key in others:
            assert isinstance(answer, Conflict)
            assert answer.seen.value == b"second"
        else:
            assert isinstance(answer, Swapped)
    seen = backend.read(KEYS, timeout=PATIENCE).seen
    assert [seen[key].value for key in KEYS] == [b"second" if key in others else b"third" for key in KEYS]
    assert [answer.stamp for answer in answers if isinstance(answer, Swapped)] == [
        seen[key].stamp for key in KEYS if key not in others
    ]
    assert len(lent.sent) < 20


def test_a_batch_that_fails_as_a_whole_is_answered_by_a_look(backend, lent):
    created(backend)
    lent.sent.clear()

    answers = swap(backend, [Write(key, ABSENT, b"again") for key in KEYS])

    assert all(isinstance(answer, Conflict) and answer.seen.value == b"first" for answer in answers)
    assert len(lent.sent) < 20


def test_every_kind_of_write_in_a_failing_batch_is_answered_on_its_own(backend):
    stamps = created(backend, KEYS[:40])
    old, *free = KEYS[40:80]
    writes = {
        **{key: Write(key, stamps[key], b"put") for key in KEYS[:10]},
        **{key: Write(key, stamps[key] + 5, b"stale") for key in KEYS[10:20]},
        **{key: Write(key, stamps[key], DELETE) for key in KEYS[20:30]},
        **{key: Write(key, ABSENT, b"taken") for key in KEYS[30:40]},
        old: Write(old, 9, b"not there"),
        **{key: Write(key, ABSENT, b"made") for key in free[:-1]},
        free[-1]: Write(free[-1], ABSENT, DELETE),
    }

    answers = dict(zip(writes, swap(backend, [*writes.values()]), strict=True))

    seen = backend.read([*writes], timeout=PATIENCE).seen
    for key in (*KEYS[:10], *free[:-1]):
        assert answers[key] == Swapped(seen[key].stamp)
        assert seen[key].value in (b"put", b"made")
    for key in (*KEYS[10:20], *KEYS[30:40]):
        assert answers[key] == Conflict(Seen(b"first", stamps[key]))
    for key in (*KEYS[20:30], free[-1]):
        assert answers[key] == Swapped(ABSENT)
        assert seen[key] == Seen(None, ABSENT)
    assert answers[old] == Conflict(Seen(None, ABSENT))


def test_what_somebody_writes_between_the_look_and_the_second_attempt_is_not_overwritten(
    zookeeper, backend, lent, namespace
):
    stamps = created(backend)
    group = KEYS[:50]
    with closing(open_backend(zookeeper.url, namespace=namespace)) as rival:
        swap(rival, [Write(group[0], stamps[group[0]], b"rival")])
        attempts = itertools.count()

        def interfere(kind):
            if kind == WRITE_ALL and next(attempts) == 1:
                swap(rival, [Write(group[1], stamps[group[1]], b"rival, later")])

        lent.before = interfere

        answers = swap(backend, [Write(key, stamps[key], b"ours") for key in group])

        assert [answer.seen.value for answer in answers if isinstance(answer, Conflict)] == [b"rival", b"rival, later"]
        seen = rival.read(group, timeout=PATIENCE).seen
    assert [seen[key].value for key in group] == [b"rival", b"rival, later", *[b"ours"] * 48]


def test_a_look_of_another_session_decides_nothing(backend, lent, monkeypatch):
    stamps = created(backend)
    writes = [Write(KEYS[0], stamps[KEYS[0]] + 5, b"stale"), *(Write(key, stamps[key], b"put") for key in KEYS[1:20])]
    memory = backend.read((), timeout=PATIENCE).memory
    sessions = itertools.count()
    monkeypatch.setattr(type(lent), "client_id", property(lambda client: (next(sessions), b"")))
    lent.sent.clear()

    answers = backend.swap(writes, memory, timeout=PATIENCE)

    assert [type(answer) for answer in answers] == [Conflict, *[Swapped] * 19]
    assert lent.sent.count(WRITE_ALL) == 1  # all others went singly


def test_a_batch_for_a_memory_that_is_gone_is_told_so(zookeeper, backend, lent, namespace):
    created(backend)
    memory = backend.read((), timeout=PATIENCE).memory
    lent.delete(Layout("/leaderlock", namespace).pointer, recursive=True)

    for writes in ([Write(key, ABSENT, b"x") for key in KEYS], [Write(key, 1, b"x") for key in KEYS]):
        with pytest.raises(MemoryGone):
            backend.swap(writes, memory, timeout=PATIENCE)


def test_directories_that_were_removed_are_made_again(backend, lent, namespace):
    created(backend)
    layout, memory = Layout("/leaderlock", namespace), backend.read((), timeout=PATIENCE).memory
    for directory in {layout.directory(memory, key) for key in KEYS}:
        lent.delete(directory, recursive=True)

    answers = swap(backend, [Write(key, ABSENT, b"again") for key in KEYS])

    assert all(isinstance(answer, Swapped) for answer in answers)


def test_clients_that_make_the_same_directories_at_once_all_succeed(zookeeper, namespace):
    crowd = 4
    with ExitStack() as stack, ThreadPoolExecutor(crowd) as threads:
        backends = [
            stack.enter_context(closing(open_backend(zookeeper.url, namespace=namespace))) for _ in range(crowd)
        ]
        for backend in backends:
            backend.read((), timeout=PATIENCE)
        together = threading.Barrier(crowd)

        def make(number):
            together.wait(PATIENCE)
            return created(backends[number], [f"name/{number}-{key}" for key in range(100)])

        stamps = [*threads.map(make, range(crowd))]

    assert all(len(made) == 100 for made in stamps)


def test_a_batch_of_which_a_write_was_applied_is_in_doubt_where_a_directory_is_refused(backend, lent, namespace):
    (stamp,) = created(backend, KEYS[:1]).values()
    memory = backend.read((), timeout=PATIENCE).memory
    lent.set_acls(Layout("/leaderlock", namespace).life(memory), [make_acl("world", "anyone", read=True, admin=True)])

    with closing(from_client(lent, namespace=namespace)) as fresh, pytest.raises(OutcomeUnknown, match="NoAuth"):
        fresh.swap([Write(KEYS[0], stamp, b"second"), Write("settled", ABSENT, b"x")], memory, timeout=PATIENCE)

    assert backend.read(KEYS[:1], timeout=PATIENCE).seen[KEYS[0]].value == b"second"


def test_a_hundred_writes_of_long_names_do_not_make_the_server_hang_up(zookeeper):
    long = "\N{UNICORN FACE}" * 195
    writes = [Write(f"name/{long}{number:05}", ABSENT, b"x" * 6_900) for number in range(100)]

    with closing(open_backend(zookeeper.url, namespace="\N{UNICORN FACE}" * 200)) as backend:
        answers = swap(backend, writes)

    assert all(isinstance(answer, Swapped) for answer in answers)


def test_writes_over_a_quota_that_is_enforced_are_refused_with_words(tmp_path, namespace):
    server = Server(tmp_path / "data", free_ports(1)[0], peers=("enforceQuota=true",))
    limits = "/zookeeper/quota/leaderlock"
    try:
        server.start()
        with started(KazooClient(server.hosts)) as shell, closing(open_backend(server.url, namespace=namespace)) as one:
            memory = one.read((), timeout=PATIENCE).memory
            shell.create(f"{limits}/zookeeper_limits", b"count=-1,bytes=-1;byteHardLimit=10", makepath=True)
            shell.create(f"{limits}/zookeeper_stats", b"count=4,bytes=100")

            for writes in ([Write(key, ABSENT, b"x" * 100) for key in KEYS[:count]] for count in (1, 2, 1)):
                with pytest.raises(BackendRefused, match="quota on these nodes is reached"):
                    one.swap(writes, memory, timeout=PATIENCE)
            assert one.read(KEYS[:1], timeout=PATIENCE).seen[KEYS[0]].value is None
    finally:
        server.kill()


# -- servers before 3.6


@pytest.fixture
def old(zookeeper):
    with closing(Before36(zookeeper.port)) as old:
        yield old


def test_a_server_before_3_6_is_asked_once_for_what_it_does_not_know(old, namespace):
    with closing(open_backend(old.url, namespace=namespace)) as backend:
        first = backend.read([*KEYS, "settled"], timeout=PATIENCE)
        created(backend)
        stale = swap(backend, [Write(key, ABSENT, b"x") for key in KEYS])
        second = backend.read(KEYS, timeout=PATIENCE)
        found = dict(backend.scan("name/", timeout=PATIENCE))

    assert set(first.seen.values()) == {Seen(None, ABSENT)}
    assert all(isinstance(answer, Conflict) for answer in stale)
    assert found == second.seen
    assert old.refused == 1


def test_leading_on_a_server_before_3_6(old, namespace):
    with leaderlock.connect(old.url, namespace=namespace) as client:
        leases = client.campaign_all([f"job-{number}" for number in range(50)])

        assert all(lease.is_held for lease in leases.values())
        assert client.election("job-0").leader().token == leases["job-0"].token
