"""What a client of asyncio lends the Redis driver, whose own connections block."""

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import valkey
import valkey.asyncio
import valkey.asyncio.sentinel

from leaderlock_redis import from_client
from leaderlock_redis._clients import master_of_client


class OfTheUsers(redis.asyncio.Connection):
    pass


class Slowly(redis.CredentialProvider):
    async def get_credentials_async(self):
        return ("me", "secret")


async def greet(connection):
    pass


@pytest.mark.parametrize("library", [redis, valkey], ids=lambda library: library.__name__)
@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"host": "db.example", "port": 7000, "db": 3}, "redis://db.example:7000/3"),
        ({"host": "db.example", "ssl": True, "ssl_ca_certs": "/ca.pem"}, "rediss://db.example:6379/0"),
        ({"unix_socket_path": "/run/socket"}, "unix:///run/socket?db=0"),
        ({"decode_responses": True, "health_check_interval": 9, "socket_timeout": 99.0}, "redis://localhost:6379/0"),
    ],
    ids=["TCP", "TLS", "Unix socket", "what is not borrowed"],
)
def test_a_client_of_asyncio_lends_its_settings_to_blocking_connections(library, settings, place):
    one = library.asyncio.Redis if library is redis else library.asyncio.Valkey

    lent = master_of_client(one(password="secret", **settings)).settings(0.0)
    connection = lent.connection(0.5)

    assert type(connection).__module__ == f"{library.__name__}.connection"
    assert lent.place == place
    assert connection.password == "secret"
    assert connection.socket_timeout in (0.5, None)  # the latter: redis-py 5.0 on a Unix socket
    assert not connection.health_check_interval
    assert getattr(connection, "ca_certs", "/ca.pem") == "/ca.pem"


@pytest.mark.parametrize("library", [redis, valkey], ids=lambda library: library.__name__)
@pytest.mark.parametrize("tls", [False, True])
def test_a_sentinels_client_of_asyncio_lends_its_servers_settings_and_its_sentinels(library, tls):
    sentinel = library.asyncio.sentinel.Sentinel([("h1", 7), ("h2", 8)], sentinel_kwargs={"password": "p"})
    master = master_of_client(sentinel.master_for("main", password="secret", ssl=tls))

    server = master._settings.at(("db.example", 7000)).connection(0.5)
    sentinels = [one.connection(0.5) for one in master._sentinels]

    assert master.place == f"{'rediss' if tls else 'redis'}+sentinel://h1:7,h2:8/main/0"
    assert (server.host, server.port, server.password) == ("db.example", 7000, "secret")
    assert [(one.host, one.port, one.password) for one in sentinels] == [("h1", 7, "p"), ("h2", 8, "p")]


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"connection_class": OfTheUsers}, "OfTheUsers is for asyncio alone.*give the URL"),
        ({"redis_connect_func": greet}, "redis_connect_func is a coroutine function.*give the URL"),
        ({"credential_provider": Slowly()}, "Slowly .*get_credentials.*give the URL"),
    ],
)
def test_what_only_an_event_loop_can_run_is_refused_with_words(settings, what):
    client = redis.asyncio.Redis(connection_pool=redis.asyncio.ConnectionPool(**settings))

    with pytest.raises(TypeError, match=what):
        from_client(client)
