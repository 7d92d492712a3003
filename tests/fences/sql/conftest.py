"""Databases to attack: PostgreSQL and MariaDB as servers of the tests' own, SQLite as files."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    select,
    text,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from leaderlock.fences.sql import SqlFence
from tests.servers.loopback import until
from tests.servers.mariadb import MariaServer
from tests.servers.postgres import PostgresServer

ALL = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
LEVELS = {
    "postgresql": ALL,
    "mariadb": ALL,
    "mariadb-snapshot": ALL,
    "sqlite": ("READ UNCOMMITTED", "SERIALIZABLE"),
    "sqlite-wal": ("READ UNCOMMITTED", "SERIALIZABLE"),
}
"""The kinds of databases, and their isolation levels. ``snapshot`` is MariaDB as it is by default from 11.6.2 on."""
CONFLICTS = ("40001", "40P01", 1020, 1205, 1213, "database is locked", "database table is locked")
"""What the databases say to one of two transactions that cannot both be: begin anew."""

COUNTS = Table(
    "counts",
    MetaData(),
    Column("id", String(64), primary_key=True),
    Column("value", Integer, nullable=False),
    Column("token", BigInteger, nullable=False, default=0),
    mysql_engine="InnoDB",
    mariadb_engine="InnoDB",
)


def is_conflict(error: DBAPIError) -> bool:
    cause = error.orig
    return bool({getattr(cause, "sqlstate", None), *cause.args} & set(CONFLICTS))


@dataclass
class Database:
    """One database, with a fence and a number that it protects. ``url`` is for another process, too."""

    kind: str
    url: str
    level: str | None = None
    options: dict[str, object] = field(default_factory=dict)
    fence: SqlFence = field(default_factory=lambda: SqlFence(f"of {uuid4()}"))
    engines: ExitStack = field(default_factory=ExitStack)

    @property
    def is_server(self) -> bool:
        return not self.kind.startswith("sqlite")

    @cached_property
    def plain(self) -> Engine:
        return self.engine()

    def engine(self, *, wait: float = 30.0, **options: object) -> Engine:
        """Whose connections wait so many seconds for a lock. Gone after the test."""
        options = self.options | options
        if self.level is not None:
            options.setdefault("isolation_level", self.level)
        if not self.is_server:
            options.setdefault("connect_args", {"timeout": wait})
        engine = create_engine(self.url, **options)
        for statement in self._settings(wait):
            event.listen(engine, "connect", lambda driver, _, statement=statement: _say(driver, statement))
        self.engines.callback(engine.dispose)
        return engine

    def _settings(self, wait: float) -> Iterator[str]:
        if self.kind == "postgresql":
            yield f"SET lock_timeout = {int(wait * 1000)}"
        elif self.is_server:
            yield f"SET SESSION innodb_lock_wait_timeout = {max(1, int(wait))}"
            yield f"SET SESSION innodb_snapshot_isolation = {'ON' if self.kind == 'mariadb-snapshot' else 'OFF'}"

    def create(self) -> None:
        """The table of watermarks, and a number, 0."""
        self.fence.create(self.plain)
        COUNTS.create(self.plain, checkfirst=True)
        with self.plain.begin() as connection:
            connection.execute(COUNTS.insert().values(id=self.fence.resource, value=0))

    @property
    def _mine(self) -> ColumnElement[bool]:
        return COUNTS.c.id == self.fence.resource

    def value(self, connection: Connection | None = None) -> int:
        """The number that is protected, as ``connection`` sees it."""
        look = select(COUNTS.c.value).where(self._mine)
        if connection is not None:
            return connection.execute(look).scalar_one()
        with self.plain.connect() as one:
            return one.execute(look).scalar_one()

    def put(self, connection: Connection, value: int) -> None:
        connection.execute(COUNTS.update().where(self._mine).values(value=value))

    def highest(self) -> int:
        with self.plain.connect() as connection:
            return self.fence.highest(connection)

    def write(self, token: int, value: int = 1) -> None:
        """As a leader does it."""
        with self.plain.begin() as connection:
            self.fence.stamp(connection, token)
            self.put(connection, value)

    def add_one(self, connection: Connection | Session, token: int) -> None:
        """As a leader does it who reads, thinks, and writes: two of them at once would lose one addition."""
        self.fence.stamp(connection, token)
        value, by = connection.execute(select(COUNTS.c.value, COUNTS.c.token).where(self._mine)).one()
        assert by <= token, f"{token} was admitted after {by}"
        connection.execute(COUNTS.update().where(self._mine).values(value=value + 1, token=token))

    def until_somebody_waits(self) -> None:
        """For a lock; SQLite does not tell."""
        looks = {
            "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'",
            # Not innodb_trx, which is a copy, made anew only for who has not looked for a tenth of a second.
            "mariadb": "SELECT variable_value + 0 FROM information_schema.global_status"
            " WHERE variable_name = 'innodb_row_lock_current_waits'",
        }
        look = looks.get(self.kind.partition("-")[0])
        if look is not None:
            with self.engine(isolation_level="AUTOCOMMIT").connect() as connection:
                until(lambda: connection.execute(text(look)).scalar(), "somebody waits for a lock")


def _say(driver: object, statement: str) -> None:
    cursor = driver.cursor()
    cursor.execute(statement)
    cursor.close()
    driver.commit()


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    with PostgresServer().running() as server:
        yield server


@pytest.fixture(scope="session")
def maria() -> Generator[MariaServer]:
    with MariaServer().running() as server:
        yield server


@pytest.fixture
def open_database(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[Callable[..., Database]]:
    """A database by its kind, with the table of watermarks and a number, 0."""
    with ExitStack() as stack:

        def opened(kind: str, level: str | None = None) -> Database:
            server = {"postgresql": "postgres", "mariadb": "maria", "mariadb-snapshot": "maria"}.get(kind)
            url = request.getfixturevalue(server).url() if server else f"sqlite:///{tmp_path / 'database'}"
            database = Database(kind, url, level)
            stack.enter_context(database.engines)
            if kind == "sqlite-wal":
                with database.plain.connect() as connection:
                    connection.execute(text("PRAGMA journal_mode = wal"))
            database.create()
            return database

        yield opened


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def database(request: pytest.FixtureRequest, open_database: Callable[..., Database]) -> Database:
    """Each of them in turn, at the isolation level that it has by itself."""
    return open_database(request.param)


@pytest.fixture(params=[(kind, level) for kind, levels in LEVELS.items() for level in levels], ids="-".join)
def database_at_level(request: pytest.FixtureRequest, open_database: Callable[..., Database]) -> Database:
    """Each of them in turn, at each level that it has."""
    return open_database(*request.param)
