"""Relays and the shifted clock do to real sockets and processes what the campaigns rely on."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from tests.chaos.links import Network
from tests.chaos.on_redis import WallClock

SOON = 0.3
"""Long enough for what is not held to arrive, in seconds."""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, preloads a library")


@pytest.fixture
def network():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def echo():
    """A server that sends back what it gets; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        with closing(connection):
            while data := connection.recv(1024):
                connection.sendall(data)

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def call(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5.0)


def hears(connection: socket.socket, seconds: float) -> bytes:
    connection.settimeout(seconds)
    try:
        return connection.recv(1024)
    except TimeoutError:
        return b""


def test_what_a_cut_holds_is_delivered_when_it_heals(network, echo):
    relay = network.relay("server", echo, caller="worker")
    with closing(call(relay.port)) as connection:
        connection.sendall(b"before")
        assert hears(connection, 5.0) == b"before"

        network.isolate("worker")
        connection.sendall(b"meanwhile")
        held = hears(connection, SOON)
        network.heal()

        assert held == b""
        assert hears(connection, 5.0) == b"meanwhile"


def test_a_cut_holds_new_connections_too(network, echo):
    relay = network.relay("server", echo, caller="worker")
    network.isolate("server")
    with closing(call(relay.port)) as connection:
        connection.sendall(b"late")
        held = hears(connection, SOON)
        network.heal()

        assert held == b""
        assert hears(connection, 5.0) == b"late"


def test_a_cut_between_two_holds_no_third(network, echo):
    one, other = (network.relay("server", echo, caller=name) for name in ("one", "other"))
    network.cut("one", "server")
    with closing(call(one.port)) as first, closing(call(other.port)) as second:
        first.sendall(b"x")
        second.sendall(b"y")

        assert hears(second, 5.0) == b"y"
        assert hears(first, SOON) == b""


def test_a_caller_is_known_by_its_process(network, echo):
    relay = network.relay("server", echo)
    network.knows("me", os.getpid)
    network.cut("me", "server")
    with closing(call(relay.port)) as connection:
        connection.sendall(b"x")
        assert hears(connection, SOON) == b""

        network.heal()
        assert hears(connection, 5.0) == b"x"


def test_a_slow_network_takes_longer(network, echo):
    relay = network.relay("server", echo, caller="worker")
    network.slow("worker", 0.1)
    with closing(call(relay.port)) as connection:
        began = time.monotonic()
        connection.sendall(b"x")

        assert hears(connection, 5.0) == b"x"
        assert time.monotonic() - began >= 0.2  # there and back


def test_a_network_that_ends_leaves_nobody_open_who_came_just_now(echo):
    for _ in range(50):
        network = Network()
        relay = network.relay("server", echo)
        with closing(call(relay.port)) as connection:
            network.close()

            assert hears(connection, 5.0) == b""
    gc.collect()  # what was not closed says so, which fails this test


def test_a_turned_relay_ends_its_connections_and_leads_elsewhere(network, echo):
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        relay = network.relay("server", other.getsockname()[1], caller="worker")
        with closing(call(relay.port)) as old:
            accepted, _ = other.accept()
            with closing(accepted):
                network.turn(relay, "echo", echo)
                assert old.recv(1) == b""
        with closing(call(relay.port)) as connection:
            connection.sendall(b"x")

            assert hears(connection, 5.0) == b"x"


def test_the_wall_clock_of_a_process_is_stepped_and_its_steady_clock_is_not(tmp_path):
    clock = WallClock(tmp_path)
    if clock.why_not:
        pytest.skip(f"clocks were NOT stepped: {clock.why_not}")
    program = (
        "import time; input()\n"
        "for _ in range(2): print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME), flush=True); input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**os.environ, **clock.variables},
    )
    seen = []
    for step in (3600, -3600):
        clock.step(step)
        child.stdin.write("\n")
        wall, steady = map(float, child.stdout.readline().split())
        seen.append((wall - time.time(), steady - time.clock_gettime(time.CLOCK_BOOTTIME)))
    child.communicate("\n")

    assert [round(wall / 60) for wall, _ in seen] == [60, -60]
    assert [round(steady / 60) for _, steady in seen] == [0, 0]
