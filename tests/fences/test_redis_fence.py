"""The fence for Redis, on real servers: what it admits, what it leaves behind, and what others do meanwhile."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from pathlib import Path

import pytest
import redis
import redis.asyncio
import redis.cluster
import valkey
from redis.backoff import NoBackoff
from redis.retry import Retry

from leaderlock.errors import StaleToken
from leaderlock.fences import MAX_TOKEN, WatermarkLost, check_refuses_stale
from leaderlock.fences.redis import AsyncRedisFence, RedisFence
from tests.fences.accounts import RedisAccount, check, compete_as_processes, compete_as_threads
from tests.servers.redis import RedisServer
from tests.stores.redis_groups import Cluster

PAGE = Path(__file__).parents[2] / "docs/fences/redis.md"
KEY = "{orders}:fence"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis")).running() as server:
        yield server


@pytest.fixture(params=["redis-py", "decoded", "RESP3", "valkey-py"])
def client(server, request):
    server.do("FLUSHALL")
    open_one, options = {
        "redis-py": (redis.Redis, {}),
        "decoded": (redis.Redis, {"decode_responses": True}),
        "RESP3": (redis.Redis, {"protocol": 3}),
        "valkey-py": (valkey.Valkey, {}),
    }[request.param]
    with open_one(port=server.port, **options) as client:
        yield client


@pytest.fixture
def plain(server):
    server.do("FLUSHALL")
    with redis.Redis(port=server.port) as client:
        yield client


@pytest.fixture
def fence(plain):
    return RedisFence(plain, KEY)


def text(value):
    return value.decode() if isinstance(value, bytes) else value


# -- what is admitted


def test_commands_run_under_an_admitted_token_and_answer_in_their_order(client):
    fence = RedisFence(client, KEY)
    fence.stamp(7)

    replies = fence.execute(
        ("SET", "{orders}:state", "paid"), ("GET", "{orders}:none"), ("INCRBY", b"{orders}:n", 5), token=7
    )

    assert [text(reply) for reply in replies] == ["OK", None, 5]
    assert text(client.get("{orders}:state")) == "paid"


def test_a_stale_writer_is_refused_and_changes_nothing(client):
    fence = RedisFence(client, KEY)
    fence.stamp(10)

    with pytest.raises(StaleToken, match="refused token 9") as caught:  # as text, 9 would be above 10
        fence.execute(("SET", "{orders}:state", "late"), token=9)

    assert (caught.value.token, caught.value.highest, fence.highest()) == (9, 10, 10)
    assert client.get("{orders}:state") is None


def test_a_write_with_a_higher_token_raises_the_watermark(fence):
    fence.stamp(1)

    fence.execute(("SET", "a", 1), token=3)

    with pytest.raises(StaleToken):
        fence.execute(("SET", "a", 2), token=2)


def test_a_stale_stamp_is_refused(fence):
    fence.stamp(2)

    with pytest.raises(StaleToken):
        fence.stamp(1)


def test_the_greatest_tokens_are_told_apart(fence):
    fence.stamp(MAX_TOKEN)

    assert fence.highest() == MAX_TOKEN
    with pytest.raises(StaleToken):
        fence.stamp(MAX_TOKEN - 1)


def test_the_ready_test_passes_on_this_fence(fence):
    fence.stamp(1)

    check_refuses_stale(lambda token: fence.execute(("SET", "a", token), token=token))
    check_refuses_stale(fence.stamp, token=100)


@pytest.mark.parametrize(("token", "error"), [("7", TypeError), (7.0, TypeError), (True, TypeError), (0, ValueError)])
def test_what_is_no_token_is_refused_at_once(fence, token, error):
    for use in (fence.stamp, fence.adopt, lambda token: fence.execute(("SET", "a", 1), token=token)):
        with pytest.raises(error):
            use(token)

    assert fence.highest() == 0


# -- the watermark


def test_nothing_is_written_before_somebody_has_stamped(fence, plain):
    with pytest.raises(WatermarkLost, match=r"stamp\(lease\.token\)"):
        fence.execute(("SET", "a", 1), token=5)

    assert (fence.highest(), plain.dbsize()) == (0, 0)


def test_a_leader_from_before_a_flush_writes_nothing_into_the_empty_server(fence, plain):
    fence.stamp(5)
    plain.flushall()

    with pytest.raises(WatermarkLost):
        fence.execute(("SET", "a", 1), token=5)

    assert plain.dbsize() == 0


@pytest.mark.parametrize("damage", ["", "0", "007", "7x", "-7", "7.5", "1e3", " 7", str(2**53), "9" * 30])
def test_a_damaged_watermark_never_counts_as_zero(fence, plain, damage):
    plain.set(KEY, damage)

    for use in (fence.highest, lambda: fence.stamp(9), lambda: fence.execute(("SET", "a", 1), token=9)):
        with pytest.raises(WatermarkLost, match=r"adopt\(lease\.token\)"):
            use()
    assert (plain.get(KEY), plain.get("a")) == (damage.encode(), None)
    fence.adopt(9)

    assert fence.highest() == 9


def test_a_key_of_another_type_is_no_watermark_until_it_is_adopted(client):
    fence = RedisFence(client, KEY)
    client.rpush(KEY, 5)

    for use in (fence.highest, lambda: fence.stamp(9)):
        with pytest.raises(WatermarkLost, match="adopt"):
            use()
    fence.adopt(9)

    assert fence.highest() == 9


def test_adopting_never_lowers_a_watermark(fence):
    fence.adopt(12)

    with pytest.raises(StaleToken):
        fence.adopt(11)

    assert fence.highest() == 12


@pytest.mark.parametrize("token", [5, 6], ids=["the holder", "a new leader"])
def test_a_watermark_does_not_expire(fence, plain, token):
    fence.stamp(5)
    plain.expire(KEY, 1000)

    fence.stamp(token)

    assert plain.ttl(KEY) == -1


# -- commands that fail


def test_a_command_that_fails_says_what_was_done_before_it(client):
    fence = RedisFence(client, KEY)
    fence.stamp(1)
    commands = ("SET", "a", "x"), ("INCR", "a"), ("SET", "b", "x")

    with pytest.raises((redis.ResponseError, valkey.ResponseError), match="not an integer") as caught:
        fence.execute(*commands, token=2)

    assert caught.value.__notes__ == ["command 2 of 3 (INCR) failed; before it 1 were applied, and none after it ran"]
    assert (text(client.get("a")), client.get("b"), fence.highest()) == ("x", None, 2)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("SET", "b"), "Invalid number of arguments"),
        (("GET",), "Invalid number of arguments"),
        (("DEL",), "Invalid number of arguments"),
        (("INRC", "b"), "no command of this server"),
        (("INRC",), "no command of this server"),
        (("DEL", "b", KEY), "the watermark itself"),
        (("DEL", *map(str, range(7000))), "more than 7000 words"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_done(fence, plain, command, why):
    fence.stamp(1)

    with pytest.raises(ValueError, match=rf"^command 2 of 2 \({command[0]}\) .*{why}.*; nothing was done"):
        fence.execute(("SET", "a", 1), command, token=2)

    assert (plain.get("a"), fence.highest()) == (None, 1)


def test_a_stale_leader_is_told_so_first(fence):
    fence.stamp(2)

    with pytest.raises(StaleToken):
        fence.execute(("NONSENSE",), token=1)


def test_a_long_command_runs(fence):
    fence.stamp(1)

    assert fence.execute(("DEL", *map(str, range(6999))), ("PING",), token=1) == [0, b"PONG"]


@pytest.mark.parametrize(
    ("commands", "error"),
    [
        ((), ValueError),
        (("SET", "a", "b"), TypeError),
        (((),), TypeError),
        ((("SET", "a", None),), TypeError),
        ((("SET", "a", True),), TypeError),
        ((("DEL", ["a"]),), TypeError),
    ],
)
def test_what_is_no_command_is_refused_at_once(fence, plain, commands, error):
    fence.stamp(1)

    with pytest.raises(error):
        fence.execute(*commands, token=2)

    assert fence.highest() == 1


@pytest.mark.parametrize("key", ["", b"", None, 7])
def test_what_is_no_key_is_refused(plain, key):
    with pytest.raises(TypeError, match="the watermark's key"):
        RedisFence(plain, key)


def test_a_client_that_cannot_answer_is_refused(plain):
    with pytest.raises(TypeError, match="pipeline"):
        RedisFence(plain.pipeline(), KEY)
    with pytest.raises(TypeError, match="use AsyncRedisFence"):
        RedisFence(redis.asyncio.Redis(), KEY)
    with pytest.raises(TypeError, match="use RedisFence"):
        AsyncRedisFence(plain, KEY)


def test_a_full_server_leaves_everything_as_it_was(tmp_path):
    with RedisServer(tmp_path, "--maxmemory", "2mb").running() as server, redis.Redis(port=server.port) as client:
        fence = RedisFence(client, KEY)
        fence.stamp(1)
        client.set("ballast", b"x" * 400_000)
        client.config_set("maxmemory", "1mb")

        with pytest.raises(redis.exceptions.OutOfMemoryError):
            fence.execute(("DEL", "ballast"), ("SET", "b", 1), token=2)

        assert client.exists("ballast")
        assert fence.highest() == 1


# -- rights


def test_the_rights_on_the_page_suffice_and_without_a_commands_own_nothing_is_done(plain, server):
    rights = re.search(r"^ACL SETUSER app (.+)$", PAGE.read_text("utf-8"), flags=re.M)
    plain.execute_command("ACL", "SETUSER", "app", *rights[1].replace(">password", "nopass").split())
    with redis.Redis(port=server.port, username="app", password="any") as client:
        fence = RedisFence(client, KEY)
        fence.stamp(1)
        fence.execute(("SET", "{orders}:state", "new"), token=1)

        for forbidden in (("HSET", "{orders}:h", "a", 1), ("SET", "others", 1)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                fence.execute(("SET", "{orders}:state", "half"), forbidden, token=2)

        assert plain.get("{orders}:state") == b"new"
        assert plain.get(KEY) == b"1"


def test_a_watermark_that_may_not_be_read_is_not_lost(plain, server):
    plain.execute_command("ACL", "SETUSER", "blind", "on", "nopass", "~*", "+eval")

    blind = redis.Redis(port=server.port, username="blind", password="any")
    with blind, pytest.raises(redis.ResponseError, match=r"run (this|the 'get') command"):
        RedisFence(blind, KEY).stamp(1)


# -- a cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.mark.parametrize("tag", ["a", "b", "c", "d"])  # on several nodes
def test_in_a_cluster_commands_run_where_the_watermark_is(cluster, tag):
    with redis.cluster.RedisCluster(port=cluster.nodes[0].port, host="127.0.0.1") as client:
        fence = RedisFence(client, f"{{{tag}}}:fence")
        fence.stamp(5)

        fence.execute(("MSET", f"{{{tag}}}:x", 1, f"{{{tag}}}:y", 2), ("INCR", f"{{{tag}}}:n"), token=5)

        assert client.get(f"{{{tag}}}:y") == b"2"
        with pytest.raises(StaleToken):
            fence.execute(("INCR", f"{{{tag}}}:n"), token=4)
        assert client.get(f"{{{tag}}}:n") == b"1"


def test_in_a_cluster_a_key_outside_of_the_hash_tag_is_refused_before_anything_is_done(cluster):
    with redis.cluster.RedisCluster(port=cluster.nodes[0].port, host="127.0.0.1") as client:
        fence = RedisFence(client, "{tag}:fence")
        fence.stamp(5)

        for key in ("elsewhere", "{other}:key"):
            with pytest.raises(ValueError, match=rf"command 2 of 2 .*hash tag.*: {key}"):
                fence.execute(("SET", "{tag}:a", 1), ("SET", key, 1), token=6)

        assert client.get("{tag}:a") is None
        assert fence.highest() == 5


def test_while_a_cluster_moves_keys_away_nothing_is_half_done(cluster):
    with redis.cluster.RedisCluster(port=cluster.nodes[0].port, host="127.0.0.1") as client:
        fence = RedisFence(client, "{moved}:fence")
        fence.stamp(5)
        fence.execute(("SET", "{moved}:here", 1), ("SET", "{moved}:gone", 1), token=5)
        slot = client.keyslot("{moved}:fence")
        keeper = client.get_node_from_key("{moved}:fence").port
        old = next(node for node in cluster.nodes if node.port == keeper)
        new = next(node for node in cluster.nodes if node is not old)
        new.do("CLUSTER", "SETSLOT", str(slot), "IMPORTING", cluster.identity(old))
        old.do("CLUSTER", "SETSLOT", str(slot), "MIGRATING", cluster.identity(new))
        old.do("MIGRATE", "127.0.0.1", str(new.port), "{moved}:gone", "0", "5000")

        with pytest.raises(redis.exceptions.RedisError):
            fence.execute(("SET", "{moved}:here", 2), ("SET", "{moved}:gone", 2), token=5)

        assert client.get("{moved}:here") == b"1"
        for node in (old, new):
            node.do("CLUSTER", "SETSLOT", str(slot), "STABLE")


# -- asyncio


def test_asyncio_has_the_same_words(server, plain, cluster):
    async def use(client, key):
        fence = AsyncRedisFence(client, key)
        with pytest.raises(WatermarkLost):
            await fence.execute(("SET", "{async}:a", 1), token=5)
        await fence.stamp(5)
        assert await fence.execute(("SET", "{async}:a", 1), ("INCR", "{async}:a"), token=6) == [b"OK", 2]
        with pytest.raises(StaleToken):
            await fence.execute(("SET", "{async}:a", 0), token=5)
        await fence.adopt(7)
        assert await fence.highest() == 7
        await client.aclose()

    async def main():
        await use(redis.asyncio.Redis(port=server.port), "{async}:fence")
        await use(redis.asyncio.RedisCluster(host="127.0.0.1", port=cluster.nodes[0].port), "{async}:fence")

    asyncio.run(main())


# -- restarts, and rivals


def test_a_server_that_was_killed_remembers_what_its_disk_has(tmp_path):
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    retry = Retry(NoBackoff(), 0)
    with server.running(), redis.Redis(port=server.port, retry=retry) as client:
        fence = RedisFence(client, KEY)
        fence.stamp(5)
        fence.execute(("SET", "a", 1), token=6)
        server.kill()
        with pytest.raises(redis.ConnectionError):
            fence.execute(("SET", "a", 2), token=6)
        server.start()

        with pytest.raises(StaleToken):
            fence.execute(("SET", "a", 3), token=5)
        assert fence.execute(("GET", "a"), token=6) == [b"1"]


def test_rivals_lose_no_update_and_nobody_writes_after_a_newer_one(server, plain):
    compete_as_threads(lambda: RedisAccount(f"127.0.0.1:{server.port}"), terms=50)

    with closing(RedisAccount(f"127.0.0.1:{server.port}")) as account:
        check(account)


def test_rivals_that_are_stopped_and_killed_at_any_moment_lose_no_update(server, plain):
    with closing(RedisAccount(f"127.0.0.1:{server.port}")) as account:
        compete_as_processes("redis", f"127.0.0.1:{server.port}", account, pauses=24, seed=1)

        check(account)
