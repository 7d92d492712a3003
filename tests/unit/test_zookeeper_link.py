"""When the ZooKeeper driver takes its client for connected, silent, refused or ended, without a server."""

import socket
import threading
import time

import pytest

pytest.importorskip("kazoo")

from kazoo.exceptions import ConnectionLoss

from leaderlock.errors import BackendRefused, BackendUnavailable, UsageError
from leaderlock_zookeeper import _link
from leaderlock_zookeeper._link import Link

TIMEOUT = 20.0


class Client:
    """What the link uses of a client, in the state that a test puts it into."""

    def __init__(self, *, connected=False):
        self.connected = connected
        self.client_state = "CONNECTED" if connected else "CONNECTING"
        self.listeners = []
        self.calls = []
        self.may_stop = threading.Event()
        self.may_stop.set()
        self._pending = []
        self._session_timeout = 3000
        self._connection = self
        self._socket, self.peer = socket.socketpair()

    def add_listener(self, listener):
        self.listeners.append(listener)

    def remove_listener(self, listener):
        self.listeners.remove(listener)

    def start_async(self):
        self.calls.append("start")

    def stop(self):
        self.calls.append("stop")
        self.may_stop.wait(TIMEOUT)

    def close(self):
        self.calls.append("close")

    def tell(self, state, client_state=None):
        """Have the listeners hear of a state; returns what they said."""
        self.client_state = client_state or state
        return [listener(state) for listener in [*self.listeners]]


@pytest.fixture
def clients():
    clients = []
    yield clients
    for client in clients:
        client.may_stop.set()
        client._socket.close()
        client.peer.close()


@pytest.fixture
def link(clients):
    def make():
        clients.append(Client())
        return clients[-1]

    return Link(make, place="zk", is_lent=False)


def soon():
    return time.monotonic() + 0.05


def far():
    return time.monotonic() + TIMEOUT


@pytest.fixture
def ready(link, clients):
    """A client that is connected."""
    link.begin()
    clients[0].tell("CONNECTED")
    assert link.ready(soon()) is clients[0]
    return clients[0]


@pytest.fixture
def clock(monkeypatch):
    """The link's, moved by hand."""

    class Clock:
        now = time.monotonic()

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(_link, "time", clock)
    return clock


@pytest.mark.parametrize("state", ["SUSPENDED", "LOST"])
def test_nothing_is_sent_while_the_connection_is_away(link, ready, state):
    ready.tell(state)

    with pytest.raises(BackendUnavailable):
        link.ready(soon())
    with pytest.raises(ConnectionLoss):
        link.now()
    ready.tell("CONNECTED")
    assert link.now() is ready


# -- silence


def is_hung_up(client):
    client.peer.settimeout(0.0)
    try:
        return client.peer.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_server_that_leaves_one_request_unanswered_for_too_long_is_left(link, ready, clock):
    ready._pending = ["request", "another"]
    link.now()
    clock.now += 2.0  # two thirds of the session's three seconds
    link.now()
    assert not is_hung_up(ready)

    clock.now += 0.01
    with pytest.raises(ConnectionLoss, match="silent"):
        link.now()

    assert is_hung_up(ready)


def test_a_server_that_answers_something_is_not_silent(link, ready, clock):
    for at in range(5):
        ready._pending = [f"request {at}", "another"]
        link.now()
        clock.now += 1.9
    ready._pending = []
    link.now()
    clock.now += 10.0

    assert link.now() is ready
    assert not is_hung_up(ready)


# -- clients that were refused or have ended


def test_credentials_that_were_refused_are_told_at_once_and_the_next_call_tries_anew(link, clients):
    link.begin()
    clients[0].tell("LOST", "AUTH_FAILED")

    with pytest.raises(BackendRefused, match="credentials"):
        link.ready(far())
    with pytest.raises(BackendUnavailable):
        link.ready(soon())

    assert [client.calls for client in clients] == [["start", "stop", "close"], ["start"]]


def test_of_two_that_wait_for_a_client_that_is_refused_the_second_does_not_get_it(link, clients, monkeypatch):
    class Ready(threading.Event):
        def wait(self, timeout=None):
            clients[0].tell("LOST", "AUTH_FAILED")
            with pytest.raises(BackendRefused):
                link.ready(far())
            return True

    monkeypatch.setattr(link, "_ready", Ready())

    with pytest.raises(BackendUnavailable):
        link.ready(soon())


def test_a_client_that_was_done_away_with_is_not_listened_to(link, clients):
    link.begin()
    (listener,) = clients[0].listeners
    clients[0].tell("LOST", "AUTH_FAILED")
    with pytest.raises(BackendRefused):
        link.ready(far())
    link.begin()

    assert listener("CONNECTED") is True
    with pytest.raises(BackendUnavailable):
        link.ready(soon())


def test_a_client_whose_thread_has_ended_is_followed_by_another_and_one_that_only_starts_is_not(link, clients, clock):
    link.begin()
    clients[0].client_state = "CLOSED"
    with pytest.raises(BackendUnavailable):
        link.ready(clock.now)
    assert clients[0].calls == ["start"]

    clock.now += 1.01
    with pytest.raises(BackendUnavailable):
        link.ready(clock.now)
    link.begin()

    assert [client.calls for client in clients] == [["start", "stop", "close"], ["start"]]


def test_a_client_handed_in_is_never_started_replaced_or_stopped_whatever_becomes_of_it(clients):
    clients.append(Client(connected=True))
    link = Link(lambda: clients[0], place="zk", is_lent=True)
    assert link.ready(soon()) is clients[0]

    clients[0].tell("LOST", "AUTH_FAILED")
    with pytest.raises(BackendUnavailable, match="auth_failed; start it"):
        link.ready(soon())
    link.close()

    assert clients[0].calls == []
    assert clients[0].listeners == []


# -- the end


def test_closing_lets_go_whoever_waits(link, clients):
    told = []

    def wait():
        try:
            link.ready(far())
        except UsageError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until = far()
    while not (clients and clients[0].calls) and time.monotonic() < until:
        time.sleep(0.01)

    link.close()
    waiting.join(TIMEOUT / 4)

    assert told, "it was given a client that is closed, or waits on"


@pytest.mark.timeout(TIMEOUT)
def test_who_lost_the_connection_and_waits_for_the_next_is_let_go_when_there_is_none(link, ready):
    link.close()

    with pytest.raises(ConnectionLoss):
        link.wait(far())


def test_closing_does_not_wait_for_a_server_that_is_silent(link, ready, monkeypatch):
    monkeypatch.setattr(_link, "_CLOSE_PATIENCE", 0.05)
    ready.may_stop.clear()
    began = time.monotonic()

    link.close()

    assert time.monotonic() - began < TIMEOUT / 4
    assert ready.calls == ["start", "stop"]
    assert ready.listeners == []
