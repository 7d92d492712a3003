"""Two leaders of one database, the old one in the middle of its transaction, at every isolation level."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from leaderlock.errors import StaleToken
from tests.fences.sql.conftest import Database, is_conflict


def until_admitted(transaction: Callable[[], None]) -> None:
    """Run it again whenever the database says that it could not be, as its isolation level demands of its users."""
    for _ in range(1000):
        try:
            return transaction()
        except DBAPIError as error:
            if not is_conflict(error):
                raise
    raise AssertionError("a thousand conflicts one after another")


def together(*works: Callable[[], None]) -> None:
    """All at once; the first error of any of them is raised."""
    ready, errors = threading.Barrier(len(works)), []

    def run(work: Callable[[], None]) -> None:
        try:
            ready.wait(20)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_a_new_leader_waits_for_the_old_ones_transaction_and_then_sees_what_it_wrote(database_at_level):
    database = database_at_level
    database.write(7, value=0)
    seen = []

    def take_over() -> None:
        with database.plain.begin() as connection:
            database.fence.stamp(connection, 8)
            seen.append(database.value(connection))

    with database.plain.connect() as old:
        database.fence.stamp(old, 7)
        database.put(old, 1)
        new = threading.Thread(target=until_admitted, args=[take_over])
        new.start()
        database.until_somebody_waits()
        assert seen == []
        old.commit()
    new.join()

    assert seen == [1]


def test_an_old_leader_whose_transaction_began_before_the_new_one_stamped_never_commits(database_at_level):
    database = database_at_level
    database.write(7, value=1)

    with database.plain.connect() as old:
        old.execute(text("SELECT count(*) FROM counts WHERE id = 'a'")).all()  # here its snapshot is taken
        database.write(8, value=2)
        with pytest.raises((StaleToken, DBAPIError)) as refused:
            database.fence.stamp(old, 7)
        assert refused.type is StaleToken or is_conflict(refused.value)

    assert (database.value(), database.highest()) == (2, 8)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb-snapshot"])
def test_a_new_leader_who_has_read_before_it_stamped_is_told_that_this_is_old(open_database, kind):
    database = open_database(kind, "REPEATABLE READ")
    database.write(7, value=0)

    with database.plain.connect() as new:
        assert database.value(new) == 0
        database.write(7, value=1)  # the old one, whose token is no news
        with pytest.raises(DBAPIError) as refused:
            database.fence.stamp(new, 8)
        assert is_conflict(refused.value)


def test_before_snapshot_isolation_mariadb_goes_on_showing_what_was_read_before_the_stamp(open_database):
    database = open_database("mariadb", "REPEATABLE READ")
    database.write(7, value=0)

    with database.plain.connect() as new:
        assert database.value(new) == 0
        database.write(7, value=1)
        database.fence.stamp(new, 8)

        assert database.value(new) == 0  # docs/fences/sql.md: stamp first


def test_leaders_in_threads_lose_no_update_and_tokens_only_rise(database_at_level):
    database = database_at_level
    tokens = itertools.count(1)

    def add_one(token: int) -> None:
        with database.plain.begin() as connection:
            database.add_one(connection, token)

    def lead() -> None:
        token, done = next(tokens), 0
        while done < 8:
            try:
                until_admitted(partial(add_one, token))
                done += 1
            except StaleToken:
                token = next(tokens)

    together(*[lead] * 4)

    assert database.value() == 32


def test_one_holders_transactions_exclude_each_other_too(database_at_level):
    database = database_at_level

    def add_one() -> None:
        with database.plain.begin() as connection:
            database.add_one(connection, 7)

    def lead() -> None:
        for _ in range(8):
            until_admitted(add_one)

    together(*[lead] * 3)

    assert database.value() == 24


def test_of_many_who_stamp_a_resource_for_the_first_time_the_highest_stays(database_at_level):
    database = database_at_level
    admitted, refused = [], []

    def stamp(token: int) -> None:
        with database.plain.begin() as connection:
            database.fence.stamp(connection, token)

    def lead(token: int) -> None:
        try:
            until_admitted(partial(stamp, token))
            admitted.append(token)
        except StaleToken as error:
            refused.append((error.token, error.highest))

    together(*[partial(lead, token) for token in range(1, 6)])

    assert database.highest() == 5
    assert 5 in admitted
    assert len(admitted) + len(refused) == 5
    assert all(token < highest for token, highest in refused)


# -- SQLite begins when it sees a write, unless it is told otherwise

AT_ONCE = ["by an event", *(["by autocommit=False"] if hasattr(sqlite3, "LEGACY_TRANSACTION_CONTROL") else [])]
"""The second is Python's own way since 3.12."""


@pytest.fixture
def wal(open_database) -> Database:
    return open_database("sqlite-wal")


@pytest.fixture(params=AT_ONCE)
def begun(request, wal):
    """Connections of which each transaction begins with BEGIN, and thus can read before it writes."""
    if request.param == "by autocommit=False":
        return wal.engine(connect_args={"timeout": 30, "autocommit": False})
    engine = wal.engine()

    @event.listens_for(engine, "connect")
    def switch_off(driver, _):
        driver.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    return engine


def test_sqlite_that_was_told_to_begin_at_once_is_stamped(wal, begun):
    with begun.begin() as connection:
        wal.fence.stamp(connection, 7)
        wal.put(connection, 1)
    with begun.connect() as connection:
        wal.fence.stamp(connection, 8)
        wal.put(connection, 2)
        connection.rollback()

    assert (wal.value(), wal.highest()) == (1, 7)


def test_an_old_snapshot_of_sqlite_is_refused_at_once(wal, begun):
    wal.write(7)

    with begun.connect() as old:
        assert wal.value(old) == 1
        wal.write(8, value=2)
        with pytest.raises(DBAPIError, match="locked"):
            wal.fence.stamp(old, 7)
        with pytest.raises(DBAPIError, match="locked"):
            wal.fence.stamp(old, 9)  # nor could it know what it would write upon


def test_sqlite_without_a_snapshot_shows_what_was_written_while_the_stamp_waited(wal, begun):
    wal.write(7)
    seen = []

    def take_over() -> None:
        with begun.begin() as connection:
            wal.fence.stamp(connection, 8)
            seen.append(wal.value(connection))

    with begun.connect() as old:
        wal.fence.stamp(old, 7)
        new = threading.Thread(target=take_over)
        new.start()
        wal.put(old, 2)
        old.commit()
    new.join()

    assert seen == [2]
