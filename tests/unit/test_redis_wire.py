"""Redis's protocol, fed by hand: any cut, any junk, one deadline."""

import socket
import threading
import time
from contextlib import closing

import pytest

from leaderlock.errors import BackendRefused, BackendUnavailable, OutcomeUnknown
from leaderlock_redis._errors import refusal
from leaderlock_redis._wire import Closed, Garbled, ServerError, Wire, pack


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        yield Wire(ours), theirs


def soon():
    return time.monotonic() + 5.0


REPLIES = {
    b"+OK\r\n": b"OK",
    b":-12\r\n": -12,
    b"$0\r\n\r\n": b"",
    b"$7\r\na\r\n$-1\r\r\n": b"a\r\n$-1\r",
    b"$-1\r\n": None,
    b"*-1\r\n": None,
    b"*0\r\n": [],
    b"*3\r\n$1\r\na\r\n:1\r\n*1\r\n$-1\r\n": [b"a", 1, [None]],
}


@pytest.mark.parametrize(("data", "reply"), REPLIES.items())
def test_a_reply_is_understood_wherever_it_is_cut(pair, data, reply):
    wire, server = pair

    def drip():
        for at in range(len(data)):
            server.sendall(data[at : at + 1])

    thread = threading.Thread(target=drip)
    thread.start()
    received = wire.receive(soon())
    thread.join()

    assert received == reply
    assert wire.is_quiet()


def test_an_error_is_a_reply_and_the_next_one_follows(pair):
    wire, server = pair
    server.sendall(b"-OOM no room\r\n+OK\r\n")

    first, second = wire.ask([pack(b"A"), pack(b"B")], soon())

    assert isinstance(first, ServerError)
    assert str(first) == "OOM no room"
    assert second == b"OK"


@pytest.mark.parametrize("junk", [b"HTTP/1.1 200 OK\r\n", b"\r\n", b"$x\r\n", b"%1\r\n", b"x" * 70_000])
def test_what_is_not_the_protocol_is_told_apart(pair, junk):
    wire, server = pair
    server.sendall(junk)

    with pytest.raises(Garbled):
        wire.receive(soon())


def test_a_connection_that_ends_in_the_middle_is_closed(pair):
    wire, server = pair
    server.sendall(b"$10\r\nabc")
    server.close()

    with pytest.raises(Closed):
        wire.receive(soon())


def test_one_deadline_holds_for_a_reply_that_comes_in_drops(pair):
    wire, server = pair
    is_over = threading.Event()

    def drip():
        server.sendall(b"$1000\r\n")
        while not is_over.wait(0.05):
            server.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        wire.receive(began + 0.3)
    took = time.monotonic() - began
    is_over.set()
    thread.join()

    assert took < 2.0


def test_bytes_that_come_unasked_are_noticed(pair):
    wire, server = pair

    server.sendall(b"+late\r\n")

    assert not wire.is_quiet()


MESSAGES = {
    "OOM command not allowed when used memory > 'maxmemory'. script: ab, on @user_script:9.": BackendRefused,
    "ERR Error running script (call to f_ab): @user_script:9: -OOM command not allowed": BackendRefused,
    "READONLY You can't write against a read only replica.": BackendRefused,
    "MISCONF Redis is configured to save RDB snapshots": BackendRefused,
    "NOREPLICAS Not enough good replicas to write.": BackendRefused,
    "NOAUTH Authentication required.": BackendRefused,
    "NOPERM this user has no permissions to run the 'eval' command": BackendRefused,
    "WRONGTYPE Operation against a key holding the wrong kind of value": BackendRefused,
    "LOADING Redis is loading the dataset in memory": BackendUnavailable,
    "BUSY Redis is busy running a script.": BackendUnavailable,
    "ERR The user executing the script can't access at least one of the keys": OutcomeUnknown,
    "ERR ACL failure in script: User x has no permissions to run the 'hset' command script: ab": OutcomeUnknown,
    "ERR Script attempted to access a non local key in a cluster node script: ab": OutcomeUnknown,
    "ERR something that nobody has heard of": OutcomeUnknown,
}


@pytest.mark.parametrize(("text", "kind"), MESSAGES.items())
def test_an_error_of_a_write_says_no_only_where_nothing_can_have_been_done(text, kind):
    assert type(refusal(ServerError(text), "here", wrote=True)) is kind


@pytest.mark.parametrize(
    "text",
    [
        "NOPERM this user has no permissions to run the 'eval' command",
        "ERR The user executing the script can't run this command or subcommand script: ab, on @user_script:2.",
        "ERR ACL failure in script: User x has no permissions to run the 'time' command script: ab, on @user_script:2.",
        "ERR ACL failure in script: No permissions to access a channel script: ab, on @user_script:6.",
    ],
)
def test_whatever_a_server_calls_a_missing_right_the_line_that_gives_it_is_told(text):
    """The second one is Redis 7.0's, the last two are 8.0's."""
    assert "ACL SETUSER" in str(refusal(ServerError(text), "here", wrote=False))
