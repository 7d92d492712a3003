"""The fence for ZooKeeper, on a real server: what it admits, and what it makes of readings that are old."""

from __future__ import annotations

import importlib
import itertools
import sys
from contextlib import closing

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_acl

from leaderlock.errors import StaleToken
from leaderlock.fences import MAX_TOKEN, FenceBusy, WatermarkLost, check_refuses_stale
from leaderlock.fences.zookeeper import ZooKeeperFence
from tests.fences.accounts import PATIENCE, ZooKeeperAccount, check, compete_as_processes, compete_as_threads

FOLDERS = (f"/app{number}" for number in itertools.count())


@pytest.fixture
def connect(zookeeper):
    clients = []

    def connect(folder="", **options):
        clients.append(KazooClient(zookeeper.hosts + folder, timeout=PATIENCE, **options))
        clients[-1].start(PATIENCE)
        return clients[-1]

    yield connect
    for client in clients:
        client.stop()
        client.close()


@pytest.fixture
def root(connect):
    return connect()


@pytest.fixture
def client(connect, root):
    """One that sees a fresh folder only, so that paths are translated, too."""
    folder = next(FOLDERS)
    root.create(folder)
    client = connect(folder)
    client.create("/state", b"new")
    return client


@pytest.fixture
def fence(client):
    return ZooKeeperFence(client, "/orders/fence", timeout=PATIENCE)


@pytest.fixture
def write(fence, client):
    def write(token, value=b"written", **options):
        transaction = client.transaction()
        transaction.set_data("/state", value, **options)
        return fence.commit(transaction, token=token)

    return write


@pytest.fixture
def state(client):
    return lambda: client.get("/state")[0]


# -- what is admitted


def test_operations_are_done_under_an_admitted_token_and_answer_in_their_order(fence, client, state):
    fence.stamp(7)
    transaction = client.transaction()
    transaction.set_data("/state", b"paid")
    transaction.create("/state/n-", sequence=True)
    transaction.check("/state/n-0000000000", 0)
    transaction.delete("/state/n-0000000000")

    changed, *others = fence.commit(transaction, token=7)

    assert (changed.version, others) == (1, ["/state/n-0000000000", True, True])
    assert state() == b"paid"


@pytest.mark.parametrize(("old", "new"), [(9, 10), (99, 10_000), (MAX_TOKEN - 1, MAX_TOKEN)])
def test_a_stale_writer_is_refused_and_changes_nothing(fence, write, state, old, new):
    fence.stamp(new)

    with pytest.raises(StaleToken, match=f"refused token {old}") as caught:
        write(old)

    assert (caught.value.token, caught.value.highest, fence.highest()) == (old, new, new)
    assert state() == b"new"


def test_a_write_with_a_higher_token_raises_the_watermark(fence, write):
    fence.stamp(1)

    write(3)

    with pytest.raises(StaleToken):
        write(2)


def test_a_stale_stamp_is_refused(fence):
    fence.stamp(2)
    fence.stamp(2)

    with pytest.raises(StaleToken):
        fence.stamp(1)

    assert fence.highest() == 2


def test_the_ready_test_passes_on_this_fence(fence, write):
    fence.stamp(1)

    check_refuses_stale(write)
    check_refuses_stale(fence.stamp, token=100)


@pytest.mark.parametrize(("token", "error"), [("7", TypeError), (7.0, TypeError), (True, TypeError), (0, ValueError)])
def test_what_is_no_token_is_refused_at_once(fence, write, token, error):
    for use in (fence.stamp, fence.adopt, write):
        with pytest.raises(error):
            use(token)

    assert fence.highest() == 0


# -- the watermark


def test_nothing_is_written_before_somebody_has_stamped(fence, write, state):
    with pytest.raises(WatermarkLost, match=r"stamp\(lease\.token\)"):
        write(5)

    assert (fence.highest(), state()) == (0, b"new")


@pytest.mark.parametrize("damage", [None, b"", b"0", b"007", b"7x", b"-7", b"7\n", b"9" * 16, b"9" * 17])
def test_a_damaged_watermark_never_counts_as_zero(fence, write, client, state, damage):
    client.create("/orders/fence", makepath=True)
    client.set("/orders/fence", damage)

    for use in (fence.highest, lambda: fence.stamp(9), lambda: write(9)):
        with pytest.raises(WatermarkLost, match=r"adopt\(lease\.token\)"):
            use()
    assert (client.get("/orders/fence")[0], state()) == (damage, b"new")
    fence.adopt(9)

    assert fence.highest() == 9


def test_adopting_never_lowers_a_watermark(fence):
    fence.adopt(12)

    with pytest.raises(StaleToken):
        fence.adopt(11)

    assert fence.highest() == 12


def test_the_watermark_is_made_under_the_acl_that_is_given_else_the_clients(connect, root, client):
    ours = make_acl("world", "anyone", read=True, write=True, admin=True)
    theirs = make_acl("world", "anyone", read=True, admin=True)

    ZooKeeperFence(client, "/given", acl=[ours]).stamp(1)
    ZooKeeperFence(connect(default_acl=[theirs]), "/default").stamp(1)

    assert client.get_acls("/given")[0] == [ours]
    assert root.get_acls("/default")[0] == [theirs]


# -- others, between the reading and the transaction


@pytest.fixture
def after_reading(client, monkeypatch):
    """Does something after the fence's next reading, before it goes on."""

    def meddle(*steps):
        get, ahead = client.get_async, iter(steps)

        def get_and_meddle(path, watch=None):
            answer = get(path)
            answer.wait(PATIENCE)
            next(ahead, lambda: None)()
            return answer

        monkeypatch.setattr(client, "get_async", get_and_meddle)

    return meddle


@pytest.mark.parametrize("token", [5, 6])
def test_a_leader_who_is_overtaken_between_reading_and_writing_is_refused(fence, write, state, after_reading, token):
    fence.stamp(5)
    after_reading(lambda: fence.stamp(7))

    with pytest.raises(StaleToken):
        write(token)

    assert state() == b"new"


@pytest.mark.parametrize("token", [8, 9])
def test_a_leader_before_whom_others_raise_the_watermark_writes_once(fence, client, after_reading, token):
    fence.stamp(5)
    after_reading(lambda: client.set("/orders/fence", b"6"), lambda: client.set("/orders/fence", b"8"))
    transaction = client.transaction()
    transaction.create("/state/n-", sequence=True)

    assert fence.commit(transaction, token=token) == ["/state/n-0000000000"]

    assert fence.highest() == token
    assert client.get_children("/state") == ["n-0000000000"]


def test_who_lays_the_watermark_second_finds_the_firsts(fence, client, after_reading):
    after_reading(lambda: client.create("/orders/fence", b"9", makepath=True))

    with pytest.raises(StaleToken):
        fence.stamp(8)

    assert fence.highest() == 9


def test_a_watermark_that_never_stands_still_makes_the_fence_busy(fence, client, after_reading):
    fence.stamp(1)
    after_reading(*[lambda: client.set("/orders/fence", b"1")] * 100)
    transaction = client.transaction()
    transaction.delete("/state")

    with pytest.raises(FenceBusy, match=r"10 times in a row .*; nothing was done"):
        fence.commit(transaction, token=5)

    assert client.exists("/state")


# -- readings that are old, as a follower's may be


@pytest.fixture
def lag(client, monkeypatch):
    """Readings come from before, until the client asks to be synchronized."""

    def lag(answer):
        get, sync = client.get_async, client.sync_async

        def sync_and_see(path):
            monkeypatch.setattr(client, "get_async", get)
            return sync(path)

        monkeypatch.setattr(client, "get_async", lambda path, watch=None: answer)
        monkeypatch.setattr(client, "sync_async", sync_and_see)

    return lag


def test_an_old_reading_admits_nobody(fence, client, write, state, lag):
    fence.stamp(5)
    old = client.get_async("/orders/fence")
    old.wait(PATIENCE)
    fence.stamp(9)

    for token in (5, 7):
        lag(old)
        with pytest.raises(StaleToken):
            write(token)
    lag(old)
    with pytest.raises(StaleToken):
        fence.stamp(5)

    assert state() == b"new"


@pytest.mark.parametrize("before", [None, b"damaged"])
def test_an_old_reading_in_which_there_was_no_watermark_refuses_nobody(fence, client, write, state, lag, before):
    if before is not None:
        client.create("/orders/fence", before, makepath=True)
    old = client.get_async("/orders/fence")
    old.wait(PATIENCE)
    fence.adopt(5)
    lag(old)

    write(5)

    assert state() == b"written"


# -- operations that fail, and transactions that are none


def test_an_operation_that_fails_undoes_all_and_says_which_it_was(fence, client, state):
    fence.stamp(5)
    transaction = client.transaction()
    transaction.set_data("/state", b"half")
    transaction.delete("/none")
    transaction.delete("/state")

    with pytest.raises(NoNodeError) as caught:
        fence.commit(transaction, token=6)

    assert caught.value.__notes__ == ["raised by operation 2 of 3; nothing was done"]
    assert (state(), fence.highest()) == (b"new", 5)


def test_a_version_that_the_user_expects_is_his_own_affair(fence, write, state):
    fence.stamp(5)

    with pytest.raises(BadVersionError):
        write(6, version=99)

    assert (state(), fence.highest()) == (b"new", 5)


@pytest.mark.parametrize("change", ["set_data", "delete"])
def test_a_transaction_that_changes_the_watermark_itself_is_refused(fence, client, change):
    fence.stamp(5)
    transaction = client.transaction()
    getattr(transaction, change)(fence.path, *([b"1"] if change == "set_data" else []))

    with pytest.raises(ValueError, match="the watermark itself"):
        fence.commit(transaction, token=7)

    assert fence.highest() == 5


def test_a_transaction_that_was_refused_cannot_be_committed_without_the_fence(fence, client, state):
    fence.stamp(5)
    transaction = client.transaction()
    transaction.set_data("/state", b"late")

    with pytest.raises(StaleToken):
        fence.commit(transaction, token=4)
    with pytest.raises(ValueError, match="committed"):
        transaction.commit()
    with pytest.raises(ValueError, match="committed before"):
        fence.commit(transaction, token=6)

    assert state() == b"new"


def test_what_is_no_transaction_for_this_fence_is_refused(fence, client, root):
    fence.stamp(5)
    foreign = root.transaction()
    foreign.delete("/state")

    for transaction, why in ((foreign, "another client's"), (client.transaction(), "empty; stamp")):
        with pytest.raises(ValueError, match=why):
            fence.commit(transaction, token=6)

    assert fence.highest() == 5


@pytest.mark.parametrize(
    ("path", "error"), [("", ValueError), ("a", ValueError), ("/", ValueError), (b"/a", TypeError)]
)
def test_what_is_no_path_is_refused(client, path, error):
    with pytest.raises(error, match="the watermark's path"):
        ZooKeeperFence(client, path)


@pytest.mark.parametrize(("timeout", "error"), [("1", TypeError), (True, TypeError), (0, ValueError)])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(client, timeout, error):
    with pytest.raises(error, match="timeout"):
        ZooKeeperFence(client, "/fence", timeout=timeout)


def test_without_kazoo_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "kazoo.exceptions", None)
    monkeypatch.delitem(sys.modules, "leaderlock.fences.zookeeper")

    with pytest.raises(ImportError, match=r"pip install 'leaderlock\[zookeeper\]'"):
        importlib.import_module("leaderlock.fences.zookeeper")


# -- servers that do not answer, and rivals


def test_a_server_that_does_not_answer_is_no_refusal(zookeeper, client):
    fence = ZooKeeperFence(client, "/orders/fence", timeout=0.2)
    fence.stamp(5)

    with zookeeper.frozen(), pytest.raises(KazooTimeoutError):
        fence.stamp(4)


def test_a_server_that_was_killed_remembers(zookeeper, connect, fence, client):
    fence.stamp(6)
    with zookeeper.outage():
        client.stop()  # it may be slow to find a server that has only just come back
    fence = ZooKeeperFence(connect(client.chroot), fence.path)

    with pytest.raises(StaleToken):
        fence.stamp(5)
    fence.stamp(6)


def test_rivals_lose_no_update_and_nobody_writes_after_a_newer_one(zookeeper):
    compete_as_threads(lambda: ZooKeeperAccount(zookeeper.hosts), terms=25)

    with closing(ZooKeeperAccount(zookeeper.hosts)) as account:
        check(account)


def test_rivals_that_are_stopped_and_killed_at_any_moment_lose_no_update(zookeeper):
    with closing(ZooKeeperAccount(zookeeper.hosts)) as account:
        compete_as_processes("zookeeper", zookeeper.hosts, account, pauses=24, seed=1)

        check(account)
