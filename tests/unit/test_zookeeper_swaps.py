"""What the ZooKeeper driver makes of answers to its writes, and how it lays a life, without a server."""

import time
from types import SimpleNamespace

import pytest

pytest.importorskip("kazoo")

from kazoo.exceptions import (
    AuthFailedError,
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    RolledBackError,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError

from leaderlock.backend import ABSENT, DELETE, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable, OutcomeUnknown
from leaderlock_zookeeper import _marks, _swaps
from leaderlock_zookeeper._errors import looking, writing
from leaderlock_zookeeper._marks import SPAN, Mark, Marks
from leaderlock_zookeeper._paths import Layout
from leaderlock_zookeeper._requests import delete, put
from leaderlock_zookeeper._swaps import Swaps

OLD, NEW = "0" * 32, "f" * 32
LAYOUT = Layout("/leaderlock", "n")
FAR = time.monotonic() + 3600


class Answer:
    """What came of a request: a value, or an error that is raised."""

    def __init__(self, outcome):
        self.outcome = outcome

    def get(self, block=True, timeout=None):
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class Client:
    """Answers by the next of what a test has written down, and remembers what it was asked."""

    chroot = ""
    client_id = (1, b"")
    default_acl = None

    def __init__(self):
        self.answers = []
        self.asked = []

    def answer(self, *asked):
        self.asked.append(asked)
        return Answer(self.answers.pop(0))

    def get_async(self, path):
        return self.answer("get", path)

    def exists_async(self, path):
        return self.answer("exists", path)

    def set_async(self, path, value, version=-1):
        return self.answer("set", path, value, version)

    def create_async(self, path):
        return self.answer("create", path)

    def transaction(self):
        done = []
        return SimpleNamespace(
            create=lambda *given: done.append(("create", *given)),
            delete=lambda *given: done.append(("delete", *given)),
            set_data=lambda *given: done.append(("set", *given)),
            commit_async=lambda: self.answer("commit", done),
        )


@pytest.fixture
def client(monkeypatch):
    client = Client()
    monkeypatch.setattr(_swaps, "send", lambda client, request: client.answer(request.type))
    return client


@pytest.fixture
def link(client):
    return SimpleNamespace(place="zk", ready=lambda deadline: client, now=lambda: client)


@pytest.fixture
def swap(link):
    swaps = Swaps(link, LAYOUT, SimpleNamespace(nodes=lambda paths, deadline: [None for _ in paths]))
    return lambda *writes: swaps.swap(writes, OLD, FAR)


# -- what an error says of a write


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLoss(),
        ConnectionClosedError(),
        SessionExpiredError(),
        KazooTimeoutError(),
        AuthFailedError(),
        RolledBackError(),
    ],
)
def test_a_write_without_a_clear_no_is_unknown(swap, client, error):
    client.answers = [error]

    with pytest.raises(OutcomeUnknown):
        swap(Write("name/a", 1, b"x"))
    with pytest.raises(OutcomeUnknown), writing("zk"):
        raise error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionLoss(), BackendUnavailable),
        (KazooTimeoutError(), BackendUnavailable),
        (AuthFailedError(), BackendRefused),
        (NoAuthError(), BackendRefused),
    ],
)
def test_a_read_that_fails_is_in_no_doubt(error, kind):
    with pytest.raises(kind) as raised, looking("zk"):
        raise error

    assert type(raised.value) is kind


@pytest.mark.parametrize(("before", "kind"), [([[1]], OutcomeUnknown), ([], BackendRefused)])
def test_a_refusal_of_a_batch_s_second_request_is_no_plain_no(swap, client, before, kind):
    client.answers = [*before, NoAuthError()]

    with pytest.raises(kind) as raised:
        swap(*(Write(f"name/{at}", 1, b"x" * 600_000) for at in range(2)))

    assert type(raised.value) is kind


def test_a_refusal_of_a_transaction_is_a_plain_no(swap, client):
    client.answers = [[RolledBackError(), NoAuthError()]]

    with pytest.raises(BackendRefused):
        swap(Write("name/a", 1, b"x"), Write("name/b", 1, b"x"))


def test_a_refusal_of_one_of_several_writes_that_went_singly_leaves_all_in_doubt(swap, client):
    client.answers = [[RolledBackError(), BadVersionError()], [1], NoAuthError()]

    with pytest.raises(OutcomeUnknown, match="read them all"):
        swap(Write("name/a", 1, b"x"), Write("name/b", 1, b"x"))


def test_a_directory_that_may_not_be_made_beside_a_write_that_was_applied_leaves_a_doubt(swap, client):
    client.answers = [NoAuthError(), [RolledBackError(), NoNodeError()], [1], NoNodeError()]

    with pytest.raises(OutcomeUnknown, match="were applied"):
        swap(Write("name/a", 1, b"x"), Write("name/b", ABSENT, b"x"))


def test_directories_that_somebody_removes_again_and_again_leave_a_doubt(swap, client):
    missing = NoNodeError()
    client.answers = [NodeExistsError(), missing, NodeExistsError(), missing]

    with pytest.raises(OutcomeUnknown, match="removing"):
        swap(Write("name/a", ABSENT, b"x"))


def test_of_what_was_to_be_absent_and_is_the_deletion_is_done(swap, client):
    client.answers = [[0], NoNodeError(), NodeExistsError()]

    assert swap(Write("name/a", ABSENT, DELETE)) == [Swapped(ABSENT)]


@pytest.mark.parametrize("expected", ["a stamp of another store's", -1, 1 << 31, 1 << 70])
def test_a_stamp_that_no_node_has_is_a_version_that_none_reaches(link, monkeypatch, expected):
    sent = []
    monkeypatch.setattr(_swaps, "send", lambda client, request: sent.append(request) or Answer([1]))
    swaps = Swaps(link, LAYOUT, SimpleNamespace(nodes=lambda paths, deadline: []))
    swaps.swap([Write("name/a", expected, b"x")], OLD, FAR)
    swaps.swap([Write("name/a", expected, DELETE)], OLD, FAR)

    path, never = LAYOUT.register(OLD, "name/a"), 2**31 - 1
    assert [request.serialize() for request in sent] == [put(path, b"x", never).body, delete(path, never).body]


# -- lives


def test_a_life_that_is_gone_is_followed_by_another_only_with_the_proof_that_it_is(link, client):
    stat = SimpleNamespace(version=4)
    client.answers = [(OLD.encode(), stat), None, [None] * 4, (NEW.encode(), stat), stat]
    least = 1 << 52

    assert Marks(link, LAYOUT).find(FAR, least=least) == NEW

    ((_, (proof, proof_s_end, pointer, laid)),) = [asked for asked in client.asked if asked[0] == "commit"]
    assert proof[:2] == ("create", LAYOUT.life(OLD))
    assert proof_s_end == ("delete", LAYOUT.life(OLD))
    assert (pointer[0], pointer[1], pointer[3]) == ("set", LAYOUT.pointer, 4)
    assert laid == ("create", LAYOUT.life(pointer[2].decode()), b"%d" % least)


def test_a_first_life_is_laid_with_all_that_is_above_it(link, client):
    stat = SimpleNamespace(version=0)
    client.answers = [NoNodeError(), [NoNodeError(), RolledBackError()], NodeExistsError(), None, NoNodeError()]
    client.answers += [[None] * 2, (NEW.encode(), stat), stat]

    assert Marks(link, LAYOUT).find(FAR, least=0) == NEW

    assert [asked[1] for asked in client.asked if asked[0] == "create"] == ["/", "/leaderlock"]


def test_a_clock_set_to_a_far_century_does_not_push_the_floor_out_of_its_range_for_good(link, client, monkeypatch):
    monkeypatch.setattr(_marks, "time", SimpleNamespace(monotonic=time.monotonic, time_ns=lambda: 1 << 70))
    stat = SimpleNamespace(version=0)
    client.answers = [NoNodeError(), [None] * 2, (NEW.encode(), stat), stat]

    Marks(link, LAYOUT).find(FAR, least=0)

    ((_, (_, laid)),) = [asked for asked in client.asked if asked[0] == "commit"]
    assert int(laid[2]) == 1 << 52


def test_a_life_that_may_not_be_laid_is_refused(link, client):
    client.answers = [NoNodeError(), [NoAuthError(), RolledBackError()]]

    with pytest.raises(BackendRefused, match="grant"):
        Marks(link, LAYOUT).find(FAR, least=0)


@pytest.mark.parametrize("data", [None, b"", b"somebody's", b"0" * 31])
def test_a_namespace_s_node_that_somebody_else_made_is_refused(link, client, data):
    client.answers = [(data, SimpleNamespace(version=0))]

    with pytest.raises(BackendRefused, match="did not write"):
        Marks(link, LAYOUT).find(FAR, least=0)


@pytest.mark.parametrize(("errors", "says"), [([NoNodeError()], "chroot"), ([NoAuthError(), NoAuthError()], "grant")])
def test_where_nothing_may_be_made_above_a_life_that_is_said(link, client, errors, says):
    client.answers = [NoNodeError(), [NoNodeError(), RolledBackError()], *errors]

    with pytest.raises(BackendRefused, match=says):
        Marks(link, LAYOUT).find(FAR, least=0)


@pytest.mark.parametrize("answer", [None, BadVersionError(), NoNodeError()])
def test_a_mark_is_written_anew_by_its_version_and_whoever_is_too_late_looks_again(link, client, answer):
    client.answers = [answer]

    Marks(link, LAYOUT).rewrite(OLD, Mark(100, 3, 1), FAR)

    assert client.asked == [("set", LAYOUT.life(OLD), b"%d" % (100 + SPAN), 3)]
