"""Servers that are away or of another kind, tokens that were forgotten, clients handed in: what still works."""

import multiprocessing
import socket
import threading
import time
from types import SimpleNamespace

import grpc
import pytest

import leaderlock
from leaderlock import Swapped, Write
from leaderlock.errors import BackendUnavailable, OutcomeUnknown
from leaderlock.testing import TcpProxy
from leaderlock_etcd import _caller, _grpc, _lines, from_client, open_backend
from leaderlock_etcd._messages import RANGE, TXN
from tests.servers.etcd import EtcdServer, free_ports
from tests.servers.loopback import host_away

TIMEOUT = 10.0
USER = {"name": "app", "password": "pass:word"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = EtcdServer(tmp_path_factory.mktemp("etcd"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def guarded(tmp_path):
    """A server that wants a password, with a user who may use one prefix only."""
    server = EtcdServer(tmp_path)
    server.start()
    prefix = {"key": "L3Rlc3RzLw==", "range_end": "L3Rlc3RzMA=="}  # /tests/ up to /tests0
    server.ask("auth/user/add", {"name": "root", "password": "root"})
    server.ask("auth/user/grant", {"user": "root", "role": "root"})
    server.ask("auth/user/add", USER)
    server.ask("auth/role/add", {"name": "leaders"})
    server.ask("auth/role/grant", {"name": "leaders", "perm": {"permType": "READWRITE", **prefix}})
    server.ask("auth/user/grant", {"user": "app", "role": "leaders"})
    server.ask("auth/enable", {})
    yield server
    server.kill()


@pytest.fixture
def opened():
    backends = []

    def open_one(url, **options):
        backends.append(open_backend(url, namespace="n", **options))
        return backends[-1]

    yield open_one
    for backend in backends:
        backend.close()


def eventually(condition):
    until = time.monotonic() + TIMEOUT
    while not (answer := condition()) and time.monotonic() < until:
        time.sleep(0.02)
    return answer


def test_nobody_at_that_port_is_never_sent_and_says_so(opened):
    backend = opened(f"etcd://127.0.0.1:{free_ports(1)[0]}")

    with pytest.raises(BackendUnavailable, match="is etcd there") as raised:
        backend.swap([Write("name/a", 0, b"x")], "x", timeout=TIMEOUT)

    assert not isinstance(raised.value, OutcomeUnknown)


def test_a_host_that_does_not_exist_is_never_sent(opened):
    backend = opened("etcd://no-such-host.invalid")

    with pytest.raises(BackendUnavailable) as raised:
        backend.swap([Write("name/a", 0, b"x")], "x", timeout=2.0)

    assert not isinstance(raised.value, OutcomeUnknown)


def test_a_server_of_another_protocol_fails_in_time(opened):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            listener.settimeout(TIMEOUT)
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"-ERR unknown command\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        began = time.monotonic()
        with pytest.raises(BackendUnavailable):
            opened(f"etcd://127.0.0.1:{listener.getsockname()[1]}").read([], timeout=2.0)
        thread.join()

    assert time.monotonic() - began < 4.0


def test_a_first_call_is_answered_though_the_first_members_named_are_dead(opened, server):
    dead = ",".join(f"127.0.0.1:{port}" for port in free_ports(2))
    url = f"etcd://{dead},127.0.0.1:{server.port}"

    memory = opened(url).read([], timeout=TIMEOUT).memory
    (answer,) = opened(url).swap([Write("name/dead", 0, b"x")], memory, timeout=TIMEOUT)

    assert isinstance(answer, Swapped)


def test_a_server_that_is_far_away_can_be_connected_to(opened, server):
    with TcpProxy("127.0.0.1", server.port) as proxy, proxy.slow(0.7):
        assert opened(f"etcd://127.0.0.1:{proxy.port}").read([], timeout=TIMEOUT).memory


def test_a_first_call_is_answered_though_the_first_members_named_are_away_without_a_word(opened, server):
    ttl = 15.0
    with host_away() as one, host_away() as other:
        hosts = f"127.0.0.1:{one},127.0.0.1:{other},127.0.0.1:{server.port}"

        assert opened(f"etcd://{hosts}").read([], timeout=ttl / 4).memory


def test_where_all_members_are_dead_each_is_asked_once(opened, monkeypatch):
    dialled = []
    monkeypatch.setattr(_lines, "dial", lambda target, *how: dialled.append(target) or _grpc.dial(target, *how))
    hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]

    with pytest.raises(BackendUnavailable, match="is etcd there") as raised:
        opened(f"etcd://{','.join(hosts)}").swap([Write("name/a", 0, b"x")], "x", timeout=TIMEOUT)

    assert not isinstance(raised.value, OutcomeUnknown)
    assert dialled == hosts


def test_a_write_whose_answer_was_lost_is_not_sent_to_the_next_member(opened, server, monkeypatch):
    url = f"etcd://127.0.0.1:{server.port},localhost:{server.port}"
    memory, sent = opened(url).read([], timeout=TIMEOUT).memory, []

    def lose(channel, method, message, **options):
        answer = _grpc.request(channel, method, message, **options)
        sent.append(method)
        if method == TXN:
            raise _grpc.CallFailed("UNAVAILABLE", "Socket closed")
        return answer

    backend = opened(url)
    monkeypatch.setattr(_caller, "request", lose)

    with pytest.raises(OutcomeUnknown):
        backend.swap([Write("name/lost", 0, b"x")], memory, timeout=TIMEOUT)

    assert sent == [RANGE, TXN]


def test_a_password_for_a_server_that_wants_none_does_no_harm(opened, server):
    assert opened(f"etcd://app:any@127.0.0.1:{server.port}").read([], timeout=TIMEOUT).memory


def test_with_a_password_everything_works_and_an_old_token_is_exchanged(opened, guarded):
    backend = opened(f"etcd://app:pass%3Aword@127.0.0.1:{guarded.port}/tests")
    heard = threading.Event()
    memory = backend.read([], timeout=TIMEOUT).memory
    backend.watch(["name/a"], lambda _: heard.set())
    (answer,) = backend.swap([Write("name/a", 0, b"x")], memory, timeout=TIMEOUT)

    # Its tokens are in the server's memory only: after a restart it knows none of them.
    guarded.restart()
    assert eventually(lambda: _reads(backend))
    heard.clear()
    (again,) = backend.swap([Write("name/a", answer.stamp, b"y")], memory, timeout=TIMEOUT)

    assert isinstance(again, Swapped)
    assert heard.wait(TIMEOUT)


def _reads(backend) -> bool:
    try:
        return bool(backend.read([], timeout=TIMEOUT).memory)
    except BackendUnavailable:
        return False


def test_a_client_that_is_handed_in_lends_its_channel_and_keeps_it(server):
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    client = SimpleNamespace(channel=channel, metadata=None)
    backend, heard = from_client(client, namespace="lent"), threading.Event()

    leader = leaderlock.connect(from_client(client, namespace="led"), ttl=2.0, longest=2.0)
    with leader, leader.election("job", timeout=TIMEOUT) as lease:
        assert lease.is_held
    memory = backend.read([], timeout=TIMEOUT).memory
    backend.watch(["name/a"], lambda _: heard.set())
    client.channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    (answer,) = backend.swap([Write("name/a", 0, b"x")], memory, timeout=TIMEOUT)
    assert isinstance(answer, Swapped)
    assert heard.wait(TIMEOUT)
    backend.close()

    # Both still work: they were lent.
    for lent in (channel, client.channel):
        assert lent.unary_unary("/etcdserverpb.KV/Range")(b"\x0a\x01x", timeout=TIMEOUT)
        lent.close()


def test_a_client_that_is_handed_in_and_was_closed_is_never_sent(server):
    channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
    backend = from_client(SimpleNamespace(channel=channel, metadata=()), namespace="lent")
    memory = backend.read([], timeout=TIMEOUT).memory

    channel.close()

    with pytest.raises(BackendUnavailable) as raised:
        backend.swap([Write("name/a", 0, b"x")], memory, timeout=TIMEOUT)
    assert not isinstance(raised.value, OutcomeUnknown)
    backend.close()


def test_a_watch_comes_along_when_the_owner_of_a_client_takes_another_channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as old, grpc.insecure_channel(server.address) as new:
        client, heard = SimpleNamespace(channel=old, metadata=None), threading.Event()
        backend = from_client(client, namespace="moves")
        backend.read([], timeout=TIMEOUT)  # lays the birth mark, of which a watch would tell
        backend.watch(["name/a"], lambda _: heard.set())
        assert heard.wait(TIMEOUT)
        heard.clear()

        client.channel = new
        backend.read([], timeout=TIMEOUT)

        assert heard.wait(TIMEOUT), "it stands on the other channel"
        backend.close()


def test_a_watch_beside_which_nothing_is_asked_leaves_a_server_that_falls_silent(opened, server, monkeypatch):
    # Looks for signs of life ten times as often as it does, and waits for them as long.
    monkeypatch.setattr(_grpc, "_OPTIONS", (*_grpc._OPTIONS, ("grpc.keepalive_time_ms", 1_000)))
    with TcpProxy("127.0.0.1", server.port) as first, TcpProxy("127.0.0.1", server.port) as second:
        backend, heard = opened(f"etcd://127.0.0.1:{first.port},127.0.0.1:{second.port}"), threading.Event()
        backend.read([], timeout=TIMEOUT)  # lays the birth mark, of which a watch would tell
        backend.watch(["name/a"], lambda _: heard.set())
        assert heard.wait(TIMEOUT)
        heard.clear()

        with first.black_hole():
            assert heard.wait(TIMEOUT), "it stands where nothing comes from"


def test_channels_to_one_server_share_no_connection(opened, server):
    """Or a new one would lead back to what had fallen silent."""
    with TcpProxy("127.0.0.1", server.port) as proxy:
        for _ in range(2):
            opened(f"etcd://127.0.0.1:{proxy.port}").read([], timeout=TIMEOUT)

        assert len(proxy._links) == 2


class Resting:
    """As etcd3's client is for minutes after a call that failed."""

    metadata = None

    @property
    def channel(self):
        raise RuntimeError("No available endpoints")


def test_a_client_that_is_handed_in_and_has_no_channel_now_is_unavailable():
    backend = from_client(Resting())

    with pytest.raises(BackendUnavailable, match=r"no channel now .*No available endpoints") as raised:
        backend.swap([Write("name/a", 0, b"x")], "x", timeout=TIMEOUT)

    assert not isinstance(raised.value, OutcomeUnknown)
    backend.close()


def _use_in_child(url: str) -> None:
    backend = open_backend(url, namespace="n")
    backend.read([], timeout=TIMEOUT)
    backend.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_opens_its_own_and_ends_in_time(opened, server):
    url = f"etcd://127.0.0.1:{server.port}"
    backend = opened(url)
    heard = threading.Event()
    backend.watch(["name/a"], lambda _: heard.set())
    assert heard.wait(TIMEOUT)
    child = multiprocessing.get_context("fork").Process(target=_use_in_child, args=(url,))

    child.start()
    child.join(2 * TIMEOUT)

    assert child.exitcode == 0
    assert backend.read([], timeout=TIMEOUT).memory
