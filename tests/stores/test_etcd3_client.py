"""The driver on the channel of a client of the package etcd3 itself, and the fence over it.

That package (0.12.0, of 2020) can be imported only beside a protobuf that is as old, so it lives in an environment of
its own, made once and kept in ``.venv-etcd3``.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.etcd import EtcdServer
from tests.stores.certificates import Certificates
from tests.stores.test_etcd_refusals import USER, guard

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".venv-etcd3"
NEEDED = ("etcd3==0.12.0", "protobuf<3.21", "grpcio>=1.60", "tenacity>=8.2", "cronsim>=2.5")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def python():
    """An interpreter that can import etcd3."""
    stamp = PLACE / "needed"
    if not stamp.exists() or stamp.read_text() != "\n".join(NEEDED):
        shutil.rmtree(PLACE, ignore_errors=True)
        try:
            for command in (
                [sys.executable, "-m", "venv", str(PLACE)],
                # With the build tools of its time: it comes as a source only.
                [str(PLACE / "bin/pip"), "install", "--quiet", "--disable-pip-version-check", *NEEDED],
                [str(PLACE / "bin/python"), "-c", "import etcd3"],
            ):
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        except (subprocess.SubprocessError, OSError) as error:
            reason = (
                f"etcd3 was NOT tested: no environment for it could be made ({error}: {getattr(error, 'stderr', '')})"
            )
            if os.environ.get("LEADERLOCK_REQUIRE_STORES") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        stamp.write_text("\n".join(NEEDED))
    return PLACE / "bin/python"


@pytest.fixture
def run(python):
    def run(**settings):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])}
        done = subprocess.run(
            [python, ROOT / "tests/stores/etcd3_program.py", json.dumps(settings)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def start(tmp_path):
    servers = []

    def start_one(*flags):
        servers.append(EtcdServer(tmp_path, *flags))
        # What has a certificate cannot be asked for its health here; clients wait for it anyway.
        servers[-1].start(wait=not flags)
        return servers[-1]

    yield start_one
    for server in servers:
        server.kill()


def expect(found):
    assert found.pop("token") > 1_600_000_000_000_000
    assert found == {
        "version": "0.12.0",
        "swapped": "Swapped",
        "stands": True,
        "woken": True,
        "held": True,
        "fenced": ["10", "new", "11"],
        "theirs": "kept",
    }


def test_a_client_of_etcd3_lends_its_channel(run, start):
    expect(run(host="127.0.0.1", port=start().port))


def tls(certificates):
    return "--cert-file", str(certificates.good.cert), "--key-file", str(certificates.good.key)


def test_a_client_of_etcd3_with_a_password_lends_its_token(run, start, tmp_path):
    certificates, server = Certificates(tmp_path), start()
    guard(server)
    server.kill()
    # Newer releases of gRPC give etcd3's own token away over TLS only. The same disk again:
    server = start(*tls(certificates))

    expect(run(host="127.0.0.1", port=server.port, ca_cert=str(certificates.ca), user="app", password=USER["password"]))


def test_a_client_of_etcd3_with_certificates_on_both_sides_lends_them(run, start, tmp_path):
    certificates = Certificates(tmp_path)
    mine = certificates.client
    server = start(*tls(certificates), "--trusted-ca-file", str(certificates.ca), "--client-cert-auth")
    files = {"ca_cert": str(certificates.ca), "cert_cert": str(mine.cert), "cert_key": str(mine.key)}

    expect(run(host="127.0.0.1", port=server.port, **files))
