"""etcd URLs that cannot work, on real servers, and TLS that does."""

import contextlib
import itertools
import json
import threading

import pytest

from leaderlock import CampaignTimeout, connect
from leaderlock.backend import ABSENT, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock_etcd import open_backend
from tests.servers.etcd import EtcdServer, free_ports
from tests.servers.redis import RedisServer, until
from tests.stores.certificates import Certificates
from tests.stores.refusals import TIMEOUT, is_told

NAMES = (f"refusals-{number}" for number in itertools.count())
USER = {"name": "app", "password": "s3cret"}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def places(tmp_path_factory, certificates):
    """What the table's URLs name, by name."""
    with contextlib.ExitStack() as stack:
        found = {"nobody": free_ports(1)[0], "ca": certificates.ca, "stranger": certificates.strangers_ca}
        found |= {"client": certificates.client.both, "client_key": certificates.client.key}

        def start(called, *flags, wait=True, **options):
            server = EtcdServer(tmp_path_factory.mktemp(called), *flags, **options)
            stack.callback(server.kill)
            server.start(wait=wait)
            found[called] = server.port
            return server

        found["plain_server"] = start("plain")
        guard(start("guarded"))
        for name in ("good", "expired", "elsewhere"):
            pair = getattr(certificates, name)
            start(name, "--cert-file", str(pair.cert), "--key-file", str(pair.key), wait=False)
        trusting = ("--cert-file", str(certificates.good.cert), "--key-file", str(certificates.good.key))
        start("mutual", *trusting, "--trusted-ca-file", str(certificates.ca), "--client-cert-auth", wait=False)
        # One of three, whose two others never come.
        peers = free_ports(6)
        everybody = ",".join(f"m{at}=http://127.0.0.1:{peers[2 * at + 1]}" for at in range(3))
        start("lonely", name="m0", ports=(peers[0], peers[1]), cluster=everybody, wait=False)
        redis = RedisServer(tmp_path_factory.mktemp("redis"))
        stack.enter_context(redis.running())
        found["redis"] = redis.port
        for name in ("good", "expired", "elsewhere", "mutual", "lonely"):
            until(lambda port=found[name]: listens(port), f"{name} listens")
        yield found


def listens(port):
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
    except OSError:
        return False
    return True


def guard(server):
    """Let only one user in, and to one prefix."""
    prefix = {"key": "L3Rlc3RzLw==", "range_end": "L3Rlc3RzMA=="}  # /tests/ up to /tests0
    server.ask("auth/user/add", {"name": "root", "password": "root"})
    server.ask("auth/user/grant", {"user": "root", "role": "root"})
    server.ask("auth/user/add", USER)
    server.ask("auth/role/add", {"name": "leaders"})
    server.ask("auth/role/grant", {"name": "leaders", "perm": {"permType": "READWRITE", **prefix}})
    server.ask("auth/user/grant", {"user": "app", "role": "leaders"})
    server.ask("auth/enable", {})


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("etcd://no-such-host.invalid", BackendUnavailable, "is etcd there"),
        ("etcd://127.0.0.1:{nobody}", BackendUnavailable, "is etcd there.*refused"),
        ("etcd://127.0.0.1:{redis}", BackendUnavailable, "is etcd there"),
        ("etcd://127.0.0.1:{lonely}", BackendUnavailable, "has it a leader"),
        ("etcd://app:wr0ng@127.0.0.1:{guarded}/tests", BackendRefused, "the user or the password is wrong"),
        ("etcd://nobody:wr0ng@127.0.0.1:{guarded}/tests", BackendRefused, "the user or the password is wrong"),
        ("etcd://127.0.0.1:{guarded}/tests", BackendRefused, "put user:password@ into the URL"),
        ("etcd://app:s3cret@127.0.0.1:{guarded}/elsewhere", BackendRefused, "grant it a role that has readwrite"),
        ("etcds://127.0.0.1:{plain}?ca={ca}", BackendUnavailable, r"TLS\?"),
        ("etcd://127.0.0.1:{good}", BackendUnavailable, r"TLS\? .*etcds://"),
        ("etcds://127.0.0.1:{good}", BackendUnavailable, r"TLS\? look at ca="),
        ("etcds://127.0.0.1:{good}?ca={stranger}", BackendUnavailable, r"TLS\? look at ca="),
        ("etcds://127.0.0.1:{expired}?ca={ca}", BackendUnavailable, r"TLS\? look at .*dates"),
        ("etcds://127.0.0.1:{elsewhere}?ca={ca}", BackendUnavailable, r"TLS\? .*names in the server's certificate"),
        ("etcds://127.0.0.1:{mutual}?ca={ca}", BackendUnavailable, r"TLS\? look at .*cert= and key="),
    ],
)
def test_who_points_at_the_wrong_thing_is_told(places, url, error, says):
    url = url.format(**places)

    is_told(lambda: open_backend(url, namespace="x"), url.partition("?")[0], error, says)


def works(url, **options):
    backend, woken = open_backend(url, namespace=next(NAMES), **options), threading.Event()
    memory = backend.read([], timeout=TIMEOUT).memory
    backend.watch(["name/a"], lambda _: woken.set())
    assert woken.wait(TIMEOUT)
    woken.clear()
    (answer,) = backend.swap([Write("name/a", ABSENT, b"x" * 100_000)], memory, timeout=TIMEOUT)
    assert isinstance(answer, Swapped)
    assert woken.wait(TIMEOUT)
    backend.close()
    return True


def test_tls_with_an_authority_of_ones_own(places):
    assert works("etcds://localhost:{good}?ca={ca}".format(**places))


def test_tls_with_certificates_on_both_sides(places, certificates):
    pair = certificates.client

    assert works(f"etcds://127.0.0.1:{places['mutual']}?ca={certificates.ca}&cert={pair.cert}&key={pair.key}")


def test_a_user_and_a_password(places):
    assert works("etcd://app:s3cret@127.0.0.1:{guarded}/tests".format(**places))


def test_another_longest_than_the_namespaces_is_refused(places):
    url, namespace = "etcd://127.0.0.1:{plain}".format(**places), next(NAMES)
    with connect(url, ttl=2.0, namespace=namespace) as client:
        client.init()

    with (
        connect(url, ttl=2.0, longest=5.0, namespace=namespace) as other,
        pytest.raises(BackendRefused, match=r"longest=30 .*same terms"),
    ):
        other.election("job").campaign(timeout=TIMEOUT)


def test_a_record_of_a_newer_format_is_waited_for_and_told_once(places, caplog):
    namespace, server = next(NAMES), places["plain_server"]
    with connect(f"etcd://127.0.0.1:{server.port}", ttl=1.0, namespace=namespace) as client:
        with client.election("job", timeout=TIMEOUT):
            pass
        with contextlib.closing(open_backend(f"etcd://127.0.0.1:{server.port}", namespace=namespace)) as backend:
            record = json.loads(backend.read(["name/job"], timeout=TIMEOUT).seen["name/job"].value)
            newer = json.dumps({**record, "v": 99, "r": 99}).encode()
            server.put(f"/leaderlock/{namespace}/name/job".encode(), newer)

            with pytest.raises(CampaignTimeout):
                client.election("job").campaign(timeout=2.5)

            assert backend.read(["name/job"], timeout=TIMEOUT).seen["name/job"].value == newer
    warnings = [record.getMessage() for record in caplog.records if "upgrade" in record.getMessage()]
    assert len(warnings) == 1, caplog.text
