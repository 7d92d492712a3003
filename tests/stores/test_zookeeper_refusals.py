"""What a ZooKeeper client is told when it knocks at the wrong door."""

import gc
import socket
import threading
import time
from contextlib import closing

import pytest
from kazoo.client import KazooClient

from leaderlock import BackendRefused, BackendUnavailable, OutcomeUnknown
from leaderlock.backend import ABSENT, Swapped, Write
from leaderlock_zookeeper import from_client, open_backend
from tests.servers.zookeeper import free_ports

LIFE = "0" * 32


def never_sent(backend, timeout=1.0):
    """Both kinds of call say in time that nothing was sent."""
    began = time.monotonic()
    with closing(backend):
        with pytest.raises(BackendUnavailable) as reading:
            backend.read(["settled"], timeout=timeout)
        with pytest.raises(BackendUnavailable) as writing:
            backend.swap([Write("settled", ABSENT, b"x")], LIFE, timeout=timeout)
    assert time.monotonic() - began < 4 * timeout + 2
    return not isinstance(reading.value, OutcomeUnknown) and not isinstance(writing.value, OutcomeUnknown)


def test_a_port_where_nobody_listens():
    assert never_sent(open_backend(f"zk://127.0.0.1:{free_ports(1)[0]}", namespace="x"))


def test_a_host_that_does_not_exist():
    assert never_sent(open_backend("zk://leaderlock.invalid", namespace="x"))


def test_a_server_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert never_sent(open_backend(f"zk://127.0.0.1:{silent.getsockname()[1]}", namespace="x"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # kazoo's thread dies of it
@pytest.mark.parametrize(
    "greeting", [b"-ERR unknown command\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\0\0\1x", b""]
)
def test_a_server_that_speaks_another_protocol(greeting):
    def serve(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(100)
                connection.sendall(greeting)

    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=serve, args=(other,), daemon=True)
        thread.start()
        was_never_sent = never_sent(open_backend(f"zk://127.0.0.1:{other.getsockname()[1]}", namespace="x"))
        other.shutdown(socket.SHUT_RDWR)
    thread.join(5)

    assert was_never_sent


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tls_towards_a_server_without_it_is_never_sent(zookeeper, caplog):
    caplog.set_level("CRITICAL", "kazoo")  # what it logs keeps the sockets of failed handshakes alive
    was_never_sent = never_sent(open_backend(f"zk://{zookeeper.address}?tls=true", namespace="x"))
    gc.collect()  # kazoo leaves those sockets to the collector; not to that of the next test, please

    assert was_never_sent


def test_a_client_handed_in_that_was_never_started(zookeeper):
    assert never_sent(from_client(KazooClient(zookeeper.address), namespace="x"))


def test_a_user_keeps_others_out(zookeeper):
    with closing(open_backend(f"zk://ann:secret@{zookeeper.address}/anns", namespace="x")) as anns:
        memory = anns.read([], timeout=10).memory
        (mine,) = anns.swap([Write("settled", ABSENT, b"mine")], memory, timeout=10)
        stamp = mine.stamp

    for login in ("", "ann:wrong@", "bob:secret@"):
        with closing(open_backend(f"zk://{login}{zookeeper.address}/anns", namespace="x")) as other:
            with pytest.raises(BackendRefused, match="rights"):
                other.read(["settled"], timeout=10)
            with pytest.raises(BackendRefused, match="rights"):
                other.swap([Write("settled", stamp, b"theirs")], memory, timeout=10)
            with pytest.raises(BackendRefused, match="rights"):
                other.swap([Write("settled", stamp, b"x"), Write("name/a", ABSENT, b"x")], memory, timeout=10)
            with pytest.raises(BackendRefused, match="rights"):
                list(other.scan("", timeout=10))

    with closing(open_backend(f"zk://ann:secret@{zookeeper.address}/anns", namespace="x")) as again:
        assert again.swap([Write("settled", stamp, b"again")], memory, timeout=10) == [Swapped(stamp + 1)]


def test_a_namespace_whose_node_is_somebody_elses_is_left_alone(zookeeper):
    shell = KazooClient(zookeeper.address)
    shell.start(timeout=20)
    shell.create("/others/x", b"settings", makepath=True)
    try:
        backend = open_backend(f"zk://{zookeeper.address}/others", namespace="x")
        with closing(backend), pytest.raises(BackendRefused, match="did not write"):
            backend.read([], timeout=10)

        assert shell.get("/others/x")[0] == b"settings"
    finally:
        shell.stop()
        shell.close()


def test_a_half_wiped_namespace_gets_another_life_for_everybody(zookeeper):
    shell = KazooClient(zookeeper.address)
    shell.start(timeout=20)
    try:
        with (
            closing(open_backend(f"zk://{zookeeper.address}", namespace="half")) as one,
            closing(open_backend(f"zk://{zookeeper.address}", namespace="half")) as other,
        ):
            before = one.read([], timeout=10)
            shell.delete(f"/leaderlock/half/{before.memory}", recursive=True)
            memories = {backend.read([], timeout=10).memory for backend in (one, other, one)}

            assert len(memories) == 1
            assert before.memory not in memories
            assert one.read([], timeout=10).floor > before.floor
    finally:
        shell.stop()
        shell.close()


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_where_threads_run_out_no_client_is_begun_and_nothing_of_it_is_left(nth, monkeypatch):
    """kazoo forgets the first of its three where there is no second."""
    before = set(threading.enumerate())
    started, starts = threading.Thread.start, []

    def start(thread):
        starts.append(thread)
        if len(starts) == nth:
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with closing(open_backend(f"zk://127.0.0.1:{free_ports(1)[0]}", namespace="x")) as backend:
        with pytest.raises(BackendUnavailable, match=r"no client can be started now .can't start new thread"):
            backend.read(["settled"], timeout=1.0)

        assert set(threading.enumerate()) == before
        with pytest.raises(BackendUnavailable, match="no ZooKeeper server could be reached"):
            backend.read(["settled"], timeout=0.1)
