"""What is no transaction is refused: connections that commit each statement, and savepoints."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from uuid import uuid4

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from leaderlock.errors import UsageError
from tests.fences.sql.conftest import COUNTS

refused = pytest.raises(UsageError, match="AUTOCOMMIT")


def without_transactions(database, way):
    if way == "by execution option":
        return database.plain.execution_options(isolation_level="AUTOCOMMIT")
    if way == "on the engine":
        return database.engine(isolation_level="AUTOCOMMIT")
    engine = database.engine()

    @event.listens_for(engine, "connect")
    def by_the_driver(driver, _):
        if database.kind == "postgresql":
            driver.autocommit = True
        elif database.kind == "mariadb":
            driver.autocommit(True)
        elif hasattr(driver, "autocommit"):  # Python 3.12
            driver.autocommit = True
        else:
            driver.isolation_level = None

    return engine


@pytest.mark.parametrize("way", ["by execution option", "on the engine", "by the driver"])
def test_a_connection_that_commits_each_statement_is_refused(database, way):
    with without_transactions(database, way).connect() as connection, refused:
        database.fence.stamp(connection, 7)

    if database.is_server:  # SQLite's driver shows only afterwards that it did not begin
        assert database.highest() == 0


def test_a_session_on_such_a_connection_is_refused(database):
    with Session(without_transactions(database, "on the engine")) as session, refused:
        database.fence.stamp(session, 7)


def test_what_the_server_was_told_in_words_is_known_too(open_database):
    database = open_database("mariadb")

    with database.plain.connect() as connection:
        connection.execute(text("SET autocommit = 1"))
        with refused:
            database.fence.stamp(connection, 7)
        connection.execute(text("SET autocommit = 0"))


# -- savepoints


def test_a_savepoint_is_refused_as_its_rollback_would_take_the_stamp_with_it(database):
    to_be_told = pytest.raises(UsageError, match="before begin_nested")

    with database.plain.begin() as connection, connection.begin_nested(), to_be_told:
        database.fence.stamp(connection, 7)
    with Session(database.plain) as session, session.begin_nested(), to_be_told:
        database.fence.stamp(session, 7)

    assert database.highest() == 0


def test_a_savepoint_after_the_stamp_may_be_rolled_back(database):
    with database.plain.begin() as connection:
        database.fence.stamp(connection, 7)
        with connection.begin_nested() as savepoint:
            database.put(connection, 1)
            savepoint.rollback()

    assert (database.value(), database.highest()) == (0, 7)


def test_a_session_whose_own_transaction_is_a_savepoint_is_stamped(database):
    """As in the tests of many users, which roll everything back in the end."""
    with database.plain.connect() as connection, connection.begin():
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            database.fence.stamp(session, 7)
            session.commit()
            database.fence.stamp(session, 8)
            session.rollback()
        assert database.fence.highest(connection) == 7


def test_in_every_database_a_savepoint_that_is_rolled_back_takes_the_stamp_with_it(database):
    """Why they are refused: said in words, so that SQLAlchemy does not know of it."""
    with database.plain.begin() as connection:
        database.put(connection, 0)
        connection.execute(text("SAVEPOINT here"))
        database.fence.stamp(connection, 7)
        connection.execute(text("ROLLBACK TO SAVEPOINT here"))

        assert database.fence.highest(connection) == 0


def test_postgresql_gives_the_lock_to_others_when_a_savepoint_is_rolled_back(open_database):
    database = open_database("postgresql")

    with database.plain.begin() as connection:
        connection.execute(text("SAVEPOINT here"))
        database.fence.stamp(connection, 7)
        connection.execute(text("ROLLBACK TO SAVEPOINT here"))
        database.write(8)  # by another, who does not wait

        assert database.fence.highest(connection) == 8


# -- transactions that the database has ended


def end_by_a_deadlock(database, connection):
    """A statement of ``connection`` for which MariaDB rolls back all that came before, too."""
    with database.plain.connect() as other:
        row = str(uuid4())
        other.execute(COUNTS.insert(), [{"id": f"{row} {n}", "value": 0} for n in range(50)])  # it has more to lose
        waits = threading.Thread(target=database.put, args=[other, 6])
        waits.start()
        database.until_somebody_waits()
        try:
            connection.execute(COUNTS.insert().values(id=f"{row} 0", value=0))
        finally:
            waits.join()
            other.rollback()


def end_by_a_full_disk(_, connection):
    connection.execute(text("PRAGMA max_page_count = 10"))
    connection.execute(COUNTS.insert().values(id="long" * 30_000, value=0))


ENDS = {"mariadb": end_by_a_deadlock, "sqlite": end_by_a_full_disk}


@pytest.mark.parametrize("savepoint", [False, True], ids=["", "in a savepoint"])
@pytest.mark.parametrize("kind", ENDS)
def test_who_goes_on_in_a_transaction_that_the_database_has_ended_is_not_fenced(open_database, kind, savepoint):
    """docs/fences/sql.md: let the error leave the block."""
    database = open_database(kind)

    with database.plain.begin() as old:
        database.fence.stamp(old, 7)
        database.put(old, 7)
        with pytest.raises(DBAPIError), old.begin_nested() if savepoint else nullcontext():
            ENDS[kind](database, old)
        database.write(8, value=8)
        database.put(old, 7)

    assert (database.value(), database.highest()) == (7, 8)
