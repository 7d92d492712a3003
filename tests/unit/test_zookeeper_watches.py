"""When the ZooKeeper driver sets its watches and whom it wakes, without a server."""

from types import SimpleNamespace

import pytest

pytest.importorskip("kazoo")

from kazoo.exceptions import ConnectionLoss, NoNodeError

from leaderlock.errors import BackendUnavailable
from leaderlock_zookeeper._kazoo import Event
from leaderlock_zookeeper._paths import Layout
from leaderlock_zookeeper._watches import Watches

OLD, NEW = "0" * 32, "f" * 32
LAYOUT = Layout("/leaderlock", "n")
CHANGED, LOST = Event("CHANGED", "CONNECTED", "/"), Event("NONE", "CONNECTING", "")


class Question:
    """What was asked of the server: a test answers it, and tells of a change."""

    def __init__(self, path, watch=None):
        self.path = path
        self.watch = watch
        self.value = self.exception = self.callback = None

    def rawlink(self, callback):
        self.callback = callback

    def get(self):
        return self.value

    def answer(self, value=None, exception=None):
        self.value, self.exception = value, exception
        if self.callback is not None:
            self.callback(self)


class Link:
    """A connection that a test makes and loses."""

    is_ours = True

    def __init__(self):
        self.is_connected = True
        self.asked = []
        self.on_connected = lambda: None

    def begin(self):
        pass

    def now(self):
        if not self.is_connected:
            raise ConnectionLoss
        return self

    def ask(self, path, watch=None):
        self.asked.append(Question(path, watch))
        return self.asked[-1]

    exists_async = get_async = ask

    def questions(self, path):
        """Those about it that nobody has taken up yet."""
        found = [question for question in self.asked if question.path == path]
        self.asked = [question for question in self.asked if question.path != path]
        return found

    def connect(self):
        """A new connection."""
        self.is_connected = True
        self.on_connected()


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def watches(link):
    return Watches(link, LAYOUT)


class Waiting:
    """Somebody who watches, and how often he was woken."""

    def __init__(self, watches, *keys):
        self.woken = 0
        self.when_woken = lambda: None
        self.stop = watches.add(frozenset(keys), self.wake)

    def wake(self, shown):
        self.woken += 1
        self.when_woken()


def look(link, life=OLD):
    """Answer the look at the pointer; returns the question that is the watch on it."""
    pointer, content = link.questions(LAYOUT.pointer)
    pointer.answer(SimpleNamespace())
    content.answer((life.encode(), None))
    return pointer


def question(link, key, life=OLD):
    (asked,) = link.questions(LAYOUT.register(life, key))
    return asked


@pytest.fixture
def one(link, watches):
    """Who watches one key, and the question that watches for him; it stands, and that woke him once."""
    waiting = Waiting(watches, "a")
    look(link)
    asked = question(link, "a")
    assert waiting.woken == 0
    asked.answer()
    assert waiting.woken == 1
    return SimpleNamespace(waiting=waiting, asked=asked)


def test_a_watch_is_set_again_before_anybody_is_woken(link, one):
    again = []
    one.waiting.when_woken = lambda: again.append(question(link, "a"))

    one.asked.watch(CHANGED)
    one.waiting.when_woken = lambda: None
    again[0].watch(CHANGED)

    assert one.waiting.woken == 3


def test_whoever_watches_several_is_woken_when_all_of_his_watches_stand(link, watches, one):
    other = Waiting(watches, "a", "b")
    assert other.woken == 0

    question(link, "b").answer()

    assert (other.woken, one.waiting.woken) == (1, 1)
    assert not link.asked, "the first stands already"


def test_after_a_lost_connection_everybody_is_woken_once_by_what_stands_on_the_new_one(link, watches, one):
    late = Waiting(watches, "b")
    unanswered = question(link, "b")
    one.asked.watch(LOST)
    assert one.waiting.woken == 1

    link.connect()
    look(link)
    one.asked.watch(CHANGED)  # of the old connection, and late: a wake too many, and nothing else
    unanswered.answer()
    assert (one.waiting.woken, late.woken) == (2, 0)

    for key in "ab":
        question(link, key).answer()
    assert (one.waiting.woken, late.woken) == (3, 1)


def test_a_watch_that_could_not_be_set_wakes_nobody_before_it_is_set_on_the_next_connection(link, watches):
    waiting = Waiting(watches, "a")
    look(link)
    question(link, "a").answer(exception=ConnectionLoss())
    assert waiting.woken == 0

    link.connect()
    look(link)
    question(link, "a").answer()

    assert waiting.woken == 1


def test_a_look_that_was_answered_on_an_old_connection_sets_nothing(link, watches):
    Waiting(watches, "a")
    _, content = link.questions(LAYOUT.pointer)
    link.connect()

    content.answer((OLD.encode(), None))
    assert not link.questions(LAYOUT.register(OLD, "a"))
    look(link, NEW)

    assert question(link, "a", NEW)


@pytest.mark.parametrize("data", [None, b"", b"somebody's"])
def test_a_pointer_that_somebody_else_made_is_no_life_to_watch_in(link, watches, data):
    Waiting(watches, "a")
    _, content = link.questions(LAYOUT.pointer)

    content.answer((data, None))

    assert not link.asked


def test_a_pointer_that_moves_has_everything_set_anew_in_its_new_life(link, watches):
    waiting = Waiting(watches, "a")
    pointer = look(link)
    question(link, "a").answer()

    pointer.watch(CHANGED)
    second = look(link, NEW)
    question(link, "a", NEW).answer()
    assert waiting.woken == 2

    pointer.watch(CHANGED)  # once more, of a watch that is void
    second.watch(LOST)
    assert not link.asked


def test_a_life_that_is_not_there_yet_or_is_none_sets_nothing(link, watches):
    Waiting(watches, "a")
    pointer, content = link.questions(LAYOUT.pointer)
    content.answer(exception=NoNodeError())
    pointer.watch(CHANGED)
    look(link, "hello")

    assert not link.asked


def test_a_look_that_could_not_be_asked_is_asked_by_the_next_who_watches(link, watches):
    link.is_connected = False
    first = Waiting(watches, "a")
    link.is_connected = True

    second = Waiting(watches, "b")
    look(link)
    for key in "ab":
        question(link, key).answer()

    assert (first.woken, second.woken) == (1, 1)


@pytest.mark.parametrize("how", ["before it stands", "when it fires", "with the connection"])
def test_nothing_is_kept_of_a_key_that_nobody_watches_any_more(link, watches, how):
    if how == "before it stands":
        link.is_connected = False
        Waiting(watches, "a").stop()
    else:
        waiting = Waiting(watches, "a")
        look(link)
        asked = question(link, "a")
        asked.answer()
        waiting.stop()
        asked.watch(CHANGED) if how == "when it fires" else link.connect()
        assert waiting.woken == 1

    assert not watches._nodes
    assert not link.asked


def test_a_watch_of_the_parent_is_stopped_in_a_forked_child_without_its_lock(link, watches, one):
    link.is_ours = False

    with watches._lock:  # as a thread held it that the child does not have
        one.waiting.stop()


def test_after_the_end_nobody_is_woken(link, watches, one):
    other = Waiting(watches, "a")
    one.waiting.when_woken = other.when_woken = watches.close

    one.asked.watch(CHANGED)
    for asked in link.questions(LAYOUT.register(OLD, "a")):
        asked.answer()
        asked.watch(CHANGED)

    assert one.waiting.woken + other.woken == 2, "the end came in the middle of it"


def test_who_could_not_watch_as_no_client_could_be_started_is_not_woken_later(link, watches, monkeypatch):
    """Whoever keeps a list of what to watch asks again, and would be woken once more for each time that he did."""
    woken = []

    def fail():
        raise BackendUnavailable("no threads")

    monkeypatch.setattr(link, "begin", fail)
    with pytest.raises(BackendUnavailable):
        watches.add(frozenset({"name/a"}), woken.append)
    monkeypatch.undo()
    again = Waiting(watches, "name/a")

    look(link)
    question(link, "name/a").answer()

    assert (again.woken, woken) == (1, [])
