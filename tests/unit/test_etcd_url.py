"""What an etcd URL means."""

import contextlib
from functools import partial

import grpc
import pytest

from leaderlock.errors import BackendNotInstalled, BackendUnavailable
from leaderlock_etcd import _open, from_client, open_backend
from leaderlock_etcd._space import Space
from leaderlock_etcd._url import Tls, place_of_url


def test_a_url_names_servers_and_a_prefix():
    place = place_of_url("etcd://h1:23790,h2,[::1]:2381/apps/blue/", {})

    assert place.targets == ("h1:23790", "h2:2379", "[::1]:2381")
    assert place.prefix == "/apps/blue"
    assert (place.user, place.tls) == (None, None)


@pytest.mark.parametrize("url", ["etcd://h", "etcd://h/", "ETCD://h:2379"])
def test_without_a_prefix_keys_begin_with_our_name(url):
    assert place_of_url(url, {}).prefix == "/leaderlock"


def test_credentials_are_unquoted_and_the_password_is_never_shown():
    place = place_of_url("etcd://a%40b:p%3Aw%2F@h:1/x", {})

    assert (place.user, place.password) == ("a@b", "p:w/")
    assert place.shown == "etcd://a%40b@h:1/x"


def test_tls_takes_files_from_the_query_and_from_options(tmp_path):
    for name in ("ca", "cert", "key"):
        (tmp_path / name).write_text(name)

    place = place_of_url(f"etcds://h?ca={tmp_path}/ca", {"cert": f"{tmp_path}/cert", "key": f"{tmp_path}/key"})

    assert place.tls == Tls(f"{tmp_path}/ca", f"{tmp_path}/cert", f"{tmp_path}/key")
    assert place.tls.load() == (b"ca", b"cert", b"key")
    assert place_of_url("etcds://h", {}).tls == Tls()


@pytest.mark.parametrize(
    ("url", "options", "error", "says"),
    [
        ("http://h", {}, ValueError, "not an etcd URL"),
        ("etcd:h", {}, ValueError, "not an etcd URL"),
        ("etcd://", {}, ValueError, "host:port"),
        ("etcd://h,,g", {}, ValueError, "host:port"),
        ("etcd://h:port", {}, ValueError, "host:port"),
        ("etcd://h:0", {}, ValueError, "1 to 65535"),
        ("etcd://h:99999", {}, ValueError, "1 to 65535"),
        ("etcd://user@h", {}, ValueError, "user:password"),
        ("etcd://h/x#y", {}, ValueError, "fragment"),
        ("etcd://h/%00", {}, ValueError, "not printable"),
        ("etcd://h?timeout=3", {}, ValueError, "'timeout'"),
        ("etcd://h", {"timeout": 3}, TypeError, "'timeout'"),
        ("etcd://h", {"ca": "x"}, ValueError, "etcds://"),
        ("etcds://h?cert=x", {}, ValueError, "go together"),
        ("etcds://h?ca=", {}, TypeError, "path of a PEM file"),
        ("etcds://h?ca=/nowhere", {}, ValueError, "cannot be read"),
        ("etcds://h?ca=/a&ca=/b", {}, ValueError, "an option twice"),
        ("etcd://ann:12/secret@realhost", {}, ValueError, "percent-encode user, password"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(url, options, error, says):
    with pytest.raises(error, match=says):
        open_backend(url, namespace="n", **options)


@pytest.mark.parametrize(
    "url",
    [
        *("http://u:secret@h", "etcd://u:secret@", "etcd://u:secret@h?x=1", "etcd://u:secret@h#", "etcd:u:secret@h"),
        *(
            f"{scheme}://u:{mark}secret@h"
            for scheme in ("http", "etcd", "etcds")
            for mark in ("1/", "1?", "1#", "/", "?")
        ),
    ],
)
def test_no_message_shows_the_password(url):
    with pytest.raises(ValueError) as raised:
        place_of_url(url, {})

    assert "secret" not in str(raised.value)


def test_without_grpcio_the_message_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(_open, "import_module", missing)

    with pytest.raises(BackendNotInstalled, match=r"pip install 'leaderlock\[etcd\]'"):
        open_backend("etcd://h", namespace="n")


@pytest.mark.parametrize(("version", "is_fit"), [("1.59.3", False), ("1.60.0", True), ("2.0.0rc1", True)])
def test_a_grpcio_that_is_too_old_is_refused(monkeypatch, version, is_fit):
    monkeypatch.setattr(grpc, "__version__", version)

    with contextlib.nullcontext() if is_fit else pytest.raises(BackendNotInstalled, match=rf"{version} is too old"):
        open_backend("etcd://h", namespace="n").close()


def test_a_certificate_that_can_no_longer_be_read_is_said_to_whoever_reads_and_to_the_doctor(tmp_path):
    ca = tmp_path / "ca"
    ca.write_text("a certificate")
    with contextlib.closing(open_backend(f"etcds://h?ca={ca}", namespace="n")) as backend:
        ca.unlink()

        for asked in (partial(backend.read, []), backend.diagnose):
            with pytest.raises(BackendUnavailable, match="certificate cannot be read"):
                asked(timeout=1)


def test_what_is_no_client_is_refused():
    with pytest.raises(TypeError, match="channel"):
        from_client(object(), namespace="n")


@pytest.mark.parametrize(("one", "other"), [("a", "a/b"), ("a", "a%2Fb"), ("a/b", "a%2Fb"), ("a", "ab"), ("%", "%25")])
def test_no_namespace_begins_with_another(one, other):
    spaces = [Space("/p", one), Space("/p", other)]

    ranges = [space.range("") for space in spaces]

    assert ranges[0][1] <= ranges[1][0] or ranges[1][1] <= ranges[0][0]
    assert all(first <= space.mark < end for space, (first, end) in zip(spaces, ranges, strict=True))
    assert spaces[0].name(spaces[0].key("name/👑/x")) == "name/👑/x"
