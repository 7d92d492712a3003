"""The SQL fence: what it admits, what it leaves, and what it says to those who use it otherwise."""

from __future__ import annotations

import subprocess
import sys
import threading
from uuid import uuid4

import pytest
from sqlalchemy import BigInteger, Column, Engine, Integer, MetaData, String, Table, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from leaderlock.errors import StaleToken, UsageError
from leaderlock.fences import MAX_TOKEN, WatermarkLost, check_refuses_stale
from leaderlock.fences.sql import SqlFence, fence_table


@pytest.fixture
def lite():
    """Quick, where it does not matter which database it is."""
    engine = create_engine("sqlite://")
    SqlFence("orders").create(engine)
    yield engine
    engine.dispose()


def test_a_resource_that_was_never_stamped_admits_the_first_token(database):
    assert database.highest() == 0

    database.write(7)

    assert database.highest() == 7


def test_a_stale_leader_is_refused_and_changes_nothing(database):
    database.write(8, value=1)

    with pytest.raises(StaleToken, match="refused token 7") as caught:
        database.write(7, value=2)

    assert (caught.value.token, caught.value.highest) == (7, 8)
    assert (database.value(), database.highest()) == (1, 8)


def test_what_was_written_before_a_refused_stamp_goes_with_the_transaction(database):
    database.write(8, value=1)

    with database.plain.connect() as connection:
        database.put(connection, 2)
        with pytest.raises(StaleToken):
            database.fence.stamp(connection, 7)

    assert database.value() == 1


def test_the_holders_second_transaction_is_admitted(database):
    database.write(5, value=1)
    database.write(5, value=2)

    assert database.value() == 2


def test_a_stamp_refuses_older_writes_before_anything_is_written(database):
    database.write(1, value=1)

    with database.plain.begin() as connection:
        database.fence.stamp(connection, 2)

    with pytest.raises(StaleToken):
        database.write(1, value=2)
    assert database.value() == 1


def test_a_transaction_that_is_rolled_back_takes_its_stamp_with_it(database):
    database.write(1, value=1)

    with database.plain.connect() as connection:
        database.fence.stamp(connection, 2)
        database.put(connection, 2)
        connection.rollback()

    assert (database.value(), database.highest()) == (1, 1)


def test_it_passes_the_test_that_users_have_for_their_own(database):
    check_refuses_stale(database.write)


def test_the_greatest_token_fits(database):
    database.write(MAX_TOKEN)

    assert database.highest() == MAX_TOKEN


def test_each_resource_has_its_own_watermark_whatever_the_database_thinks_of_letters(database):
    name = uuid4().hex
    fences = [SqlFence(f"{name} {word}") for word in ("orders", "ORDERS", "örders", "🔒")]
    engine = database.plain

    for token, fence in enumerate(fences, 1):
        with engine.begin() as connection:
            fence.stamp(connection, token)

    with engine.connect() as connection:
        assert [fence.highest(connection) for fence in fences] == [1, 2, 3, 4]


def test_a_session_stamps_and_writes_in_its_own_transaction(database):
    with Session(database.plain) as session:
        database.fence.stamp(session, 3)
        database.put(session.connection(), 1)
        assert database.fence.highest(session) == 3
        session.commit()

    with Session(database.plain) as session, pytest.raises(StaleToken), session.begin():
        database.fence.stamp(session, 2)
    assert (database.value(), database.highest()) == (1, 3)


def test_of_a_session_with_many_databases_that_of_the_table_is_stamped(lite):
    elsewhere = create_engine("sqlite://")
    fence = SqlFence("orders")

    with Session(elsewhere, binds={fence.table: lite}) as session, session.begin():
        fence.stamp(session, 3)

    with lite.connect() as connection:
        assert fence.highest(connection) == 3
    elsewhere.dispose()


class Base(DeclarativeBase):
    pass


class Count(Base):
    __tablename__ = "counts"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[int]


def test_objects_that_a_session_keeps_are_as_old_as_before_the_stamp_until_they_are_loaded_again(database):
    with Session(database.plain, expire_on_commit=False) as session:
        kept = session.get(Count, database.fence.resource)
        session.commit()
        database.write(7, value=1)

        database.fence.stamp(session, 8)

        assert session.get(Count, database.fence.resource).value == 0
        session.refresh(kept)
        assert kept.value == 1


# -- the table


def test_the_table_is_created_once_however_many_create_it_at_once(database):
    fence = SqlFence("orders", table=fence_table(MetaData(), name=f"fences_{uuid4().hex}"))
    ready, failed = threading.Barrier(8), []

    def create(engine: Engine) -> None:
        ready.wait(20)
        try:
            fence.create(engine)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=create, args=[database.engine()]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []
    with database.plain.begin() as connection:
        fence.stamp(connection, 1)


def test_the_table_is_part_of_the_users_own_metadata_under_the_name_and_schema_they_chose(open_database):
    database = open_database("postgresql")
    metadata = MetaData()
    fence = SqlFence("orders", table=fence_table(metadata, name=f"marks_{uuid4().hex}", schema="information"))
    assert list(metadata.tables) == [f"information.{fence.table.name}"]
    with database.plain.begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS information"))

    with database.plain.begin() as connection:
        fence.create(connection)
        fence.create(connection)
        fence.stamp(connection, 4)
        assert inspect(connection).has_table(fence.table.name, schema="information")

    with database.plain.connect() as connection:
        assert fence.highest(connection) == 4


def test_without_the_table_the_databases_own_error_comes_through(database):
    fence = SqlFence("orders", table=fence_table(MetaData(), name="not_there"))

    with pytest.raises(DBAPIError, match="not_there"), database.plain.begin() as connection:
        fence.stamp(connection, 1)


def test_a_table_without_transactions_is_found_when_it_is_created(open_database):
    engine = open_database("mariadb").plain
    fence = SqlFence("orders", table=fence_table(MetaData(), name=f"fences_{uuid4().hex}"))
    fence.create(engine)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {fence.table.name} ENGINE=Aria"))

    with pytest.raises(UsageError, match="ENGINE=InnoDB"):
        fence.create(engine)


def test_a_column_too_narrow_for_the_token_admits_nothing(open_database):
    narrow = Table(f"narrow_{uuid4().hex}", MetaData(), Column("resource", String(99), primary_key=True))
    for name in ("token", "stamps"):
        narrow.append_column(Column(name, Integer, nullable=False))
    engine = open_database("mariadb").plain
    narrow.create(engine)

    with engine.begin() as connection:
        connection.execute(text("SET SESSION sql_mode = ''"))  # so that it stores what fits, and says nothing
        with pytest.raises(WatermarkLost, match="BIGINT"):
            SqlFence("orders", table=narrow).stamp(connection, 2**40)


def test_another_table_is_refused():
    with pytest.raises(ValueError, match=r"fence_table\(\)"):
        SqlFence("orders", table=Table("orders", MetaData(), Column("token", BigInteger)))
    with pytest.raises(TypeError, match=r"fence_table\(\)"):
        SqlFence("orders", table="orders")


# -- what is given


@pytest.mark.parametrize("token", ["7", b"7", 7.0, True, None])
def test_what_is_no_int_is_no_token(lite, token):
    with lite.begin() as connection, pytest.raises(TypeError, match=r"lease\.token"):
        SqlFence("orders").stamp(connection, token)


@pytest.mark.parametrize("token", [0, -1, MAX_TOKEN + 1])
def test_a_token_out_of_range_is_refused(lite, token):
    with lite.begin() as connection, pytest.raises(ValueError, match=r"2\*\*53"):
        SqlFence("orders").stamp(connection, token)


@pytest.mark.parametrize("resource", ["", " ", "orders ", " orders", "or\nders", "or\0ders", "x" * 256])
def test_a_resource_has_a_name_that_all_databases_keep_as_it_is(resource):
    with pytest.raises(ValueError, match="printable"):
        SqlFence(resource)


def test_a_resource_is_named_by_text():
    with pytest.raises(TypeError, match="str, not int"):
        SqlFence(7)


def test_what_is_no_transaction_is_refused_with_the_way_to_one(lite):
    for given in (lite, AsyncSession(), None):
        with pytest.raises(TypeError, match="run_sync"):
            SqlFence("orders").stamp(given, 1)


def test_another_database_is_refused_by_the_names_of_those_that_work(lite):
    lite.dialect.name = "oracle"

    with (
        lite.begin() as connection,
        pytest.raises(ValueError, match="postgresql, sqlite, mysql, mariadb, and not oracle"),
    ):
        SqlFence("orders").stamp(connection, 1)


# -- what is imported


def test_without_sqlalchemy_the_error_says_what_to_install():
    program = "import sys; sys.modules['sqlalchemy'] = None; import leaderlock.fences.sql"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert "pip install 'leaderlock[sqlalchemy]'" in done.stderr


def test_leaderlock_and_its_other_fences_do_without_sqlalchemy():
    program = "import sys, leaderlock, leaderlock.fences.file; sys.exit('sqlalchemy' in sys.modules)"

    subprocess.run([sys.executable, "-c", program], check=True)
