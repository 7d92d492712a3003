"""The proxy carries, cuts, swallows, delays and refuses as it says."""

import contextlib
import os
import socket
import struct
import threading
import time
from contextlib import closing

import pytest

from leaderlock.testing import TcpProxy, Towards

PATIENCE = 10.0


class Echo:
    """Answers each byte with its upper case, and remembers what it was sent."""

    def __init__(self):
        self.heard = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(link,)))
            self._threads[-1].start()

    def _serve(self, link):
        with link:
            while data := link.recv(1 << 16):
                self.heard += data
                link.sendall(data.upper())

    def close(self):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(PATIENCE)


@pytest.fixture
def echo():
    with closing(Echo()) as echo:
        yield echo


@pytest.fixture
def proxy(echo):
    with TcpProxy("127.0.0.1", echo.port) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy):
    opened = []

    def connect():
        opened.append(socket.create_connection((proxy.host, proxy.port), PATIENCE))
        return opened[-1]

    yield connect
    for link in opened:
        link.close()


def eventually(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.005)
    return True


def receive(link, count):
    """What comes, up to ``count`` bytes or the connection's end."""
    found = b""
    while len(found) < count and (data := link.recv(count - len(found))):
        found += data
    return found


def is_over(link):
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_it_carries_both_ways_and_counts(proxy, connect):
    links = [connect(), connect()]

    for link in links:
        link.sendall(b"hello")
    answers = [receive(link, 5) for link in links]

    assert answers == [b"HELLO", b"HELLO"]
    assert (proxy.carried(Towards.SERVER), proxy.carried(Towards.CLIENT)) == (10, 10)


def test_it_carries_much(connect):
    data, link = os.urandom(3_000_000), connect()
    sender = threading.Thread(target=link.sendall, args=(data,))
    sender.start()

    found = receive(link, len(data))
    sender.join()

    assert found == data.upper()


def test_the_end_of_one_direction_leaves_the_other(connect):
    link = connect()
    link.sendall(b"hello")
    link.shutdown(socket.SHUT_WR)

    assert receive(link, 100) == b"HELLO"


@pytest.mark.parametrize("count", range(1, 5))
def test_a_request_is_cut_at_the_byte(proxy, echo, connect, count):
    link = connect()
    proxy.cut_after(count, Towards.SERVER)

    link.sendall(b"hello")

    assert receive(link, 100) in (b"", b"HELLO"[:count])
    assert eventually(lambda: echo.heard == b"hello"[:count])


@pytest.mark.parametrize("count", range(6))
def test_an_answer_is_cut_at_the_byte(proxy, echo, connect, count):
    link = connect()
    proxy.cut_after(count, Towards.CLIENT)

    link.sendall(b"hello")

    assert receive(link, 100) == b"HELLO"[:count]
    assert echo.heard == b"hello"


def test_a_cut_is_made_once_and_can_be_taken_back(proxy, connect):
    proxy.drop_reply()
    first = connect()
    first.sendall(b"hello")
    assert is_over(first)

    proxy.cut_after(2, Towards.CLIENT)
    proxy.mend()
    second = connect()
    second.sendall(b"hello")

    assert receive(second, 5) == b"HELLO"


def test_a_cut_now_ends_what_stands_and_nothing_later(proxy, connect):
    old = connect()
    old.sendall(b"x")
    receive(old, 1)

    proxy.cut()
    new = connect()
    new.sendall(b"hello")

    assert is_over(old)
    assert receive(new, 5) == b"HELLO"


@pytest.mark.parametrize(
    ("directions", "is_heard"), [((), False), ((Towards.SERVER,), False), ((Towards.CLIENT,), True)]
)
def test_a_black_hole_swallows_in_silence_and_ends_what_lost_bytes(proxy, echo, connect, directions, is_heard):
    old = connect()
    old.settimeout(0.1)

    with proxy.black_hole(*directions):
        new = connect()
        new.settimeout(0.1)
        for link in (old, new):
            link.sendall(b"x")
            with pytest.raises(TimeoutError):
                link.recv(1)

    for link in (old, new):
        link.settimeout(PATIENCE)
        assert is_over(link)
    assert bool(echo.heard) == is_heard


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_black_hole_swallows_the_end_that_the_server_puts_to_a_connection(is_reset):
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        TcpProxy("127.0.0.1", server.getsockname()[1]) as proxy,
        socket.create_connection((proxy.host, proxy.port)) as client,
        server.accept()[0] as served,
    ):
        served.sendall(b"x")
        assert client.recv(1) == b"x"  # it is carried: what ends while it is being made is refused, black hole or not
        client.settimeout(0.2)
        with proxy.black_hole():
            if is_reset:
                served.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            served.close()
            with pytest.raises(TimeoutError):
                client.recv(1)

        client.settimeout(PATIENCE)
        assert is_over(client)


def test_a_connection_that_lost_nothing_in_a_black_hole_goes_on(proxy, connect):
    link = connect()

    with proxy.black_hole():
        pass
    link.sendall(b"hello")

    assert receive(link, 5) == b"HELLO"


def test_a_slow_network_takes_its_time_and_loses_nothing(proxy, connect):
    link = connect()

    with proxy.slow(0.02, piece=2):
        began = time.monotonic()
        link.sendall(b"hello")
        answer = receive(link, 5)
        took = time.monotonic() - began

    assert answer == b"HELLO"
    assert took > 0.06


def test_refused_connections_and_then_none_refused_on_the_same_port(proxy, connect):
    old = connect()

    with proxy.refusing():
        with pytest.raises(ConnectionRefusedError):
            connect()
        assert is_over(old)
    new = connect()
    new.sendall(b"hello")

    assert receive(new, 5) == b"HELLO"


def test_a_server_that_is_away_ends_the_connection(echo, connect):
    echo.close()

    assert is_over(connect())


def test_a_close_leaves_no_thread_and_no_descriptor_behind(echo):
    before = len(os.listdir("/proc/self/fd")), threading.active_count()

    with TcpProxy("127.0.0.1", echo.port) as proxy:
        with closing(socket.create_connection((proxy.host, proxy.port))) as link:
            link.sendall(b"x")
            receive(link, 1)
        with proxy.refusing():
            pass
    proxy.close()

    assert eventually(lambda: (len(os.listdir("/proc/self/fd")), threading.active_count()) == before)


def test_a_count_below_zero_is_refused(proxy):
    with pytest.raises(ValueError, match="from 0"):
        proxy.cut_after(-1, Towards.SERVER)
