"""Connections: how many are kept, which are closed, what a fork waits for, and which settings they have."""

import sqlite3
import threading
import time

import pytest

from leaderlock.errors import BackendRefused, BackendUnavailable, OutcomeUnknown, UsageError
from leaderlock_sqlite import _file, _pool
from leaderlock_sqlite._file import open_connection
from leaderlock_sqlite._pool import Pool

TIMEOUT = 20.0

pytestmark = pytest.mark.timeout(2 * TIMEOUT)


def far():
    return time.monotonic() + TIMEOUT


def soon():
    return time.monotonic() + 0.05


@pytest.fixture
def path(tmp_path):
    return tmp_path / "leader.db"


@pytest.fixture
def pool(path):
    pool = Pool(path)
    yield pool
    pool.close()


def is_open(connection):
    try:
        connection.raw.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


# -- loans


def test_of_many_connections_a_few_are_kept(pool):
    lent = [pool.take(far()) for _ in range(6)]

    for connection in lent:
        pool.give_back(connection, keep=True)

    assert sum(map(is_open, lent)) == 4


def test_what_is_in_use_while_the_pool_is_closed_is_closed_when_it_is_given_back(pool):
    connection = pool.take(far())

    pool.close()
    assert is_open(connection)
    pool.give_back(connection, keep=True)

    assert not is_open(connection)
    with pytest.raises(UsageError, match="closed"):
        pool.take(far())


class Interrupting:
    """A connection in whose close Ctrl-C is raised."""

    def __init__(self, raw):
        self.raw = raw

    def close(self):
        self.raw.close()
        raise KeyboardInterrupt


def test_a_close_that_was_interrupted_half_way_is_finished_by_the_next_one(pool):
    first, last = pool.take(far()), pool.take(far())
    for connection in (first, last):
        pool.give_back(connection, keep=True)
    first_raw, last_raw = first.raw, last.raw
    first.raw, last.raw = Interrupting(first_raw), Interrupting(last_raw)
    with pytest.raises(KeyboardInterrupt):
        pool.close()
    first.raw, last.raw = first_raw, last_raw

    pool.close()

    assert not is_open(first)
    assert not is_open(last)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, sqlite3.OperationalError("database is locked")])
def test_a_connection_that_an_error_has_left_is_not_lent_again(pool, error):
    kind = BackendUnavailable if isinstance(error, sqlite3.Error) else error

    with pytest.raises(kind), pool.use(far()) as connection:
        raise error

    assert not is_open(connection)


@pytest.mark.parametrize("is_rolled_back", [True, False])
def test_after_a_commit_that_was_not_synced_a_connection_is_kept_if_nothing_is_under_way_on_it(pool, is_rolled_back):
    unsynced = failure(sqlite3.SQLITE_IOERR_FSYNC)

    connection = pool.take(far())
    if not is_rolled_back:
        connection.raw.execute("BEGIN IMMEDIATE")
    pool.give_back(connection, keep=True)

    with pytest.raises(OutcomeUnknown), pool.use(far()):
        raise OutcomeUnknown("was it?") from unsynced

    assert is_open(connection) == is_rolled_back


def test_a_connection_to_a_file_that_was_removed_is_not_lent_again(pool, path):
    connection = pool.take(far())
    pool.give_back(connection, keep=True)
    path.unlink()

    another = pool.take(far())

    assert another is not connection
    assert not is_open(connection)
    pool.give_back(another, keep=False)


# -- forks


def test_a_fork_waits_for_what_is_lent_and_finds_everything_closed(pool, monkeypatch):
    monkeypatch.setattr(_pool, "_FORK_PATIENCE", TIMEOUT)
    idle, connection = pool.take(far()), pool.take(far())
    pool.give_back(idle, keep=True)
    forking = threading.Thread(target=pool.before_fork)
    forking.start()
    until = far()
    while not pool._forks and time.monotonic() < until:
        time.sleep(0.005)
    forking.join(0.1)
    assert forking.is_alive(), "it waits"

    pool.give_back(connection, keep=True)
    forking.join(TIMEOUT / 2)

    assert not forking.is_alive()
    assert not is_open(idle)
    assert not is_open(connection)
    pool.after_fork_in_parent()


def test_what_is_given_back_too_late_for_a_fork_that_waited_long_enough_is_closed_all_the_same(pool, monkeypatch):
    monkeypatch.setattr(_pool, "_FORK_PATIENCE", 0.01)
    connection = pool.take(far())
    pool.before_fork()

    pool.give_back(connection, keep=True)

    assert not is_open(connection)
    pool.after_fork_in_parent()


def test_a_fork_does_not_wait_for_a_loan_that_failed(pool, path, monkeypatch):
    monkeypatch.setattr(_pool, "_FORK_PATIENCE", TIMEOUT)
    path.mkdir()
    with pytest.raises(BackendRefused, match="directory"):
        pool.take(far())
    began = time.monotonic()

    pool.before_fork()

    assert time.monotonic() - began < TIMEOUT / 2
    pool.after_fork_in_parent()


def test_while_the_process_forks_nothing_is_lent_and_nobody_waits_longer_than_he_has(pool):
    pool.before_fork()
    with pytest.raises(BackendUnavailable, match="forking"):
        pool.take(soon())
    pool.after_fork_in_parent()

    pool.give_back(pool.take(far()), keep=True)


def test_a_pool_that_was_made_in_the_middle_of_a_fork_lends(pool):
    pool.after_fork_in_parent()

    pool.give_back(pool.take(far()), keep=True)


@pytest.mark.parametrize("was_idle", [False, True])
def test_what_is_lent_at_a_fork_is_never_closed_in_the_child(pool, monkeypatch, was_idle):
    monkeypatch.setattr(_pool, "_leaked", [])
    connection = pool.take(far())
    if was_idle:
        pool.give_back(connection, keep=True)
        assert pool.take(far()) is connection

    pool.after_fork_in_child()  # and this test is its parent, too

    assert _pool._leaked == [connection]
    with pytest.raises(UsageError, match="forked"):
        pool.take(far())
    connection.raw.close()


# -- opening


def test_a_connection_has_the_settings_that_keep_what_was_acknowledged(path):
    connection = open_connection(path, far())

    settings = ("journal_mode", "synchronous", "fullfsync", "busy_timeout")
    values = [connection.raw.execute(f"PRAGMA {name}").fetchone()[0] for name in settings]
    assert values == ["wal", 2, 1, 3]
    assert connection.raw.isolation_level is None
    connection.raw.close()


def test_a_file_that_is_replaced_all_the_time_is_given_up_in_time(path, monkeypatch):
    numbers = iter(range(10**9))
    monkeypatch.setattr(_file, "_node", lambda path: (0, next(numbers)))

    with pytest.raises(BackendUnavailable, match="replaced all the time"):
        open_connection(path, soon())


def test_a_file_that_is_refused_is_closed(path, monkeypatch):
    with sqlite3.connect(path) as theirs:
        theirs.execute("CREATE TABLE theirs (x)")
    theirs.close()
    opened, connect = [], sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *how, **settings: opened.append(connect(*how, **settings)) or opened[-1]
    )

    with pytest.raises(BackendRefused, match="another application"):
        open_connection(path, far())

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


class Raw:
    """A connection that answers the wish for a log in one way."""

    def __init__(self, answer):
        self.answer = answer

    def execute(self, statement):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self

    def fetchone(self):
        return (self.answer,)


def failure(code):
    error = sqlite3.OperationalError("busy, or not")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("answer", "seconds", "error"),
    [
        (failure(sqlite3.SQLITE_BUSY), 0.05, sqlite3.OperationalError),
        (failure(sqlite3.SQLITE_IOERR), TIMEOUT, sqlite3.OperationalError),
        ("delete", TIMEOUT, BackendRefused),
    ],
)
def test_a_log_that_cannot_be_had_is_given_up_in_time(path, answer, seconds, error):
    began = time.monotonic()

    with pytest.raises(error):
        _file._use_wal(Raw(answer), path, time.monotonic() + seconds)

    assert time.monotonic() - began < TIMEOUT / 2
