"""What the etcd driver's watch makes of its stream's messages and of its end, without a server."""

import itertools
import threading
from types import SimpleNamespace

import pytest

from leaderlock import Seen
from leaderlock.backend import ABSENT
from leaderlock.knowledge import Knowledge
from leaderlock_etcd import _caller, _watch
from leaderlock_etcd._caller import Login
from leaderlock_etcd._grpc import CallFailed
from leaderlock_etcd._lines import Lines
from leaderlock_etcd._marks import Known
from leaderlock_etcd._space import Space
from leaderlock_etcd._watch import Watcher
from leaderlock_etcd._wire import data, number

OLD, NEW = f"{'0' * 32}@1000", f"{'1' * 32}@2000"
KEY = b"/p/n/name/a"
REFUSED = CallFailed("UNAUTHENTICATED", "etcdserver: invalid auth token")


class Source:
    targets = ("one", "other")

    def channel(self, turn, patience):
        return SimpleNamespace(turn=turn, is_closed=False)

    def has_left(self, channel):
        return False

    def close(self, channel):
        channel.is_closed = True


class Stream:
    """Gives what a test has written down, and raises where that is an error."""

    def __init__(self, messages):
        self.messages = messages
        self.is_cancelled = False

    def __iter__(self):
        for message in self.messages:
            if isinstance(message, Exception):
                raise message
            yield message

    def cancel(self):
        self.is_cancelled = True


class Watching:
    """A watcher, what it was told to wake, and its streams."""

    def __init__(self, login=None):
        self.lines = Lines(Source(), "etcd://h")
        self.knowledge = Knowledge()
        self.watcher = Watcher(self.lines, login or Login(), Space("/p", "n"), self.knowledge)
        self.woken = []
        self.streams = []
        self.asked = []
        self.while_opened = lambda: None
        self.messages = []

    def open_stream(self, channel, method, requests, *, metadata):
        self.while_opened()
        self.asked.append((requests, metadata))
        self.streams.append(Stream(self.messages))
        return self.streams[-1]

    def watch(self, *messages):
        """One stream, to its end; returns the line that it was on."""
        line = self.lines.take()
        self.messages = messages
        self.watcher._watch_once(lambda keys, shown=None: self.woken.append((keys, shown)))
        self.lines.give_back(line)
        return line


@pytest.fixture
def watching(monkeypatch):
    watching = Watching()
    monkeypatch.setattr(_watch, "open_stream", watching.open_stream)
    return watching


def created(revision):
    return data(1, number(3, revision)) + number(3, 1)


def change(revision, key=KEY, value=b"x"):
    entry = data(1, key) + number(3, revision) + data(5, value or b"")
    return data(1, number(3, revision)) + data(11, number(1, value is None) + data(2, entry))


def shown(watching):
    return [shown for _, shown in watching.woken if shown is not None]


# -- in which memory a change was


def test_a_change_is_shown_with_the_memory_that_stood_since_the_watch_began(watching):
    watching.knowledge.newest = Known(OLD, 7)

    watching.watch(created(5), change(8), change(9, value=None))

    put, deleted = shown(watching)
    assert put.seen == {"name/a": Seen(b"x", 8)}
    assert deleted.seen == {"name/a": Seen(None, ABSENT)}
    assert put.memory == OLD
    assert put.floor == 1000 + 8, "no answer before this change gave as much"


@pytest.mark.parametrize(
    "messages",
    [
        [created(8), change(9)],  # known before the watch began: the mark may have changed in between
        [created(5), change(6)],  # known later than the change: the mark may have changed in between
        [created(5), change(8, key=b"/p/n/birth"), change(9)],  # the mark did change
        [created(5), data(11, data(2, data(1, KEY) + number(3, 6))) + change(9)],  # one of them is earlier
    ],
)
def test_a_change_of_which_the_memory_is_not_certain_wakes_and_shows_nothing(watching, messages):
    watching.knowledge.newest = Known(OLD, 7)

    watching.watch(*messages)

    assert not shown(watching)
    assert KEY in watching.woken[-1][0]


def test_another_mark_wakes_everybody(watching):
    watching.watch(created(5), change(8, key=b"/p/n/birth"))

    assert [keys for keys, _ in watching.woken] == [None, None]


# -- a stream's beginning and end


def test_a_watch_asks_for_a_member_that_has_a_leader(watching):
    watching.watch(created(5))

    ((_, metadata),) = watching.asked
    assert ("hasleader", "true") in metadata


@pytest.mark.timeout(20)
def test_whatever_ends_a_stream_it_is_cancelled_and_nothing_is_held_for_it(watching):
    for message in (created(5), b"\xff", CallFailed("UNAVAILABLE", "Socket closed")):
        line = watching.watch(message)
        assert line.users == 0
        assert line.stream is None

    assert all(stream.is_cancelled for stream in watching.streams)
    # The library's own thread reads the requests until there are no more.
    assert [len(list(requests)) for requests, _ in watching.asked] == [1, 1, 1]


@pytest.mark.parametrize("message", [b"\xff", CallFailed("UNAVAILABLE", "Socket closed")])
def test_a_stream_that_failed_goes_to_the_next_server(watching, message):
    assert watching.watch(message).is_left
    assert watching.watch(created(5)).channel.turn == 1


@pytest.mark.parametrize("left_by", ["a call", "the end"])
def test_a_line_that_is_left_while_the_stream_is_opened_is_not_watched_on(watching, left_by):
    line = watching.lines.take()
    watching.while_opened = (lambda: watching.lines.leave(line)) if left_by == "a call" else watching.watcher.end

    watching.watch(created(5))

    assert watching.streams[0].is_cancelled
    assert not watching.woken


@pytest.mark.parametrize("message", [REFUSED, number(4, 1)], ids=["refused", "cancelled"])
def test_a_watch_that_the_server_refuses_asks_for_another_token(monkeypatch, message):
    asked = []
    monkeypatch.setattr(_caller, "request", lambda channel, method, *_, **__: asked.append(method) or data(2, b"token"))
    watching = Watching(Login(user="app", password="s3cret"))
    monkeypatch.setattr(_watch, "open_stream", watching.open_stream)

    watching.watch(message, created(5))
    assert not watching.woken, "what comes after it is of another stream"
    watching.watch(created(5))

    assert len(asked) == 2


def test_streams_that_fail_at_once_are_opened_ever_more_seldom_whatever_is_wrong(watching, monkeypatch):
    pauses, errors = [], itertools.cycle([CallFailed("UNAVAILABLE", ""), OSError("no certificate"), RuntimeError()])

    class Ended(threading.Event):
        def wait(self, timeout=None):
            pauses.append(timeout)
            return self.set() if len(pauses) == 6 else None

    def fail():
        raise next(errors)

    watching.while_opened = fail
    monkeypatch.setattr(watching.watcher, "_ended", Ended())

    watching.watcher.listen(lambda keys, shown=None: None)

    assert pauses == sorted(pauses)
    assert pauses[0] > 0.01
    assert pauses[-1] == 1.0
