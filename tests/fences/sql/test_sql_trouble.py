"""Leaders that are killed, paused and timed out in the middle of a transaction, and servers that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from leaderlock.errors import StaleToken
from leaderlock.testing import TcpProxy
from tests.fences.sql.conftest import Database, is_conflict

IN_THE_MIDDLE = """
import sys
from sqlalchemy import create_engine, text
from leaderlock.fences.sql import SqlFence

url, resource, setting = sys.argv[1:]
with create_engine(url).connect() as connection:
    SqlFence(resource).stamp(connection, 7)
    connection.execute(text("UPDATE counts SET value = 7 WHERE id = :id"), {"id": resource})
    if setting:
        connection.execute(text(setting))
    print("in the middle", flush=True)
    sys.stdin.read()
    connection.commit()
"""

ADDITIONS = """
import sys
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
from leaderlock.errors import StaleToken
from leaderlock.fences.sql import SqlFence

url, resource, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
engine, fence, done, token = create_engine(url), SqlFence(resource), 0, 1
while done < count:
    try:
        with engine.begin() as connection:
            fence.stamp(connection, token)
            (value,) = connection.execute(text("SELECT value FROM counts WHERE id = :id"), {"id": resource}).one()
            connection.execute(text("UPDATE counts SET value = :v WHERE id = :id"), {"id": resource, "v": value + 1})
        done += 1
        token += done % 5 == 0
    except StaleToken as error:
        token = error.highest
    except DBAPIError as error:
        print(error, file=sys.stderr)
"""


def program(source: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", source, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def old_leader(database, setting: str = "") -> Generator[subprocess.Popen[str]]:
    """A process with token 7, admitted, that has written 7 and not committed."""
    with program(IN_THE_MIDDLE, database.url, database.fence.resource, setting) as process:
        try:
            assert process.stdout.readline() == "in the middle\n", process.stderr.read()
            yield process
        finally:
            process.kill()


def test_leaders_in_processes_lose_no_update(database):
    workers = [program(ADDITIONS, database.url, database.fence.resource, 15) for _ in range(3)]

    said = [worker.communicate()[1] for worker in workers]

    assert [worker.returncode for worker in workers] == [0] * 3, said
    assert database.value() == 45
    assert database.highest() >= 3


def test_a_leader_killed_in_the_middle_leaves_nothing_and_the_next_one_need_not_wait_for_long(database):
    database.write(6, value=6)

    with old_leader(database) as old:
        old.kill()
        database.write(8, value=8)

    assert (database.value(), database.highest()) == (8, 8)


def test_a_leader_that_comes_back_too_late_is_refused(database):
    with old_leader(database) as old:
        old.communicate("go on")
    database.write(8, value=8)

    with pytest.raises(StaleToken):
        database.write(7, value=7)

    assert database.value() == 8


SHORT = {
    "postgresql": "SET idle_in_transaction_session_timeout = 200",
    "mariadb": "SET SESSION idle_write_transaction_timeout = 1",
}


@pytest.mark.parametrize("kind", SHORT)
def test_a_server_that_bounds_idle_transactions_ends_that_of_a_leader_that_is_paused(open_database, kind):
    database = open_database(kind)

    with old_leader(database, SHORT[kind]) as old:
        old.send_signal(signal.SIGSTOP)
        database.write(8, value=8)
        old.send_signal(signal.SIGCONT)
        _, said = old.communicate("go on")

    assert old.returncode != 0, said
    assert database.value() == 8


def test_who_waits_for_longer_than_the_database_lets_it_gets_the_databases_own_error(database):
    with database.plain.connect() as old:
        database.fence.stamp(old, 7)

        with database.engine(wait=0.1).connect() as new:
            with pytest.raises(DBAPIError) as refused:
                database.fence.stamp(new, 8)
            assert is_conflict(refused.value) or refused.value.orig.sqlstate == "55P03"
            if database.kind != "postgresql":
                assert database.value(new) == 0  # its transaction is still open: leave it
            new.rollback()

        database.put(old, 7)
        old.commit()
    assert (database.value(), database.highest()) == (7, 7)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_server_that_is_killed_keeps_its_watermarks_and_nothing_half_done(request, open_database, kind):
    database = open_database(kind)
    server = request.getfixturevalue({"postgresql": "postgres", "mariadb": "maria"}[kind])
    database.write(8, value=8)

    with database.plain.connect() as cut_off:
        database.fence.stamp(cut_off, 9)
        database.put(cut_off, 9)
        server.kill()
        server.start()
        with pytest.raises(DBAPIError):
            cut_off.commit()
        cut_off.invalidate()
    database.plain.dispose()

    assert (database.value(), database.highest()) == (8, 8)
    with pytest.raises(StaleToken):
        database.write(7, value=7)
    database.write(9, value=10)


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_commit_whose_answer_is_lost_raises_though_all_is_written_and_the_holder_may_write_again(open_database, kind):
    direct = open_database(kind)
    place = make_url(direct.url)

    with TcpProxy("127.0.0.1", place.port) as proxy:
        url = place.set(port=proxy.port).render_as_string()
        through = Database(kind, url, fence=direct.fence, engines=direct.engines)
        with through.plain.connect() as connection:
            through.fence.stamp(connection, 8)
            through.put(connection, 1)
            proxy.drop_reply()
            with pytest.raises(DBAPIError) as unknown:
                connection.commit()
            assert not is_conflict(unknown.value)
        through.write(8, value=direct.value() + 1)

    assert (direct.value(), direct.highest()) == (2, 8)
