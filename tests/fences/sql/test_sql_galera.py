"""Two leaders on two nodes of a Galera cluster, which locks no row across them."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from leaderlock.errors import StaleToken
from tests.fences.sql.conftest import Database, is_conflict
from tests.fences.sql.test_sql_leaders import together, until_admitted
from tests.servers.galera import galera_cluster
from tests.servers.mariadb import MariaServer


@pytest.fixture(scope="module")
def cluster() -> Generator[list[MariaServer]]:
    with galera_cluster() as nodes:
        yield nodes


@pytest.fixture
def nodes(cluster) -> Generator[list[Database]]:
    """One database, as two nodes show it."""
    one, other = (Database("mariadb", node.url()) for node in cluster)
    other.fence = one.fence
    with one.engines, other.engines:
        one.create()
        until_it_knows(other)
        yield [one, other]


def in_order(database: Database):
    """An engine that looks only when its node has applied what the others have committed."""
    engine = database.engine()

    @event.listens_for(engine, "connect")
    def wait(driver, _):
        driver.cursor().execute("SET SESSION wsrep_sync_wait = 1")

    return engine


def until_it_knows(database: Database) -> None:
    with in_order(database).connect() as connection:
        database.value(connection)


@pytest.mark.parametrize("tokens", [(7, 8), (8, 7)])
def test_of_two_leaders_on_two_nodes_who_commits_second_does_not(nodes, tokens):
    one, other = nodes

    with one.plain.connect() as first, other.plain.connect() as second:
        one.fence.stamp(first, tokens[0])
        other.fence.stamp(second, tokens[1])  # does not wait: each node has locks of its own
        one.put(first, tokens[0])
        first.commit()
        with pytest.raises(DBAPIError) as refused:
            second.commit()
        assert is_conflict(refused.value)

    until_it_knows(other)
    assert [(node.value(), node.highest()) for node in nodes] == [(tokens[0], tokens[0])] * 2


def test_a_stale_leader_on_a_node_that_has_not_heard_of_the_new_one_never_commits(nodes):
    one, other = nodes

    for token in range(2, 60):
        until_admitted(partial(one.write, token))
        with pytest.raises((StaleToken, DBAPIError)) as refused:
            other.write(token - 1, value=0)
        assert refused.type is StaleToken or is_conflict(refused.value)

    assert (one.value(), one.highest()) == (1, 59)


def test_leaders_on_both_nodes_lose_no_update_and_tokens_only_rise(nodes):
    def add_one(node: Database, token: int) -> None:
        with node.plain.begin() as connection:
            node.add_one(connection, token)

    def lead(node: Database) -> None:
        token, done = 1, 0
        while done < 20:
            try:
                until_admitted(partial(add_one, node, token))
                done += 1
                token += done % 5 == 0
            except StaleToken as error:
                token = error.highest

    together(*(partial(lead, node) for node in nodes))

    until_it_knows(nodes[0])
    assert nodes[0].value() == 40


def test_who_looks_on_another_node_sees_the_stamp_if_told_to_wait_for_it(nodes):
    one, other = nodes

    with in_order(other).connect() as connection:
        for token in range(1, 60):
            one.write(token)
            assert other.fence.highest(connection) == token
            connection.rollback()
