"""From a URL to a client: what is refused, when, and with which words."""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint

import pytest

from leaderlock import BackendNotInstalled, UsageError, connect
from leaderlock import _connect as connecting
from leaderlock.testing import MemoryBackend, MemoryStore


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """Two drivers are installed, and one whose client library is not."""
    entries = {
        "memory": "leaderlock.testing:open_backend",
        "sqlite": "leaderlock_sqlite:open_backend",
        "redis": "no_such_package_redis:open_backend",
    }
    found = {name: EntryPoint(name, place, connecting.GROUP) for name, place in entries.items()}
    monkeypatch.setattr(connecting, "drivers", lambda: found)
    monkeypatch.setattr(connecting, "OURS", {})  # whatever this tree or environment brings along
    monkeypatch.delenv(connecting.VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("url", "error", "text"),
    [
        (None, ValueError, "no store is given: pass a URL or set LEADERLOCK_URL.*sqlite:.*redis://.*private file"),
        ("", ValueError, "is not a URL"),
        ("/var/lib/x.db", ValueError, "for a file of this host say 'sqlite:////var/lib/x.db'"),
        ("mysql://host", ValueError, "no driver for 'mysql': URLs; there are memory:, redis:, sqlite:"),
        ("redis://host", BackendNotInstalled, r"cannot be imported .*pip install 'leaderlock\[redis\]'"),
        (7, TypeError, "a URL or a Backend, not int"),
        (b"sqlite:", TypeError, "a URL or a Backend, not bytes"),
        (object(), TypeError, r"not object; a client of a store is lent .*leaderlock_redis\.from_client\(client\)"),
    ],
)
def test_a_store_that_cannot_be_is_refused_with_the_ones_that_can(url, error, text):
    with pytest.raises(error, match=text):
        connect(url)


def test_a_driver_of_ours_that_a_frozen_program_left_behind_is_named(monkeypatch):
    monkeypatch.setattr(connecting, "OURS", {"zk": "left_behind"})

    with pytest.raises(BackendNotInstalled, match=r"leaderlock_left_behind.*zk: URLs.*not here.*froze"):
        connect("zk://host")


@pytest.mark.parametrize("url", ["sqlite:///x.db\n", " sqlite:", "sqlite:///x\t.db", "memory://u:secret@h\x00", "\n"])
def test_a_url_with_a_line_s_end_is_refused_and_not_shown_instead_of_naming_another_store(monkeypatch, url):
    monkeypatch.setenv(connecting.VARIABLE, url.replace("\x00", "\x01"))

    for call in (connect, lambda: connect(url)):
        with pytest.raises(ValueError, match="white space, or has a character that cannot be printed") as raised:
            call()

        assert url.strip()[:6] not in str(raised.value) or not url.strip()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"ttl": 0}, ValueError, "15 s suits most"),
        ({"ttl": "15"}, TypeError, "ttl is a number of seconds, not str"),
        ({"ttl": None}, TypeError, "ttl is a number of seconds, not NoneType"),
        ({"ttl": True}, TypeError, "ttl is a number of seconds, not bool"),
        ({"ttl": float("nan")}, ValueError, "ttl must be finite"),
        ({"ttl": 60}, ValueError, "longest=60"),
        ({"renew_every": 0}, ValueError, "renew_every .0 s. must be above zero"),
        ({"renew_every": 10}, ValueError, "at most 7.5 s"),
        ({"renew_every": -1}, ValueError, "renew_every .-1 s. must be above zero"),
        ({"renew_every": "1"}, TypeError, "renew_every is a number of seconds, not str"),
        ({"clock": 5}, TypeError, "clock is a leaderlock.testing.ManualClock"),
        ({"label": "me\n"}, ValueError, r"unprintable character '\\n'"),
        ({"back_off": 5}, TypeError, "back_off is one of tenacity's"),
        ({"label": 5}, TypeError, "label is a string, not int"),
        ({"label": None}, TypeError, "label is a string"),
        ({"label": "x" * 201}, ValueError, "label has 201 characters"),
        ({"namespace": ""}, ValueError, "must not be empty"),
        ({"namespace": "a/b"}, ValueError, "must not have slashes"),
        ({"namespace": 5}, TypeError, "a namespace is a string"),
        ({"no_such_option": 5}, TypeError, "no_such_option"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options, error, text):
    with pytest.raises(error, match=text):
        connect("memory:", **options)


def test_the_environment_names_the_namespace_where_the_caller_does_not(monkeypatch):
    monkeypatch.setenv("LEADERLOCK_NAMESPACE", "blue")
    with connect("memory:") as told, connect("memory:", namespace="green") as named:
        monkeypatch.setenv("LEADERLOCK_NAMESPACE", "")
        with connect("memory:") as untold:
            assert (told.namespace, named.namespace, untold.namespace) == ("blue", "green", "default")


def test_a_backend_takes_no_options_of_a_driver_s():
    with pytest.raises(TypeError, match="go where it is made: durability"):
        connect(MemoryBackend(), durability="disk")


def test_the_environment_names_the_store(monkeypatch):
    monkeypatch.setenv(connecting.VARIABLE, "memory:")

    with connect() as client:
        assert client.traits.store == "memory"


def test_connecting_asks_nobody(tmp_path):
    store = MemoryStore()
    with connect(store.backend()):
        assert not store.core.spaces["default"].registers


def test_a_client_says_who_it_is():
    with connect("memory:", label="the night shift") as client, client.election("a") as lease:
        assert lease.holder.label == "the night shift"
        assert lease.holder.pid == os.getpid()
        assert "the night shift" in str(lease.holder)
        assert client.election("a").leader().holder == lease.holder


def test_one_memory_store_by_name_is_shared_and_one_without_is_not():
    with (
        connect("memory:here") as one,
        connect("memory:here") as other,
        connect("memory:") as third,
        one.election("a"),
        third.election("a", wait=False),
    ):
        assert other.election("a").leader() is not None


def test_the_default_client_is_opened_once_and_on_first_use(monkeypatch):
    monkeypatch.setenv(connecting.VARIABLE, "memory:")
    monkeypatch.setattr(connecting, "_default", [])

    client = connecting.default_client()
    try:
        assert connecting.default_client() is client
    finally:
        client.close()
    with pytest.raises(UsageError):
        connecting.default_client().names()


def test_the_lock_of_the_default_client_that_is_held_at_a_fork_is_free_in_the_child(monkeypatch):
    with connecting._default_lock.here():
        monkeypatch.setattr(os, "getpid", lambda: -1)  # as in the child, where the thread that holds it is not

        is_free = connecting._default_lock.here().acquire(blocking=False)

    assert is_free
