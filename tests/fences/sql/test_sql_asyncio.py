"""The SQL fence under asyncio: the same words, by SQLAlchemy's own run_sync."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from leaderlock.errors import StaleToken, UsageError
from leaderlock.fences.sql import SqlFence
from tests.fences.sql.conftest import Database

DRIVERS = {"postgresql": "psycopg_async", "sqlite": "aiosqlite"}


@pytest.fixture(params=DRIVERS)
def database(request, open_database) -> Database:
    return open_database(request.param)


@asynccontextmanager
async def engine_of(database: Database, **options: object) -> AsyncGenerator[AsyncEngine]:
    before, _, rest = database.url.partition("://")
    engine = create_async_engine(f"{before.partition('+')[0]}+{DRIVERS[database.kind]}://{rest}", **options)
    try:
        yield engine
    finally:
        await engine.dispose()


async def write(engine: AsyncEngine, database: Database, token: int, value: int) -> None:
    async with AsyncSession(engine) as session, session.begin():
        await session.run_sync(database.fence.stamp, token)
        await session.run_sync(lambda one: database.put(one.connection(), value))


def test_a_session_stamps_and_writes_and_a_stale_one_changes_nothing(database):
    async def main() -> None:
        async with engine_of(database) as engine:
            await write(engine, database, 8, value=1)
            with pytest.raises(StaleToken) as caught:
                await write(engine, database, 7, value=2)
            assert caught.value.highest == 8
            async with AsyncSession(engine) as session:
                assert await session.run_sync(database.fence.highest) == 8

    asyncio.run(main())

    assert database.value() == 1


def test_a_connection_creates_the_table_and_stamps(database):
    fence = SqlFence("orders")

    async def main() -> None:
        async with engine_of(database) as engine, engine.begin() as connection:
            await connection.run_sync(fence.create)
            await connection.run_sync(fence.stamp, 9)
            assert await connection.run_sync(fence.highest) == 9

    asyncio.run(main())


def test_connections_that_commit_each_statement_and_savepoints_are_refused(database):
    async def main() -> None:
        async with engine_of(database, isolation_level="AUTOCOMMIT") as engine, engine.connect() as connection:
            with pytest.raises(UsageError, match="AUTOCOMMIT"):
                await connection.run_sync(database.fence.stamp, 7)
        async with engine_of(database) as engine, AsyncSession(engine) as session, session.begin_nested():
            with pytest.raises(UsageError, match="before begin_nested"):
                await session.run_sync(database.fence.stamp, 7)

    asyncio.run(main())


def test_tasks_lose_no_update(database):
    async def lead(engine: AsyncEngine) -> None:
        for _ in range(8):
            async with AsyncSession(engine) as session, session.begin():
                await session.run_sync(database.add_one, 7)

    async def main() -> None:
        async with engine_of(database) as engine:
            await asyncio.gather(*(lead(engine) for _ in range(4)))

    asyncio.run(main())

    assert database.value() == 32


def test_a_task_that_is_cancelled_while_its_stamp_waits_admits_nothing(open_database):
    database = open_database("postgresql")

    async def main() -> None:
        async with engine_of(database) as engine:
            with database.plain.connect() as old:
                database.fence.stamp(old, 7)
                waiting = asyncio.create_task(write(engine, database, 8, value=8))
                await asyncio.to_thread(database.until_somebody_waits)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                database.put(old, 7)
                old.commit()

    asyncio.run(main())

    assert (database.value(), database.highest()) == (7, 7)
