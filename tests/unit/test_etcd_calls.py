"""What the etcd driver makes of answers that are late, garbled, refused or missing, without a server."""

import re
import time
from types import SimpleNamespace

import pytest

from leaderlock import Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable, MemoryGone, OutcomeUnknown, UsageError
from leaderlock_etcd import _caller
from leaderlock_etcd import _messages as messages
from leaderlock_etcd._backend import EtcdBackend
from leaderlock_etcd._caller import Login
from leaderlock_etcd._grpc import CallFailed
from leaderlock_etcd._messages import AUTHENTICATE, RANGE, TXN
from leaderlock_etcd._wire import data, number

TIMEOUT = 10.0
BORN = 10**15
MEMORY = f"{'0' * 32}@{BORN}"
MARK = b"/p/n/birth"
NO_ANSWER = CallFailed("UNAVAILABLE", "Socket closed")


class Source:
    """Channels to two servers, each a note of which one it leads to."""

    targets = ("one", "other")

    def __init__(self):
        self.channels = []

    def channel(self, turn, patience):
        self.channels.append(SimpleNamespace(turn=turn, closed=0))
        return self.channels[-1]

    def has_left(self, channel):
        return False

    def close(self, channel):
        channel.closed += 1


class Server:
    """Answers each transaction by the next of what a test has written down; a function is called for its answer."""

    def __init__(self):
        self.answers = []
        self.sent = []

    def request(self, channel, method, message, *, timeout, metadata):
        self.sent.append(SimpleNamespace(channel=channel, method=method, message=message, timeout=timeout))
        if method == RANGE:
            return b""
        answer = self.answers.pop(0)
        if callable(answer):
            answer = answer()
        if isinstance(answer, BaseException):
            raise answer
        return answer


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(_caller, "request", server.request)
    return server


@pytest.fixture
def source():
    return Source()


@pytest.fixture
def open_backend(source, server):
    return lambda login=None: EtcdBackend(source, login or Login(), prefix="/p", namespace="n", shown="etcd://h")


@pytest.fixture
def backend(open_backend):
    return open_backend()


def transaction(revision, *steps, succeeded=True):
    head = data(1, number(3, revision)) + number(2, succeeded)
    return head + b"".join(data(3, step) for step in steps)


def read(revision, memory=MEMORY):
    """The answer to a read of nothing but the mark."""
    entry = data(1, MARK) + number(3, 1) + data(5, memory.encode())
    return transaction(revision, data(1, data(2, entry)))


def written(revision):
    """The answer to one write."""
    return transaction(revision, data(4, transaction(revision)))


def swap(backend, value=b"x"):
    (answer,) = backend.swap([Write("name/a", 0, value)], MEMORY, timeout=TIMEOUT)
    return answer


# -- revisions that go back


def test_a_write_whose_answer_was_overtaken_by_another_s_is_no_sign_of_a_store_set_back(backend, server):
    def overtaken():
        swap(backend)
        return written(10)

    server.answers = [overtaken, written(11)]

    assert swap(backend) == Swapped(10)
    assert not backend._knowledge.is_left(MEMORY)


def test_a_read_whose_answer_was_overtaken_by_another_s_is_no_sign_of_a_store_set_back(backend, server):
    def overtaken():
        backend.read([], timeout=TIMEOUT)
        return read(10)

    server.answers = [overtaken, read(11)]

    assert backend.read([], timeout=TIMEOUT).memory == MEMORY


@pytest.mark.parametrize("before", [written, read])
def test_whatever_showed_a_revision_a_write_that_meets_a_lower_one_counts_for_nothing(backend, server, before):
    server.answers = [before(10), written(9)]
    _ = swap(backend) if before is written else backend.read([], timeout=TIMEOUT)

    for _ in range(2):
        with pytest.raises(MemoryGone):
            swap(backend)

    assert not server.answers
    assert [call.method for call in server.sent].count(TXN) == 2, "nothing is written where that is known to be vain"


def test_the_mark_of_a_store_set_back_is_replaced_above_all_floors_and_by_one_only(backend, server, monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1000)  # somebody set the clock back
    newer = f"{'1' * 32}@{BORN + 100}"
    server.answers = [read(10), read(5), transaction(6), read(7, newer)]
    backend.read([], timeout=TIMEOUT)

    assert backend.read([], timeout=TIMEOUT).memory == newer

    laid = server.sent[2].message
    *_, born = re.findall(rb"[0-9a-f]{32}@([0-9]+)", laid)
    assert int(born) > BORN + 10
    assert messages.has_value(MARK, MEMORY.encode()) in laid


def test_a_mark_of_a_store_set_back_is_never_trusted_again_though_it_could_not_be_replaced(backend, server):
    newer = f"{'1' * 32}@{BORN + 100}"
    server.answers = [read(10), read(5), CallFailed("UNAVAILABLE", "")]
    backend.read([], timeout=TIMEOUT)
    with pytest.raises(BackendUnavailable):
        backend.read([], timeout=TIMEOUT)

    # Others have written since, so that the revision is above what was known.
    server.answers = [read(11), transaction(12), read(13, newer)]

    with pytest.raises(MemoryGone):
        swap(backend)
    assert backend.read([], timeout=TIMEOUT).memory == newer


def test_a_first_mark_is_laid_where_there_is_none(backend, server):
    server.answers = [transaction(1, data(1, b"")), transaction(2), read(2)]

    backend.read([], timeout=TIMEOUT)

    assert messages.has_stamp(MARK, 0) in server.sent[1].message


# -- what is in doubt


def test_an_answer_that_is_no_message_leaves_a_write_in_doubt_and_a_read_unanswered(backend, server):
    server.answers = [b"\xff", b"\xff"]

    with pytest.raises(OutcomeUnknown, match=r"not etcd's"):
        swap(backend)
    with pytest.raises(BackendUnavailable, match=r"not etcd's") as raised:
        backend.read([], timeout=TIMEOUT)
    assert not isinstance(raised.value, OutcomeUnknown)


@pytest.mark.parametrize(
    "step", [data(2, b""), data(4, transaction(3, succeeded=False))], ids=["another kind", "conflict without a look"]
)
def test_an_answer_that_does_not_say_what_became_of_a_write_leaves_it_in_doubt(backend, server, step):
    server.answers = [transaction(3, step)]

    with pytest.raises(OutcomeUnknown, match="name/a"):
        swap(backend)


@pytest.mark.parametrize(("first", "kind"), [(True, OutcomeUnknown), (False, BackendRefused)])
def test_a_refusal_of_a_batch_s_second_request_is_no_plain_no(backend, server, first, kind):
    refusal = CallFailed("PERMISSION_DENIED", "etcdserver: permission denied")
    server.answers = [written(10), refusal] if first else [refusal]
    writes = [Write(f"name/{at}", 0, b"x" * 600_000) for at in range(2)]

    with pytest.raises(kind) as raised:
        backend.swap(writes, MEMORY, timeout=TIMEOUT)

    assert type(raised.value) is kind


def test_a_write_whose_token_was_refused_and_not_exchanged_was_not_made(open_backend, server):
    backend = open_backend(Login(user="app", password="s3cret"))
    refusal = CallFailed("UNAUTHENTICATED", "etcdserver: invalid auth token")
    server.answers = [data(2, b"token"), read(10), refusal, NO_ANSWER]
    backend.read([], timeout=TIMEOUT)

    with pytest.raises(BackendUnavailable) as raised:
        swap(backend)

    assert [call.method for call in server.sent] == [AUTHENTICATE, TXN, TXN, AUTHENTICATE]
    assert not isinstance(raised.value, OutcomeUnknown)


def test_a_token_is_asked_for_once_and_in_the_time_of_the_call(open_backend, server):
    backend = open_backend(Login(user="app", password="s3cret"))
    server.answers = [data(2, b"token"), read(10), read(11)]

    backend.read([], timeout=TIMEOUT)
    backend.read([], timeout=TIMEOUT)

    assert [call.method for call in server.sent] == [AUTHENTICATE, TXN, TXN]
    assert all(0 < call.timeout <= TIMEOUT for call in server.sent)


def test_where_no_time_is_left_nothing_is_sent_and_nothing_is_in_doubt(backend, server):
    with pytest.raises(BackendUnavailable, match="no time") as raised:
        backend.swap([Write("name/a", 0, b"x")], MEMORY, timeout=0.0)

    assert not isinstance(raised.value, OutcomeUnknown)
    assert not server.sent


@pytest.mark.parametrize("expected", ["a stamp of another store's", -1, 1 << 63, 1 << 70])
def test_a_stamp_that_no_key_has_is_a_revision_that_none_reaches(backend, server, expected):
    server.answers = [written(10)]

    backend.swap([Write("name/a", expected, b"x")], MEMORY, timeout=TIMEOUT)

    assert messages.has_stamp(b"/p/n/name/a", (1 << 63) - 1) in server.sent[-1].message


# -- lines


def test_a_refusal_does_not_leave_the_server_that_gave_it(backend, server, source):
    server.answers = [CallFailed("PERMISSION_DENIED", "etcdserver: permission denied"), read(10)]

    with pytest.raises(BackendRefused):
        backend.read([], timeout=TIMEOUT)
    backend.read([], timeout=TIMEOUT)

    assert [channel.closed for channel in source.channels] == [0]


@pytest.mark.parametrize("error", [NO_ANSWER, KeyboardInterrupt()])
def test_a_call_that_is_not_answered_closes_its_channel_and_the_next_one_asks_the_next_server(
    backend, server, source, error
):
    server.answers = [read(9), error, read(10)]
    backend.read([], timeout=TIMEOUT)

    with pytest.raises((BackendUnavailable, KeyboardInterrupt)):
        backend.read([], timeout=TIMEOUT)
    backend.read([], timeout=TIMEOUT)

    assert [(channel.turn, channel.closed) for channel in source.channels] == [(0, 1), (1, 0)]
    backend.close()
    assert [channel.closed for channel in source.channels] == [1, 1]


def test_a_channel_is_closed_by_the_last_of_its_calls_and_left_once_for_all_of_them(backend, server, source):
    def while_others_come_and_go():
        with pytest.raises(BackendUnavailable):
            backend.read([], timeout=TIMEOUT)
        backend.read([], timeout=TIMEOUT)
        assert not source.channels[0].closed, "this call is on it"
        return NO_ANSWER

    server.answers = [read(9), while_others_come_and_go, NO_ANSWER, read(10), read(11)]
    backend.read([], timeout=TIMEOUT)

    with pytest.raises(BackendUnavailable):
        backend.read([], timeout=TIMEOUT)
    backend.read([], timeout=TIMEOUT)

    assert [(channel.turn, channel.closed) for channel in source.channels] == [(0, 1), (1, 0)]


def test_closing_in_a_forked_child_leaves_the_parent_s_channel_alone(backend, server, source):
    server.answers = [read(9)]
    backend.read([], timeout=TIMEOUT)
    backend._lines._pid = 0

    with backend._lines._lock:  # as a thread held it that the child does not have
        backend.close()

    assert not source.channels[0].closed


def test_a_call_that_comes_as_the_backend_is_closed_opens_no_channel(backend, server, source, monkeypatch):
    lock = backend._lines._lock

    class Lock:
        """While this call waits for it, another thread closes."""

        def __enter__(self):
            monkeypatch.setattr(backend._lines, "_lock", lock)
            backend.close()
            return lock.__enter__()

        def __exit__(self, *error):
            return lock.__exit__(*error)

    monkeypatch.setattr(backend._lines, "_lock", Lock())

    with pytest.raises(UsageError, match="closed"):
        backend.read([], timeout=TIMEOUT)

    assert not source.channels
