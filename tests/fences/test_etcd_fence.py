"""The fence for etcd, on a real server, through a client that has kept etcd3's words.

The package etcd3 itself has its turn in tests/stores/test_etcd3_client.py, in an environment that is old enough.
"""

from __future__ import annotations

from contextlib import closing

import grpc
import pyetcd
import pytest

from leaderlock.errors import StaleToken
from leaderlock.fences import MAX_TOKEN, WatermarkLost, check_refuses_stale
from leaderlock.fences.etcd import EtcdFence
from tests.fences.accounts import EtcdAccount, check, compete_as_processes, compete_as_threads
from tests.servers.etcd import EtcdServer
from tests.servers.loopback import until

KEY = "/orders/fence"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(server):
    server.delete(b"/", b"0")
    client = pyetcd.client(host="127.0.0.1", port=server.port)
    yield client
    client.close()


@pytest.fixture
def fence(client):
    return EtcdFence(client, KEY)


@pytest.fixture
def put(client):
    return client.transactions.put


def value(client, key):
    return client.get(key)[0]


def reached(server):
    """A new client, as soon as one gets an answer; one that has failed is slow to try again."""

    def connect():
        client = pyetcd.client(host="127.0.0.1", port=server.port)
        try:
            client.get(KEY)
        except pyetcd.exceptions.ConnectionFailedError:
            client.close()
            return None
        return client

    return until(connect, "a client finds the server again")


# -- what is admitted


def test_operations_are_done_under_an_admitted_token_and_answer_in_their_order(fence, client, put):
    fence.stamp(7)

    done, read, deleted = fence.transaction(
        [put("/orders/state", "paid"), client.transactions.get("/orders/state"), client.transactions.delete("/none")],
        token=7,
    )

    assert done.WhichOneof("response") == "response_put"
    assert [found for found, _ in read] == [b"paid"]
    assert deleted.response_delete_range.deleted == 0
    assert value(client, "/orders/state") == b"paid"


@pytest.mark.parametrize(("old", "new"), [(9, 10), (99, 10_000), (MAX_TOKEN - 1, MAX_TOKEN)])
def test_a_stale_writer_is_refused_and_changes_nothing(fence, client, put, old, new):
    fence.stamp(new)

    with pytest.raises(StaleToken, match=f"refused token {old}") as caught:
        fence.transaction([put("/orders/state", "late")], token=old)

    assert (caught.value.token, caught.value.highest, fence.highest()) == (old, new, new)
    assert value(client, "/orders/state") is None


def test_a_write_with_a_higher_token_raises_the_watermark(fence, put):
    fence.stamp(1)

    fence.transaction([put("/orders/state", "a")], token=3)

    with pytest.raises(StaleToken):
        fence.transaction([put("/orders/state", "b")], token=2)


def test_a_stale_stamp_is_refused(fence):
    fence.stamp(2)

    with pytest.raises(StaleToken):
        fence.stamp(1)

    assert fence.highest() == 2


def test_the_ready_test_passes_on_this_fence(fence, put):
    fence.stamp(1)

    check_refuses_stale(lambda token: fence.transaction([put("/orders/state", str(token))], token=token))
    check_refuses_stale(fence.stamp, token=100)


@pytest.mark.parametrize(("token", "error"), [("7", TypeError), (7.0, TypeError), (True, TypeError), (0, ValueError)])
def test_what_is_no_token_is_refused_at_once(fence, put, token, error):
    transact = lambda token: fence.transaction([put("/a", "1")], token=token)  # noqa: E731
    for use in (fence.stamp, fence.adopt, fence.compare, fence.put, transact):
        with pytest.raises(error):
            use(token)

    assert fence.highest() == 0


# -- the watermark


def test_nothing_is_written_before_somebody_has_stamped(fence, client, put):
    with pytest.raises(WatermarkLost, match=r"stamp\(lease\.token\)"):
        fence.transaction([put("/orders/state", "a")], token=5)

    assert fence.highest() == 0
    assert value(client, "/orders/state") is None


@pytest.mark.parametrize("damage", ["", "7", "9" * 16, "0" * 15, "0" * 16, "x" * 16, "1" * 17, " " * 16])
def test_a_damaged_watermark_never_counts_as_zero(fence, client, put, damage):
    client.put(KEY, damage)

    for use in (fence.highest, lambda: fence.stamp(9), lambda: fence.transaction([put("/a", "1")], token=9)):
        with pytest.raises(WatermarkLost, match=r"adopt\(lease\.token\)"):
            use()
    assert (value(client, KEY), value(client, "/a")) == (damage.encode(), None)
    fence.adopt(9)

    assert fence.highest() == 9


def test_adopting_never_lowers_a_watermark(fence):
    fence.adopt(12)

    with pytest.raises(StaleToken):
        fence.adopt(11)

    assert fence.highest() == 12


def test_adopting_does_not_replace_what_was_mended_meanwhile(fence, client, monkeypatch):
    client.put(KEY, "damage")
    look = fence._value

    def look_and_be_late():
        seen = look()
        client.put(KEY, f"{12:016}")
        return seen

    monkeypatch.setattr(fence, "_value", look_and_be_late)
    with pytest.raises(StaleToken):
        fence.adopt(11)

    assert value(client, KEY) == b"0000000000000012"


# -- transactions of one's own


def test_the_pieces_fence_a_transaction_that_has_comparisons_of_its_own(fence, client, put):
    fence.stamp(5)

    def create(token, name):
        return client.transaction(
            compare=[*fence.compare(token), client.transactions.version(name) == 0],
            success=[fence.put(token), put(name, "new")],
            failure=[],
        )[0]

    assert create(6, "/orders/1")
    assert not create(6, "/orders/1")
    fence.stamp(6)  # the token was not the reason
    assert not create(5, "/orders/2")
    with pytest.raises(StaleToken):
        fence.stamp(5)


def test_an_operation_that_touches_the_watermark_is_refused_by_etcd(fence, client, put):
    fence.stamp(5)

    for operation in (
        put(KEY, "1"),
        client.transactions.delete(KEY),
        client.transactions.delete("/orders/", "/orders0"),
    ):
        with pytest.raises(grpc.RpcError, match="duplicate key"):
            fence.transaction([operation], token=6)

    assert fence.highest() == 5


def test_there_is_room_for_127_operations(fence, put):
    fence.stamp(5)

    assert len(fence.transaction([put(f"/{number}", "") for number in range(127)], token=5)) == 127
    with pytest.raises(grpc.RpcError, match="too many operations"):
        fence.transaction([put(f"/{number}", "") for number in range(128)], token=6)
    assert fence.highest() == 5


def test_an_empty_transaction_is_refused(fence):
    with pytest.raises(ValueError, match="stamp"):
        fence.transaction([], token=5)


@pytest.mark.parametrize("key", ["", b"", None, 7])
def test_what_is_no_key_is_refused(client, key):
    with pytest.raises(TypeError, match="the watermark's key"):
        EtcdFence(client, key)


def test_what_is_no_client_of_this_kind_is_refused():
    class OfAsyncio:
        transactions = None

        async def transaction(self, compare, success=None, failure=None): ...

    for client in (OfAsyncio(), object()):
        with pytest.raises(TypeError, match="etcd3"):
            EtcdFence(client, KEY)


# -- restarts, and rivals


def test_a_server_that_was_killed_remembers_and_its_absence_is_no_refusal(fence, client, put, server):
    fence.stamp(6)
    with server.outage(), pytest.raises(pyetcd.exceptions.ConnectionFailedError):
        fence.transaction([put("/a", "1")], token=6)

    with reached(server) as again:
        fence = EtcdFence(again, KEY)
        with pytest.raises(StaleToken):
            fence.stamp(5)
        fence.transaction([put("/a", "2")], token=6)


def test_rivals_lose_no_update_and_nobody_writes_after_a_newer_one(server, client):
    compete_as_threads(lambda: EtcdAccount(f"127.0.0.1:{server.port}"), terms=25)

    with closing(EtcdAccount(f"127.0.0.1:{server.port}")) as account:
        check(account)


def test_rivals_that_are_stopped_and_killed_at_any_moment_lose_no_update(server, client):
    with closing(EtcdAccount(f"127.0.0.1:{server.port}")) as account:
        compete_as_processes("etcd", f"127.0.0.1:{server.port}", account, pauses=24, seed=1)

        check(account)
