"""docs/fences/sql.md: what it says of doing without SQLAlchemy, on real servers."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from sqlalchemy import text

from leaderlock.errors import StaleToken
from leaderlock.fences import check_refuses_stale
from leaderlock.fences.sql import SqlFence

PAGE = (Path(__file__).parents[3] / "docs/fences/sql.md").read_text("utf-8")


def block(language: str, containing: str) -> str:
    [found] = (one for one in re.findall(rf"```{language}\n(.*?)```", PAGE, re.S) if containing in one)
    return found


def test_the_statement_for_psycopg_is_a_fence_and_shares_its_table_with_sqlalchemy(open_database):
    database = open_database("postgresql")
    names = {"StaleToken": StaleToken}
    exec(block("python", "ON CONFLICT"), names)
    stamp = names["stamp"]

    def write(token: int) -> None:
        with psycopg.connect(database.url.replace("+psycopg", "")) as connection:
            stamp(connection, database.fence.resource, token)
            connection.execute("UPDATE counts SET value = %s WHERE id = %s", (token, database.fence.resource))

    check_refuses_stale(write)
    check_refuses_stale(lambda token: (write if token % 2 else database.write)(token), token=10)
    assert database.highest() == 11


def test_the_table_that_the_page_creates_is_the_one_that_sqlalchemy_expects(database):
    create = block("sql", "CREATE TABLE")
    if database.kind == "mariadb":
        plain, exact = "VARCHAR(255) ", "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin "
        create = create.replace(plain, exact, 1)
    fence = SqlFence("stock")

    with database.plain.begin() as connection:
        connection.execute(text("DROP TABLE leaderlock_fences"))
        connection.execute(text(create))
    with database.plain.begin() as connection:
        fence.stamp(connection, 7)

    with database.plain.connect() as connection, pytest.raises(StaleToken):
        fence.stamp(connection, 6)


DJANGO = """
import sys

import pymysql

pymysql.install_as_MySQLdb()

from django.conf import settings

engine, name, port, user = sys.argv[1:]
database = {"ENGINE": f"django.db.backends.{engine}", "NAME": name}
if port:
    database |= {"HOST": "127.0.0.1", "PORT": int(port), "USER": user}
settings.configure(DATABASES={"default": database}, INSTALLED_APPS=[])

import django

django.setup()

from django.db import connection, models, transaction
from leaderlock.fences import StaleToken, check_refuses_stale

BLOCKS

Fence._meta.db_table = "django_fence"
with connection.schema_editor() as editor:
    editor.create_model(Fence)
row = Fence.objects.filter(pk="stock")
Fence.objects.create(resource="stock")

def write(token):
    with transaction.atomic(durable=True):
        stamp_row(row, token)
        Fence.objects.update_or_create(resource="written", defaults={"token": token})

check_refuses_stale(write)
write(2)
assert row.get().token == Fence.objects.get(resource="written").token == 2
with connection.schema_editor() as editor:
    editor.delete_model(Fence)
"""


@pytest.mark.parametrize("kind", ["postgresql", "mariadb", "sqlite"])
def test_the_line_for_django_is_a_fence(open_database, kind):
    database = open_database(kind)
    model = block("text", "models.Model").replace("Model):\n", 'Model):\n    class Meta: app_label = "shop"\n')
    program = DJANGO.replace("BLOCKS", model + block("python", "def stamp_row"))
    engine = {"mariadb": "mysql", "sqlite": "sqlite3"}.get(kind, kind)
    place = urlsplit(database.url)
    arguments = [place.path[1:], str(place.port or ""), place.username or ""]

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), engine, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
