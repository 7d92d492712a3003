"""ZooKeeper URLs that cannot work, on real servers, and TLS that does."""

import contextlib
import gc
import itertools
import json
import logging
import threading

import pytest
from kazoo.client import KazooClient

from leaderlock import CampaignTimeout, connect
from leaderlock.backend import ABSENT, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock_zookeeper import from_client, open_backend
from leaderlock_zookeeper._paths import Layout
from tests.servers.redis import RedisServer
from tests.servers.zookeeper import Server, free_ports
from tests.stores.certificates import Certificates
from tests.stores.refusals import TIMEOUT, is_told

NAMES = (f"urls-{number}" for number in itertools.count())
NETTY = ("codec", "resolver", "transport-native-unix-common")
"""Without these Debian's ZooKeeper listens for TLS, and then fails to speak it."""

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning"),  # kazoo's thread dies of much
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # and leaves its sockets open
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    # What it logs keeps the sockets of failed handshakes alive.
    monkeypatch.setattr(logging.getLogger("kazoo"), "disabled", True)
    monkeypatch.setattr(logging.getLogger("kazoo.client"), "disabled", True)
    yield
    gc.collect()  # it leaves those to the collector; not to that of the next test, please


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


def secure(port, pair, certificates, *, clients="none"):
    return (
        "serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory",
        f"secureClientPort={port}",
        "secureClientPortAddress=127.0.0.1",
        f"ssl.keyStore.location={pair.both}",
        f"ssl.trustStore.location={certificates.ca}",
        f"ssl.clientAuth={clients}",
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory, certificates):
    """What the table's URLs name, by name."""
    with contextlib.ExitStack() as stack:
        found = {"nobody": free_ports(1)[0], "ca": certificates.ca, "stranger": certificates.strangers_ca}
        started = []

        def launch(name, *lines, port=None, waits=True):
            server = Server(tmp_path_factory.mktemp(name) / "data", free_ports(1)[0], peers=lines)
            server.classpath += "".join(f":/usr/share/java/netty-{part}.jar" for part in NETTY)
            stack.callback(server.kill)
            server.launch()
            found[name] = port or server.port
            if waits:
                started.append(server)

        launch("plain")
        for name in ("good", "expired", "elsewhere"):
            port = free_ports(1)[0]
            launch(name, *secure(port, getattr(certificates, name), certificates), port=port)
        port = free_ports(1)[0]
        launch("mutual", *secure(port, certificates.good, certificates, clients="need"), port=port)
        # One of three, whose two others never come.
        peers = free_ports(6)
        trio = [f"server.{at + 1}=127.0.0.1:{peers[2 * at]}:{peers[2 * at + 1]}" for at in range(3)]
        launch("lonely", *trio, waits=False)
        redis = RedisServer(tmp_path_factory.mktemp("redis"))
        stack.enter_context(redis.running())
        found["redis"] = redis.port
        for server in started:
            server.wait()
        ann = open_backend("zk://ann:s3cret@127.0.0.1:{plain}/anns".format(**found), namespace="x")
        with contextlib.closing(ann):
            found["life"] = ann.read([], timeout=20).memory
        yield found


UNREACHED = "no ZooKeeper server could be reached in time.*does it want TLS.*has it a quorum"


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("zk://leaderlock.invalid", BackendUnavailable, UNREACHED),
        ("zk://127.0.0.1:{nobody}", BackendUnavailable, UNREACHED),
        ("zk://127.0.0.1:{redis}", BackendUnavailable, UNREACHED),
        ("zk://127.0.0.1:{lonely}", BackendUnavailable, UNREACHED),
        ("zk://127.0.0.1:{good}", BackendUnavailable, UNREACHED),
        ("zk://127.0.0.1:{plain}?tls=true", BackendUnavailable, "speak TLS.*has ca= who signed"),
        ("zk://127.0.0.1:{good}?tls=true", BackendUnavailable, "speak TLS.*has ca= who signed"),
        ("zk://127.0.0.1:{good}?ca={stranger}", BackendUnavailable, "speak TLS.*has ca= who signed"),
        ("zk://127.0.0.1:{expired}?ca={ca}", BackendUnavailable, "TLS.*dates"),
        ("zk://127.0.0.1:{elsewhere}?ca={ca}", BackendUnavailable, "TLS.*names"),
        ("zk://127.0.0.1:{mutual}?ca={ca}", BackendUnavailable, "TLS.*certfile"),
        ("zk://127.0.0.1:{plain}/anns", BackendRefused, "credentials may not do that; grant"),
        ("zk://ann:wr0ng@127.0.0.1:{plain}/anns", BackendRefused, "credentials may not do that; grant"),
        ("zk://bob:s3cret@127.0.0.1:{plain}/anns", BackendRefused, "credentials may not do that; grant"),
    ],
)
def test_who_points_at_the_wrong_thing_is_told(places, url, error, says):
    url = url.format(**places)

    # Where nobody is reached, each call takes all the time it has.
    timeout = TIMEOUT if error is BackendRefused else 1.0
    is_told(lambda: open_backend(url, namespace="x"), url, error, says, memory=places["life"], timeout=timeout)


def works(url, **options):
    backend, woken = open_backend(url, namespace=next(NAMES), **options), threading.Event()
    memory = backend.read([], timeout=10).memory
    backend.watch(["name/a"], lambda _: woken.set())
    assert woken.wait(10)
    woken.clear()
    (answer,) = backend.swap([Write("name/a", ABSENT, b"x" * 100_000)], memory, timeout=10)
    assert isinstance(answer, Swapped)
    assert woken.wait(10)
    backend.close()
    return True


def test_tls_with_an_authority_of_ones_own(places):
    assert works("zk://localhost:{good}?ca={ca}".format(**places))
    assert works("zookeeper://127.0.0.1:{good}".format(**places), tls=True, ca=str(places["ca"]))


def test_tls_with_certificates_on_both_sides_and_a_user(places, certificates):
    pair = certificates.client
    url = f"zk://ann:s3cret@127.0.0.1:{places['mutual']}/anns"

    assert works(f"{url}?ca={certificates.ca}&certfile={pair.cert}&keyfile={pair.key}")


def test_a_client_with_tls_can_be_lent(places, certificates):
    lent = KazooClient(
        f"127.0.0.1:{places['good']}", use_ssl=True, ca=str(certificates.ca), verify_certs=True, check_hostname=True
    )
    lent.start(timeout=20)
    try:
        with contextlib.closing(from_client(lent, namespace=next(NAMES))) as backend:
            assert backend.read([], timeout=10).memory
    finally:
        lent.stop()
        lent.close()


def test_every_node_of_a_user_is_his_alone(places):
    url, namespace = "zk://ann:s3cret@127.0.0.1:{plain}/owned".format(**places), next(NAMES)
    with connect(url, ttl=4.0, namespace=namespace) as client, client.election("job", timeout=20):
        pass
    shell = KazooClient(f"127.0.0.1:{places['plain']}", auth_data=[("digest", "ann:s3cret")])
    shell.start(timeout=20)
    try:
        found = list(acls(shell, "/owned"))
    finally:
        shell.stop()
        shell.close()

    assert len(found) > 4
    assert {(acl.id.scheme, acl.id.id.partition(":")[0], acl.perms) for acl in found} == {("digest", "ann", 31)}


def acls(shell, path):
    yield from shell.get_acls(path)[0]
    for name in shell.get_children(path):
        yield from acls(shell, f"{path}/{name}")


def test_another_longest_than_the_namespaces_is_refused(places):
    url, namespace = "zk://127.0.0.1:{plain}".format(**places), next(NAMES)
    with connect(url, ttl=2.0, namespace=namespace) as client:
        client.init()

    with (
        connect(url, ttl=2.0, longest=5.0, namespace=namespace) as other,
        pytest.raises(BackendRefused, match=r"longest=30 .*same terms"),
    ):
        other.election("job").campaign(timeout=10)


def test_a_record_of_a_newer_format_is_waited_for_and_told_once(places, caplog):
    url, namespace = "zk://127.0.0.1:{plain}".format(**places), next(NAMES)
    shell = KazooClient(f"127.0.0.1:{places['plain']}")
    shell.start(timeout=20)
    layout = Layout("/leaderlock", namespace)
    try:
        with connect(url, ttl=2.0, namespace=namespace) as client:
            with client.election("job", timeout=20):
                pass
            path = layout.register(shell.get(layout.pointer)[0].decode(), "name/job")
            newer = json.dumps({**json.loads(shell.get(path)[0]), "v": 99, "r": 99}).encode()
            shell.set(path, newer)

            with pytest.raises(CampaignTimeout):
                client.election("job").campaign(timeout=4.0)

            assert shell.get(path)[0] == newer
    finally:
        shell.stop()
        shell.close()
    warnings = [record.getMessage() for record in caplog.records if "upgrade" in record.getMessage()]
    assert len(warnings) == 1, caplog.text
