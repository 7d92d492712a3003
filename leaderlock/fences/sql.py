"""A database in which a stale leader's transaction does not commit.

The watermark is a row. A transaction begins by stamping: one statement locks the row, raises it, and says what it holds
now. Whatever the transaction writes then commits with the stamp, or not at all; another leader's stamp waits for that.
So a new leader that has stamped sees everything its predecessor committed, and of that nothing more will come.

Not promised: anything against programs that write without stamping; what was read *before* the stamp, which may be old;
more than the database keeps: a failover that forgets commits forgets stamps, too. And a transaction that goes on
although its stamp has raised is not fenced, nor is one whose later error (a deadlock, a full disk) has rolled the stamp
back: let errors leave the block, so that all is rolled back.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final, cast

from leaderlock.errors import UsageError
from leaderlock.fences._token import WatermarkLost, admit, check_token

try:
    from sqlalchemy import (
        BigInteger,
        Column,
        Connection,
        Engine,
        Executable,
        MetaData,
        Select,
        String,
        Table,
        func,
        inspect,
        select,
    )
    from sqlalchemy.dialects import mysql, postgresql, sqlite
    from sqlalchemy.orm import Session
    from sqlalchemy.schema import CreateTable
except ImportError as error:
    raise ImportError(
        f"leaderlock.fences.sql needs SQLAlchemy 2.0 or later ({error}); `pip install 'leaderlock[sqlalchemy]'`"
    ) from error

__all__ = ["SqlFence", "fence_table"]

_DIALECTS: Final = ("postgresql", "sqlite", "mysql", "mariadb")
_LONGEST: Final = 255
_CREATING: Final = 0x1EADE12_10C4
"""Names an advisory lock of PostgreSQL: any number that nobody else is likely to take."""


def fence_table(metadata: MetaData, *, name: str = "leaderlock_fences", schema: str | None = None) -> Table:
    """The table of watermarks, one row for each resource, as part of ``metadata``: there Alembic sees it.

    ``stamps`` counts. It makes each stamp a change of the row, even the holder's second, so that a database that looks
    for conflicts (serializable transactions, MariaDB's snapshot isolation) finds this one.
    """
    # Byte for byte: MySQL's own collations take "Orders" and "orders" for the same.
    exact = mysql.VARCHAR(_LONGEST, charset="utf8mb4", collation="utf8mb4_bin")
    return Table(
        name,
        metadata,
        Column("resource", String(_LONGEST).with_variant(exact, "mysql", "mariadb"), primary_key=True),
        Column("token", BigInteger, nullable=False),
        Column("stamps", BigInteger, nullable=False),
        schema=schema,
        mysql_engine="InnoDB",  # others have no transactions
        mariadb_engine="InnoDB",
    )


class SqlFence:
    """Admits a token into a transaction: PostgreSQL, SQLite 3.35 or later, MySQL and MariaDB (InnoDB).

    ``resource`` names what is fenced; one table has room for any number of them. ``table`` is what :func:`fence_table`
    made, for those whose ``MetaData`` should know it. One fence serves any number of threads and databases.

    Raises:
        ValueError, TypeError: ``resource`` is not 1 to 255 printable characters without spaces around them; ``table``
            was made otherwise.
    """

    def __init__(self, resource: str, *, table: Table | None = None) -> None:
        self.resource = _checked_resource(resource)
        self.table = fence_table(MetaData()) if table is None else _checked_table(table)

    def __repr__(self) -> str:
        return f"SqlFence({self.resource!r})"

    def create(self, bind: Engine | Connection) -> None:
        """Create the table if it is not there; many may do so at once.

        In asyncio: ``await connection.run_sync(fence.create)``. MySQL commits the transaction in which it creates.

        Raises:
            UsageError: MySQL has it, but not as an InnoDB table.
        """
        table = self.table
        with bind.begin() if isinstance(bind, Engine) else contextlib.nullcontext(bind) as given:
            connection = _connection(given, table)
            dialect = connection.dialect.name
            if dialect == "postgresql":
                # There IF NOT EXISTS is no lock: of two at once, one would fail on the catalogue's own index.
                connection.execute(select(func.pg_advisory_xact_lock(_CREATING)))
            if not inspect(connection).has_table(table.name, schema=table.schema):
                connection.execute(CreateTable(table, if_not_exists=True))
            if dialect in ("mysql", "mariadb"):
                options = inspect(connection).get_table_options(table.name, schema=table.schema)
                if options.get(f"{dialect}_engine") != "InnoDB":
                    raise UsageError(f"{table.name} has no transactions: ALTER TABLE {table.name} ENGINE=InnoDB")

    def stamp(self, connection: Connection | Session, token: int) -> None:
        """Admit a token for the rest of this transaction: its first statement, before anything is read or written.

        It waits while another transaction holds the stamp, for as long as the database allows. In asyncio:
        ``await session.run_sync(fence.stamp, token)``.

        Raises:
            StaleToken: a newer leader has stamped; let this leave the transaction's block, which rolls it back.
            UsageError: the connection commits each statement by itself (AUTOCOMMIT), so stamp and writes would not be
                one step (in SQLite the token has been admitted by the time that this is seen); or a savepoint is open,
                whose rollback would undo the stamp and let the transaction go on.
            WatermarkLost: the row does not keep what is written to it.
            ValueError, TypeError: the token is none; or this is no SQLAlchemy connection to a database named above.
            sqlalchemy.exc.DBAPIError: whatever the database raised (a lock not had in time, a serialization failure, a
                deadlock, no such table). Nothing is known to be admitted then: roll back, and begin anew.
        """
        check_token(token)
        transaction = _connection(connection, self.table)
        if connection.in_nested_transaction():
            raise UsageError(
                f"{self!r}: stamp before begin_nested(): a savepoint that is rolled back takes the stamp with it"
            )
        begins_late = transaction.dialect.name == "sqlite"  # its driver begins only when it sees a write
        if not begins_late:
            _refuse_autocommit(transaction)
        highest = self._raised(transaction, token)
        if begins_late:
            _refuse_autocommit(transaction)
        admit(token, highest=highest, resource=repr(self.resource))
        if highest != token:
            raise WatermarkLost(f"{self!r} stored {token} and got {highest}: {self.table.name}.token must be a BIGINT")

    def highest(self, connection: Connection | Session) -> int:
        """The highest token admitted, as far as this transaction sees; 0 if there was none. A look, and no lock."""
        return _connection(connection, self.table).execute(self._look()).scalar() or 0

    def _look(self) -> Select[Any]:
        return select(self.table.c.token).where(self.table.c.resource == self.resource)

    def _raised(self, connection: Connection, token: int) -> int:
        """Lock and raise the row, which may not be there yet; returns what it holds then: the greater of the two.

        The answer is a value and not a count of rows, which drivers count differently.
        """
        table = self.table
        greater = func.max if connection.dialect.name == "sqlite" else func.greatest
        raised = {"token": greater(table.c.token, token), "stamps": table.c.stamps + 1}
        row = {"resource": self.resource, "token": token, "stamps": 1}
        keys = [table.c.resource]
        answer: Executable
        match connection.dialect.name:
            case "postgresql":
                put = postgresql.insert(table).values(row)
                answer = put.on_conflict_do_update(index_elements=keys, set_=raised).returning(table.c.token)
            case "sqlite":
                lite = sqlite.insert(table).values(row)
                answer = lite.on_conflict_do_update(index_elements=keys, set_=raised).returning(table.c.token)
            case _:
                connection.execute(mysql.insert(table).values(row).on_duplicate_key_update(raised))
                # The row is ours and has changed, so that any snapshot shows it as it is now, not as it was.
                answer = self._look()
        highest: int = connection.execute(answer).scalar_one()
        return highest


def _checked_resource(resource: object) -> str:
    if not isinstance(resource, str):
        raise TypeError(f"a resource is named by a str, not {type(resource).__name__}")
    if not 1 <= len(resource) <= _LONGEST or not resource.isprintable() or resource != resource.strip():
        raise ValueError(
            f"a resource is named by 1 to {_LONGEST} printable characters, without spaces around them, not {resource!r}"
        )
    return resource


def _checked_table(table: Table) -> Table:
    if not isinstance(table, Table):
        raise TypeError(f"table is what fence_table() returned, not {type(table).__name__}")
    if not {"resource", "token", "stamps"} <= set(table.c.keys()):
        raise ValueError(f"table {table.name!r} has other columns than a fence needs: make it with fence_table()")
    return table


def _connection(given: Connection | Session, table: Table) -> Connection:
    """The connection of the transaction that is meant, which begins where there is none yet."""
    if isinstance(given, Session):
        connection = given.connection(bind_arguments={"clause": table})  # of a session with many, that of our table
    elif isinstance(given, Connection):
        connection = given
    else:
        raise TypeError(
            f"a fence works in a transaction: give its Connection or Session, not {type(given).__name__}"
            " (asyncio: await session.run_sync(fence.stamp, token))"
        )
    if connection.dialect.name not in _DIALECTS:
        raise ValueError(f"a SqlFence knows {', '.join(_DIALECTS)}, and not {connection.dialect.name}")
    return connection


def _refuse_autocommit(connection: Connection) -> None:
    """The driver is asked, not SQLAlchemy: whoever switched it on, it was switched on there."""
    pooled = connection.connection
    driver: Any = pooled.dbapi_connection
    if connection.dialect.name == "sqlite":
        # Whether there is one now: the driver, or an event of the user's, begins it in one of several ways.
        commits_at_once = not cast(Any, pooled.driver_connection).in_transaction
    elif hasattr(driver, "get_autocommit"):  # most of MySQL's
        commits_at_once = driver.get_autocommit()
    else:
        commits_at_once = driver.autocommit
    if commits_at_once:
        raise UsageError(
            "this connection commits each statement by itself (AUTOCOMMIT), so that a stamp does not last until the"
            " write: use one with another isolation level, engine.execution_options(isolation_level=…)"
        )
