"""Where the ZooKeeper driver puts what, and which place a URL means."""

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("kazoo")

from leaderlock.errors import BackendNotInstalled, BackendRefused, BackendUnavailable
from leaderlock_zookeeper import from_client, open_backend
from leaderlock_zookeeper._kazoo import check_version
from leaderlock_zookeeper._marks import SPAN, Mark
from leaderlock_zookeeper._paths import Layout, escape, is_life, unescape
from leaderlock_zookeeper._requests import Node
from leaderlock_zookeeper._url import place_of_url

LIFE = "0123456789abcdef" * 2
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(texts)
def test_every_text_becomes_one_part_of_a_path_and_comes_back(text):
    part = escape(text)

    assert part.isascii()
    assert part.isprintable()
    assert "/" not in part
    assert part not in (".", "..")
    assert unescape(part) == text


@given(texts, texts)
def test_different_keys_have_different_places(one, other):
    layout = Layout("/leaderlock", "default")

    assert (layout.register(LIFE, one) == layout.register(LIFE, other)) == (one == other)


def test_a_register_lies_under_its_life_and_namespace():
    path = Layout("/a/b", "team x").register(LIFE, "name/job")

    assert path.startswith(f"/a/b/team%20x/{LIFE}/")
    assert path.endswith("/name%2Fjob")


@pytest.mark.parametrize("memory", ["", "x", LIFE + "0", LIFE.upper(), "../" + LIFE, LIFE[:-1] + "/"])
def test_only_a_life_is_taken_for_one(memory):
    assert is_life(LIFE)
    assert not is_life(memory)


@pytest.mark.parametrize(
    ("url", "hosts", "root"),
    [
        ("zk://h1:2181,h2,h3/chroot", "h1:2181,h2,h3", "/chroot"),
        ("ZooKeeper://h1", "h1", "/leaderlock"),
        ("zk://h1/", "h1", "/leaderlock"),
        ("zk://[::1]:2183,10.0.0.1/a/b", "[::1]:2183,10.0.0.1", "/a/b"),
        ("zk://h1/a%20b/", "h1", "/a b"),
    ],
)
def test_a_url_names_hosts_and_a_root(url, hosts, root):
    place = place_of_url(url, {})

    assert (place.hosts, place.root, place.user, place.uses_tls) == (hosts, root, "", False)


def test_a_url_names_a_user_and_hides_the_password():
    place = place_of_url("zk://ann:p%40ss:word@h1", {})

    assert (place.user, place.password) == ("ann", "p@ss:word")
    assert "word" not in f"{place} {place!r}"


def test_files_for_tls_come_from_the_url_or_from_options():
    by_url = place_of_url("zk://h1?ca=/ca.pem&certfile=/c.pem&keyfile=/k.pem", {})
    by_options = place_of_url("zk://h1", {"ca": "/ca.pem", "certfile": "/c.pem", "keyfile": "/k.pem"})

    assert by_url == by_options
    assert by_url.uses_tls
    assert place_of_url("zk://h1", {"tls": True}).tls == {}
    assert place_of_url("zk://h1?tls=true", {}).uses_tls


@pytest.mark.parametrize(
    "url",
    [
        "zk:h1",
        "zk://",
        "zk:///root",
        "zk://h1:0",
        "zk://h1:65536",
        "zk://h1:port",
        "zk://h1,,h2",
        "zk://ann@h1",
        "zk://:pw@h1",
        "zk://h1/a//b",
        "zk://h1/../b",
        "zk://h1/zookeeper/x",
        "zk://h1#x",
        "zk://h1?certfile=/c.pem",
        "zk://h1?ca=/a.pem&ca=/b.pem",
        "zk://ann:12/secret@h1",
        "redis://h1",
    ],
)
def test_a_url_that_cannot_work_is_refused_with_the_form(url):
    with pytest.raises(ValueError):
        open_backend(url, namespace="default")


@pytest.mark.parametrize(
    "url",
    [
        *(f"zk://ann:{mark}secret@h1" for mark in ("1/", "1?", "1#", "/", "?", "#")),
        *(
            "zk:ann:secret@h1",
            "zk://ann:secret",
            "zk://h,ann:secret/x",
            "zk://ann:secret@",
            "zk://ann:secret@h1:port",
            "zk://h1?keyfile_passwort=secret",
        ),
    ],
)
def test_a_url_that_cannot_work_does_not_show_its_password(url):
    with pytest.raises((ValueError, TypeError)) as raised:
        open_backend(url, namespace="default")

    assert "secret" not in f"{raised.value} {raised.value.__cause__}"


@pytest.mark.parametrize("options", [{"colour": "blue"}, {"ca": ""}, {"ca": 1}, {"tls": "maybe"}])
def test_an_option_that_is_not_known_is_refused(options):
    with pytest.raises(TypeError, match="option"):
        open_backend("zk://h1", namespace="default", **options)


def test_what_is_no_kazoo_client_is_not_taken_for_one():
    with pytest.raises(TypeError, match="KazooClient"):
        from_client(object())


@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=60))
def test_the_floor_rises_with_every_zxid_whatever_the_steps(steps):
    zxid, mark, before = 7 << 32, Mark(1_700_000_000_000_000, 0, 7 << 32), 0

    for step in steps:
        zxid += step
        while (floor := mark.floor(zxid)) is None:
            # What Marks.rewrite does; the write itself takes the next zxid.
            zxid += 1
            mark = Mark(mark.base + SPAN, mark.version + 1, zxid)
        assert floor > before
        before = floor


@given(st.lists(st.integers(1, 50_000), min_size=1, max_size=60), st.integers(0, 60))
def test_the_floor_runs_ahead_by_a_span_for_each_election_and_no_more(steps, elections):
    zxid, mark, base = 0, Mark(0, 0, 0), 0

    for number, step in enumerate(steps):
        zxid += step + ((1 << 32) if number < elections else 0)
        while (floor := mark.floor(zxid)) is None:
            mark = Mark(mark.base + SPAN, 0, zxid)
        base = floor

    assert base <= sum(steps) + SPAN * (min(elections, len(steps)) + 1)


def test_a_mark_newer_than_the_answer_is_no_floor():
    with pytest.raises(BackendUnavailable):
        Mark(1, 0, 100).floor(99)


def test_a_mark_that_somebody_else_wrote_is_refused():
    with pytest.raises(BackendRefused, match="did not write"):
        Mark.of(Node(b"hello", 0, 1))


@pytest.mark.parametrize(
    ("version", "is_fit"), [("2.9.0", False), ("2.10.0", True), ("2.11.0", True), ("3.0rc1", True)]
)
def test_a_kazoo_that_is_too_old_is_refused(version, is_fit):
    with contextlib.nullcontext() if is_fit else pytest.raises(BackendNotInstalled, match=rf"{version} is too old"):
        check_version(version)


def test_a_kazoo_that_cannot_check_host_names_is_refused_for_tls_only(monkeypatch):
    class Older:
        def __init__(self, hosts, use_ssl=False, verify_certs=True):
            raise AssertionError("nothing was to be opened")

    monkeypatch.setattr("kazoo.client.KazooClient", Older)

    open_backend("zk://h", namespace="n").close()
    with pytest.raises(BackendNotInstalled, match=r"TLS needs 2\.11"):
        open_backend("zk://h?tls=true", namespace="n")


def test_without_kazoo_the_message_says_what_to_install():
    body = """
import sys
sys.modules["kazoo"] = None
import leaderlock
with leaderlock.connect("zk://127.0.0.1:1") as client:
    client.election("job").campaign(timeout=0.1)
"""

    done = subprocess.run([sys.executable, "-c", body], capture_output=True, text=True, check=False)

    assert "BackendNotInstalled" in done.stderr
    assert "pip install 'leaderlock[zookeeper]'" in done.stderr
