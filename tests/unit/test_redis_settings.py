"""How the Redis driver connects, told from URLs and clients alone."""

import sys

import pytest
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from leaderlock import errors
from leaderlock_redis import from_client, open_backend
from leaderlock_redis._durability import Durability, check_server
from leaderlock_redis._settings import settings_of_client, settings_of_url


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
    ],
)
def test_messages_name_the_address_without_secrets(url, place):
    assert settings_of_url(url).place == place


@pytest.mark.parametrize("url", ["redis:", "redis:/x", "http://x", "redis://host:port", "redis://host?colour=red"])
def test_a_url_that_cannot_work_is_a_value_error(url):
    with pytest.raises(ValueError):
        settings_of_url(url)


@pytest.mark.parametrize("url", ["redis://user:secret@host:port/0", "redis://user:secret/with/slashes@host"])
def test_a_bad_url_does_not_show_its_password(url):
    with pytest.raises(ValueError) as raised:
        settings_of_url(url)

    assert "secret" not in f"{raised.value} {raised.value.__cause__}"


@pytest.mark.parametrize("protocol", ["", "?protocol=2", "?protocol=3"])
def test_our_connections_speak_the_older_protocol_and_never_retry(protocol):
    connection = settings_of_url(f"redis://user:secret@host/3{protocol}").connection(0.5)

    assert connection.protocol == 2
    assert connection.retry._retries == 0
    assert not connection.health_check_interval
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.5, 0.5)
    assert (connection.username, connection.password, connection.db) == ("user", "secret", 3)


def test_a_client_lends_its_settings_and_not_its_retries():
    retry = Retry(NoBackoff(), 3)
    client = redis.Redis(host="db.example", port=7000, password="secret", retry=retry, health_check_interval=9)

    connection = settings_of_client(client).connection(0.5)

    assert (connection.host, connection.port, connection.password) == ("db.example", 7000, "secret")
    assert connection.retry._retries == 0
    assert not connection.health_check_interval


def test_a_client_that_decodes_can_lend_its_settings():
    backend = from_client(redis.Redis(decode_responses=True))

    assert backend.traits.store == "redis"
    backend.close()


@pytest.mark.parametrize(
    "client",
    [
        object(),
        redis.asyncio.Redis(),
        redis.sentinel.Sentinel([("localhost", 26379)]).master_for("mymaster"),
    ],
    ids=["no client", "asyncio", "Sentinel"],
)
def test_a_client_that_cannot_lend_its_settings_is_a_type_error(client):
    with pytest.raises(TypeError):
        from_client(client)


def test_an_option_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError, match="colour"):
        open_backend("redis://localhost", namespace="x", colour="red")


@pytest.mark.parametrize("word", ["", "Disk", "replicas", "replicas:0", "replicas:x", 1, None])
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


FIT = {"role": "master", "master_replid": "c0ffee", "aof_enabled": "1", "redis_version": "7.0.15"}


def test_a_server_that_hides_its_replication_id_is_refused_unless_it_writes_to_disk():
    hidden = {**FIT, "master_replid": "0" * 40}

    check_server(hidden, Durability.parse("disk"), "here")
    with pytest.raises(errors.BackendRefused, match="replication id"):
        check_server(hidden, Durability.parse("memory"), "here")


@pytest.mark.parametrize(("version", "has"), [("6.2.1", False), ("7.0.15", False), ("7.2.0", True), ("8.0.2", True)])
def test_waitaof_is_used_where_the_server_has_it(version, has):
    assert check_server({**FIT, "redis_version": version}, Durability.parse("disk"), "here") is has
