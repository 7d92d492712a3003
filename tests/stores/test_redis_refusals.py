"""Redis URLs that cannot work, on real servers, and TLS that does."""

import contextlib
import itertools
import json
import threading

import pytest
import redis

from leaderlock import CampaignTimeout, connect
from leaderlock.backend import ABSENT, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock_redis import from_client, open_backend
from tests.servers.etcd import EtcdServer
from tests.servers.redis import RedisServer, free_port
from tests.stores.certificates import Certificates
from tests.stores.refusals import TIMEOUT, is_told

NAMES = (f"refusals-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


def tls(port, pair, certificates, *, clients="no"):
    return (
        *("--tls-port", str(port), "--tls-cert-file", str(pair.cert), "--tls-key-file", str(pair.key)),
        *("--tls-ca-cert-file", str(certificates.ca), "--tls-auth-clients", clients),
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory, certificates):
    """What the table's URLs name, by name."""
    with contextlib.ExitStack() as stack:
        found = {"nobody": free_port(), "ca": certificates.ca, "stranger": certificates.strangers_ca}

        def start(name, *settings, port=None):
            server = RedisServer(tmp_path_factory.mktemp(name), *settings)
            stack.enter_context(server.running())
            found[name] = port or server.port
            return server

        plain = start("plain")
        start("guarded", "--requirepass", "s3cret")
        start("replica", "--replicaof", "127.0.0.1", str(plain.port))
        start("full", "--maxmemory", "1")
        start("evicts", "--maxmemory-policy", "allkeys-lru")
        start("node", "--cluster-enabled", "yes", "--cluster-port", str(free_port()))
        for name in ("good", "expired", "elsewhere"):
            port = free_port()
            start(name, *tls(port, getattr(certificates, name), certificates), port=port)
        port = free_port()
        start("mutual", *tls(port, certificates.good, certificates, clients="yes"), port=port)
        plain.do("ACL", "SETUSER", "blind", "on", ">s3cret", "~leaderlock:*", "&leaderlock:*", "+@all", "-info")
        plain.do("ACL", "SETUSER", "apart", "on", ">s3cret", "~others:*", "&others:*", "+@all")
        plain.do("SET", "leaderlock:{somebodys}:", "data")
        plain.do("SET", "leaderlock:{partly}:name/a", "data")
        etcd = EtcdServer(tmp_path_factory.mktemp("etcd"))
        stack.callback(etcd.kill)
        etcd.start()
        found |= {"etcd": etcd.port, "socket": tmp_path_factory.mktemp("none") / "socket", "plain_server": plain}
        yield found


@pytest.mark.parametrize(
    ("url", "error", "says"),
    [
        ("redis://no-such-host.invalid", BackendUnavailable, "no connection .*(resol|known|address)"),
        ("redis://127.0.0.1:{nobody}", BackendUnavailable, "no connection .*refused"),
        ("unix://{socket}", BackendUnavailable, "no connection"),
        ("redis://127.0.0.1:{etcd}", BackendUnavailable, "is it Redis, and without TLS"),
        ("redis://:wr0ng@127.0.0.1:{guarded}", BackendRefused, "user name or password are wrong"),
        ("redis://nobody:wr0ng@127.0.0.1:{plain}", BackendRefused, "user name or password are wrong"),
        ("redis://127.0.0.1:{plain}/99", BackendRefused, "DB index is out of range"),
        ("redis://127.0.0.1:{guarded}", BackendRefused, "wants a password.*redis://:password@.*redis://user:password@"),
        ("redis://blind:s3cret@127.0.0.1:{plain}", BackendRefused, r"ACL SETUSER <user> .*\+info"),
        ("redis://apart:s3cret@127.0.0.1:{plain}", BackendRefused, r"ACL SETUSER <user> ~leaderlock"),
        ("redis://127.0.0.1:{replica}", BackendRefused, "replica.*name the master"),
        ("redis://127.0.0.1:{full}", BackendRefused, "memory is full.*raise maxmemory"),
        ("redis://127.0.0.1:{evicts}", BackendRefused, "allkeys-lru.*set noeviction"),
        ("redis://127.0.0.1:{node}", BackendRefused, r"node of a cluster; begin the URL with redis\+cluster:"),
        ("redis+cluster://127.0.0.1:{plain}", BackendRefused, r"leave \+cluster out"),
        ("redis+cluster://127.0.0.1:{node}", BackendUnavailable, "CLUSTERDOWN"),
        ("redis+sentinel://127.0.0.1:{nobody}/main", BackendUnavailable, "no Sentinel says.*refused"),
        ("rediss://127.0.0.1:{plain}?ssl_ca_certs={ca}", BackendUnavailable, "TLS.*redis://"),
        ("redis://127.0.0.1:{good}", BackendUnavailable, "is it Redis, and without TLS.*rediss://"),
        ("rediss://127.0.0.1:{good}", BackendRefused, "certificate.*ssl_ca_certs"),
        ("rediss://127.0.0.1:{good}?ssl_ca_certs={stranger}", BackendRefused, "certificate.*ssl_ca_certs"),
        ("rediss://127.0.0.1:{expired}?ssl_ca_certs={ca}", BackendRefused, "certificate.*expired"),
        ("rediss://127.0.0.1:{elsewhere}?ssl_ca_certs={ca}", BackendRefused, "certificate.*(mismatch|not valid for)"),
        ("rediss://127.0.0.1:{mutual}?ssl_ca_certs={ca}", BackendUnavailable, "TLS.*ssl_certfile"),
    ],
)
def test_who_points_at_the_wrong_thing_is_told(places, url, error, says):
    url = url.format(**places)

    is_told(lambda: open_backend(url, namespace="x"), url, error, says)


@pytest.mark.parametrize("namespace", ["somebodys", "partly"])
def test_keys_of_another_type_are_left_alone(places, namespace):
    url = f"redis://127.0.0.1:{places['plain']}"
    backend = open_backend(url, namespace=namespace)

    with pytest.raises(BackendRefused, match="another type; delete that key, or use another namespace"):
        backend.read(["name/a"], timeout=TIMEOUT)

    backend.close()


@pytest.mark.parametrize("option", ["disk", "replicas:1"])
def test_another_durability_than_the_namespaces_is_refused(tmp_path, option):
    with RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always").running() as server:
        with connect(server.url, ttl=2.0) as client:
            client.init()
        with (
            connect(server.url, ttl=2.0, durability=option) as other,
            pytest.raises(BackendRefused, match=r"durability='memory'.*same terms"),
        ):
            other.election("job").campaign(timeout=TIMEOUT)


def test_a_record_of_a_newer_format_is_waited_for_and_told_once(places, caplog):
    namespace, server = next(NAMES), places["plain_server"]
    with connect(server.url, ttl=1.0, namespace=namespace) as client:
        client.init()
        with client.election("job", timeout=TIMEOUT):
            pass
        place = f"leaderlock:{{{namespace}}}:name/job"
        record = json.loads(server.do("HGET", place, "value").split(b"\r\n")[1])
        server.do("HSET", place, "value", json.dumps({**record, "v": 99, "r": 99}), "stamp", "1")

        with pytest.raises(CampaignTimeout):
            client.election("job").campaign(timeout=2.5)

    warnings = [record.getMessage() for record in caplog.records if "upgrade" in record.getMessage()]
    assert len(warnings) == 1, caplog.text
    assert server.do("HGET", place, "stamp").endswith(b"1\r\n"), "it was left alone"


def works(url, **options):
    backend, woken = open_backend(url, namespace=next(NAMES), **options), threading.Event()
    memory = backend.read([], timeout=TIMEOUT).memory
    backend.watch(["name/a"], lambda _: woken.set())
    assert woken.wait(TIMEOUT)
    woken.clear()
    (answer,) = backend.swap([Write("name/a", ABSENT, b"x" * 100_000)], memory, timeout=TIMEOUT)
    assert isinstance(answer, Swapped)
    assert woken.wait(TIMEOUT)
    assert backend.read(["name/a"], timeout=TIMEOUT).seen["name/a"].value == b"x" * 100_000
    backend.close()
    return True


def test_tls_with_an_authority_of_ones_own(places):
    assert works("rediss://localhost:{good}?ssl_ca_certs={ca}".format(**places))
    assert works("valkeys://127.0.0.1:{good}?ssl_ca_certs={ca}".format(**places))


def test_tls_with_certificates_on_both_sides(places, certificates):
    pair = certificates.client
    files = f"ssl_certfile={pair.cert}&ssl_keyfile={pair.key}"

    assert works(f"rediss://localhost:{places['mutual']}?ssl_ca_certs={certificates.ca}&{files}")


def test_a_client_with_tls_lends_it(places, certificates):
    client = redis.Redis(port=places["good"], ssl=True, ssl_ca_certs=str(certificates.ca))
    with contextlib.closing(from_client(client, namespace=next(NAMES))) as backend:
        assert backend.read([], timeout=TIMEOUT).memory


def test_sentinel_and_its_master_over_tls(tmp_path, certificates):
    from tests.stores.redis_groups import Group

    pair, ports = certificates.good, (free_port(), free_port())
    files = f"tls-cert-file {pair.cert}", f"tls-key-file {pair.key}", f"tls-ca-cert-file {certificates.ca}"
    group = Group(
        tmp_path,
        *tls(ports[0], pair, certificates),
        replicas=0,
        sentinels=1,
        # Sentinel speaks to the master as the master's own replication does.
        lines=(f"tls-port {ports[1]}", "tls-auth-clients no", "tls-replication yes", *files),
        master_port=ports[0],
    )
    try:
        for one in (*group.servers, *group.sentinels):
            one.start()
        url = f"rediss+sentinel://127.0.0.1:{ports[1]}/mymaster?ssl_ca_certs={certificates.ca}"

        assert works(url)
    finally:
        for one in (*group.servers, *group.sentinels):
            one.kill()
