"""Leaders who reach PostgreSQL through PgBouncer, and share its connections."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack

import psycopg
import pytest
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import DBAPIError

from leaderlock.errors import StaleToken
from leaderlock.fences import check_refuses_stale
from leaderlock.fences.sql import SqlFence, fence_table
from tests.fences.sql.conftest import Database
from tests.fences.sql.test_sql_leaders import together, until_admitted
from tests.fences.sql.test_sql_page import block
from tests.servers.pgbouncer import PgBouncer

UNPREPARED = {"connect_args": {"prepare_threshold": None}}
"""As docs/fences/sql.md tells users of psycopg."""


@pytest.fixture
def pooled(postgres, open_database) -> Generator[Callable[..., Database]]:
    """The same database, through a pool of a mode."""
    direct = open_database("postgresql")
    with ExitStack() as stack:

        def opened(mode: str, size: int = 2, level: str | None = None) -> Database:
            pool = stack.enter_context(PgBouncer(postgres.port, mode, size).running())
            database = Database("postgresql", pool.url(), level, UNPREPARED, direct.fence)
            stack.enter_context(database.engines)
            return database

        yield opened


def plain_url(database: Database) -> str:
    return database.url.replace("+psycopg", "")


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_stale_leader_is_refused_though_it_shares_the_new_ones_connection(pooled, mode):
    database = pooled(mode)
    other = database.engine()

    check_refuses_stale(database.write)
    for token in range(10, 30):
        database.write(token)
        with other.connect() as connection, pytest.raises(StaleToken):
            database.fence.stamp(connection, token - 1)


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_leaders_who_share_two_connections_lose_no_update(pooled, level):
    database = pooled("transaction", level=level)

    def lead() -> None:
        engine = database.engine()

        def add_one() -> None:
            with engine.begin() as connection:
                database.add_one(connection, 7)

        for _ in range(8):
            until_admitted(add_one)

    together(*[lead] * 4)

    assert database.value() == 32


def test_the_statement_for_psycopg_is_a_fence_through_a_pool_of_transactions(pooled):
    database = pooled("transaction")
    names = {"StaleToken": StaleToken}
    exec(block("python", "ON CONFLICT"), names)

    def write(token: int) -> None:
        with psycopg.connect(plain_url(database), prepare_threshold=None) as connection:
            names["stamp"](connection, database.fence.resource, token)

    check_refuses_stale(write)
    for token in range(10, 20):
        write(token)
    assert database.highest() == 19


def test_a_pool_of_statements_refuses_to_begin(pooled):
    database = pooled("statement")

    with pytest.raises(DBAPIError, match="transaction blocks not allowed"):
        database.write(7)


def test_a_column_of_ones_own_needs_no_transaction_and_so_works_in_a_pool_of_statements(pooled):
    database = pooled("statement")
    statement = "UPDATE counts SET value = 1, token = %s WHERE id = %s AND token <= %s"

    def write(token: int) -> None:
        with psycopg.connect(plain_url(database), autocommit=True, prepare_threshold=None) as connection:
            if not connection.execute(statement, (token, database.fence.resource, token)).rowcount:
                raise StaleToken("refused", token=token, highest=token + 1)

    check_refuses_stale(write)


# -- what a client sets stays with the connection, which others use after it


def in_schema(name: str | None, resource: str) -> SqlFence:
    return SqlFence(resource, table=fence_table(MetaData(), schema=name))


def set_path(database: Database, path: str) -> None:
    with database.engine().begin() as connection:
        connection.execute(text(f"SET search_path = {path}"))


def stamp(database: Database, fence: SqlFence, token: int) -> None:
    with database.plain.begin() as connection:
        fence.stamp(connection, token)


def test_another_clients_search_path_leads_to_another_watermark_unless_the_schema_is_named(pooled):
    database = pooled("transaction", size=1)
    named = in_schema("public", database.fence.resource)
    with database.plain.begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS tenant"))
        in_schema("tenant", database.fence.resource).create(connection)
    stamp(database, named, 8)

    set_path(database, "tenant")

    stamp(database, database.fence, 7)  # docs/fences/sql.md: name it
    with pytest.raises(StaleToken):
        stamp(database, named, 7)


def test_a_bound_on_the_wait_that_is_set_locally_reads_nothing_and_ends_with_the_transaction(pooled):
    database = pooled("transaction", level="REPEATABLE READ")

    def bound(connection: Connection) -> str:
        return connection.execute(text("SHOW lock_timeout")).scalar_one()

    with database.plain.connect() as new:
        before = bound(new)
        new.rollback()
        new.execute(text("SET LOCAL lock_timeout = '7s'"))
        database.write(7, value=1)  # by the old one, from another connection
        database.fence.stamp(new, 8)
        assert database.value(new) == 1
        assert bound(new) == "7s"
        new.commit()
        assert bound(new) == before


# -- connections that end


@pytest.mark.parametrize("point", ["stamp", "write"])
def test_a_transaction_whose_connection_ends_raises_and_leaves_nothing(pooled, open_database, point):
    database, direct = pooled("transaction"), open_database("postgresql")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle in transaction'"

    def write() -> None:
        with database.plain.begin() as connection:
            database.fence.stamp(connection, 7)
            if point == "write":
                database.put(connection, 7)
            with direct.plain.connect() as killer:
                assert killer.execute(text(end)).rowcount == 1
            if point == "stamp":
                database.put(connection, 7)

    with pytest.raises(DBAPIError):
        write()
    assert (database.value(), database.highest()) == (0, 0)
