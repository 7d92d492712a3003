"""How the Redis driver connects, told from URLs and clients alone."""

import re
import sys
from contextlib import closing

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.sentinel
import valkey
from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.retry import Retry

from leaderlock import errors
from leaderlock_redis import from_client, open_backend
from leaderlock_redis._clients import master_of_client
from leaderlock_redis._durability import Durability, check_server
from leaderlock_redis._settings import Settings, greeting
from leaderlock_redis._url import master_of_url
from leaderlock_redis._wire import pack


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("redis://user:secret@db.example:7000/3", "redis://db.example:7000/3"),
        ("redis://:secret@[::1]:7000", "redis://[::1]:7000/0"),
        ("rediss://user:secret@db.example", "rediss://db.example:6379/0"),
        ("valkey://db.example", "redis://db.example:6379/0"),
        ("valkeys://db.example", "rediss://db.example:6379/0"),
        ("unix://user:secret@/run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        ("redis+sentinel://user:secret@h1,h2:7,[::1]/main", "redis+sentinel://h1:26379,h2:7,[::1]:26379/main/0"),
        ("redis+sentinel://:secret@h1/main?db=2&sentinel_password=secret", "redis+sentinel://h1:26379/main/2"),
        ("valkeys+sentinel://h1/main/3", "rediss+sentinel://h1:26379/main/3"),
        ("redis+cluster://user:secret@h1,h2:7,[::1]", "redis+cluster://h1:6379,h2:7,[::1]:6379"),
        ("rediss+cluster://h1/0", "rediss+cluster://h1:6379"),
    ],
)
def test_messages_name_the_address_without_secrets(url, place):
    assert master_of_url(url).place == place


@pytest.mark.parametrize(
    "url",
    [
        *("redis:", "redis:/x", "http://x", "redis://host:port", "redis://host?colour=red"),
        *("redis+sentinel://h1", "redis+sentinel://h1/", "redis+sentinel://h1/main/x", "redis+sentinel://h1/main/0/1"),
        *(
            "redis+sentinel:///main",
            "redis+sentinel://h1,/main",
            "redis+sentinel://h1:0/main",
            "redis+sentinel://h:p/m",
        ),
        *("redis+sentinel://h1/main?colour=red", "unix+sentinel://h1/main", "redis+quorum://h1/main"),
        *("redis+cluster://", "redis+cluster://h1/1", "redis+cluster://h1?db=1", "redis+cluster://h1#x"),
        *("redis+cluster://h1?sentinel_password=x",),
        # What redis-py takes for localhost, or for database 0: another store than somebody meant.
        *("redis://", "redis://:6379", "redis://user:secret@:6379/0", "redis:///0"),
        *("redis://h/three", "redis://h/1/2", "rediss://h/-1"),
        # One of two that are said would go unused, without a word.
        *(
            "redis://h/0?db=1",
            "redis+sentinel://h1/main/0?db=1",
            "redis://h?db=0&db=1",
            "redis://h?client_name=a&client_name=b",
        ),
    ],
)
def test_a_url_that_cannot_work_is_a_value_error(url):
    with pytest.raises(ValueError):
        master_of_url(url)


@pytest.mark.parametrize(
    "url",
    [
        *("redis://user:secret@host:port/0", "redis://user:secret/with/slashes@host"),
        *("redis+sentinel://user:secret@h:p/main", "redis+sentinel://user:secret/x@h1/main"),
        "redis+cluster://user:secret#x@host",
        *(
            f"{scheme}://user:1{mark}secret@h1{rest}"
            for scheme, rest in (
                ("redis", "/0"),
                ("rediss+sentinel", "/main"),
                ("redis+sentinel", ""),
                ("redis+cluster", ""),
            )
            for mark in "/?#"
        ),
        "unix://user:1/secret@/run/redis.sock",
    ],
)
def test_a_bad_url_does_not_show_its_password(url):
    with pytest.raises(ValueError) as raised:
        master_of_url(url)

    assert "secret" not in f"{raised.value} {raised.value.__cause__}"


@pytest.mark.parametrize(
    "url", ["redis+cluster://u:secret@h1,h2:7", "redis+sentinel://u:secret@h1,h2:7/main", "redis://u:secret@h1/0"]
)
def test_an_unknown_option_is_told_of_the_url_that_was_given(url):
    with pytest.raises(ValueError, match=f"^{re.escape(url.replace('u:secret@', ''))}: .*colour"):
        master_of_url(f"{url}?colour=red")


@pytest.mark.parametrize("protocol", ["", "?protocol=2", "?protocol=3"])
def test_our_connections_speak_the_older_protocol_and_never_retry(protocol):
    connection = master_of_url(f"redis://user:secret@host/3{protocol}").settings(0.0).connection(0.5)

    assert connection.protocol == 2
    assert connection.retry._retries == 0
    assert not connection.health_check_interval
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.5, 0.5)
    assert (connection.username, connection.password, connection.db) == ("user", "secret", 3)


def test_a_client_lends_its_settings_and_not_its_retries():
    retry = Retry(NoBackoff(), 3)
    client = redis.Redis(host="db.example", port=7000, password="secret", retry=retry, health_check_interval=9)

    connection = master_of_client(client).settings(0.0).connection(0.5)

    assert (connection.host, connection.port, connection.password) == ("db.example", 7000, "secret")
    assert connection.retry._retries == 0
    assert not connection.health_check_interval


def greeting_of(**settings):
    return greeting(Settings(redis.ConnectionPool(**settings)).connection(0.5))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, []),
        ({"password": "p"}, [pack(b"AUTH", b"p")]),
        ({"username": "u"}, [pack(b"AUTH", b"u", b"")]),
        ({"username": "u", "password": "p\xe4", "encoding": "latin-1"}, [pack(b"AUTH", b"u", b"p\xe4")]),
        ({"credential_provider": UsernamePasswordCredentialProvider("u", "p")}, [pack(b"AUTH", b"u", b"p")]),
        ({"client_name": "c", "db": 3}, [pack(b"CLIENT", b"SETNAME", b"c"), pack(b"SELECT", b"3")]),
        ({"password": "p", "redis_connect_func": redis.RedisCluster.on_connect}, [pack(b"AUTH", b"p")]),
        ({"password": "p", "redis_connect_func": lambda connection: None}, []),
    ],
    ids=["nothing", "password", "user", "encoding", "provider", "name and database", "the library's", "the user's"],
)
def test_a_connection_greets_as_the_librarys_would(settings, said):
    assert greeting_of(**settings) == said


def test_a_client_that_decodes_can_lend_its_settings():
    backend = from_client(redis.Redis(decode_responses=True))

    assert backend.traits.store == "redis"
    backend.close()


@pytest.mark.parametrize(
    "client",
    [
        object(),
        redis.asyncio.cluster.RedisCluster(host="localhost"),
        redis.sentinel.Sentinel([("localhost", 26379)]),
        redis.sentinel.Sentinel([("localhost", 26379)]).slave_for("mymaster"),
    ],
    ids=["no client", "asyncio's cluster", "Sentinel itself", "a replica's"],
)
def test_a_client_that_cannot_lend_its_settings_is_a_type_error(client):
    with pytest.raises(TypeError):
        from_client(client)


def test_a_sentinel_url_has_a_login_for_the_servers_and_one_for_the_sentinels():
    url = "rediss+sentinel://user:secret@h1,h2:7/main/3?sentinel_username=u&sentinel_password=p&ssl_ca_certs=/ca.pem"
    master = master_of_url(url)

    server = master._settings.at(("db.example", 7000)).connection(0.5)
    first, second = (one.connection(0.5) for one in master._sentinels)

    assert (server.host, server.port, server.username, server.password, server.db) == (
        *("db.example", 7000, "user", "secret", 3),
    )
    assert [(one.host, one.port, one.username, one.password, one.db) for one in (first, second)] == [
        ("h1", 26379, "u", "p", 0),
        ("h2", 7, "u", "p", 0),
    ]
    assert {one.ca_certs for one in (server, first, second)} == {"/ca.pem"}


@pytest.mark.parametrize(
    ("query", "is_checked"),
    [
        ("", True),
        ("?ssl_check_hostname=true", True),
        ("?ssl_check_hostname=false", False),
        ("?ssl_cert_reqs=none", False),
        ("?ssl_cert_reqs=required", True),
    ],
)
def test_the_names_in_a_certificate_are_checked_unless_the_url_says_otherwise(query, is_checked):
    connection = master_of_url(f"rediss://host{query}").settings(0.0).connection(0.5)

    assert connection.check_hostname is is_checked


@pytest.mark.parametrize("library", [redis, valkey], ids=lambda library: library.__name__)
@pytest.mark.parametrize("tls", [False, True])
def test_a_sentinels_client_lends_its_servers_settings_and_its_sentinels(library, tls):
    sentinel = library.sentinel.Sentinel([("h1", 7), ("h2", 8)], sentinel_kwargs={"password": "p"})
    master = master_of_client(sentinel.master_for("main", username="user", password="secret", db=3, ssl=tls))

    server = master._settings.at(("db.example", 7000)).connection(0.5)
    sentinels = [one.connection(0.5) for one in master._sentinels]

    assert master.place == f"{'rediss' if tls else 'redis'}+sentinel://h1:7,h2:8/main/3"
    assert (server.host, server.port, server.username, server.password, server.db) == (
        *("db.example", 7000, "user", "secret", 3),
    )
    assert not hasattr(server, "connection_pool")
    assert [(one.host, one.port, one.password) for one in sentinels] == [("h1", 7, "p"), ("h2", 8, "p")]


@pytest.mark.parametrize("url", ["redis+sentinel://h1/main", "redis+cluster://h1"])
def test_servers_that_take_over_from_each_other_are_not_durable_by_their_disks(url):
    with pytest.raises(ValueError, match="replicas:k"):
        open_backend(url, namespace="x", durability="disk")


def test_an_option_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError, match="colour"):
        open_backend("redis://localhost", namespace="x", colour="red")


@pytest.mark.parametrize("word", ["", "Disk", "replicas", "replicas:0", "replicas:x", 1])
def test_a_durability_that_does_not_exist_is_a_value_error(word):
    with pytest.raises(ValueError, match="durability"):
        open_backend("redis://localhost", namespace="x", durability=word)


@pytest.mark.parametrize(("word", "keeps"), [("memory", False), ("disk", True), ("replicas:2", False)])
def test_traits_say_what_was_asked_for(word, keeps):
    backend = open_backend("redis://localhost", namespace="x", durability=word)

    assert (backend.traits.durability, backend.traits.keeps_memory) == (word, keeps)
    backend.close()


def test_without_the_library_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(errors.BackendNotInstalled, match=r"leaderlock\[redis\]"):
        open_backend("redis://localhost", namespace="x")


@pytest.mark.parametrize("version", ["4.6.0", "5.0.0"])
def test_a_library_that_is_too_old_is_refused(monkeypatch, version):
    monkeypatch.setattr(redis, "__version__", version)

    with pytest.raises(errors.BackendNotInstalled, match=version):
        open_backend("redis://localhost", namespace="x")


@pytest.mark.parametrize("version", ["5.0.1", "8.1.0", "9.0.0b1"])
def test_newer_libraries_are_taken(monkeypatch, version):
    monkeypatch.setattr(redis, "__version__", version)

    open_backend("redis://localhost", namespace="x").close()


FIT = {"role": "master", "master_replid": "c0ffee", "aof_enabled": "1"}


def test_a_server_that_hides_its_replication_id_is_refused_unless_it_writes_to_disk():
    hidden = {**FIT, "master_replid": "0" * 40}

    check_server(hidden, Durability.parse("disk"), "here")
    with pytest.raises(errors.BackendRefused, match="replication id"):
        check_server(hidden, Durability.parse("memory"), "here")


@pytest.mark.parametrize(
    ("url", "options", "word"),
    [
        ("redis://h?durability=disk", {}, "disk"),
        ("redis://h/0?durability=replicas:2&client_name=x", {}, "replicas:2"),
        ("redis://h?client_name=x&durability=replicas%3A2", {}, "replicas:2"),
        ("redis+sentinel://h/m?durability=replicas:1", {}, "replicas:1"),
        ("redis://h?durability=disk", {"durability": "disk"}, "disk"),
        ("redis://h?client_name=x", {}, "memory"),
        ("redis://h", {"durability": "disk"}, "disk"),
    ],
)
def test_durability_may_be_said_in_the_url(url, options, word):
    with closing(open_backend(url, namespace="x", **options)) as backend:
        assert backend.traits.durability == word


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://h?durability=disk&durability=memory", {}),
        ("redis://h?durability=disk&durability=disk", {}),
        ("redis://h?durability=disk", {"durability": "memory"}),
        ("redis://h?durability=forever", {}),
        ("redis://h?durability=", {}),
    ],
)
def test_durability_that_is_said_twice_or_is_none_is_refused(url, options):
    with pytest.raises(ValueError, match="durability"):
        open_backend(url, namespace="x", **options)
