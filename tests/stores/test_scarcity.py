"""A process without a free descriptor, or without a free thread: it leads or loses its lease in time, and lives on."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from leaderlock.testing import TcpProxy
from tests.servers.etcd import EtcdServer
from tests.servers.loopback import free_ports
from tests.servers.redis import RedisServer
from tests.servers.zookeeper import Server

if not sys.platform.startswith("linux"):
    pytest.skip("counts descriptors in /proc", allow_module_level=True)

TTL = 1.0

DESCRIPTORS = """
import os, resource, sys, time
from leaderlock import BackendUnavailable, CampaignTimeout, connect

# What is imported only where something fails finds no descriptor then.
import leaderlock._observe, tenacity

def open_descriptors():
    return len(os.listdir("/proc/self/fd"))

def descriptors_are_scarce(scarce):
    # Of those that are given back, none is had again: 0, 1 and 2 are in use.
    resource.setrlimit(resource.RLIMIT_NOFILE, (3 if scarce else most, most))

most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
before = open_descriptors()
client = connect(sys.argv[1], ttl=float(sys.argv[2]), longest=float(sys.argv[2]), namespace="descriptors")
descriptors_are_scarce(True)
try:
    client.election("a").campaign(timeout=0.5)
except (BackendUnavailable, CampaignTimeout):
    print("not elected", flush=True)
descriptors_are_scarce(False)

lease = client.election("a").campaign(timeout=20)
descriptors_are_scarce(True)
print("leads", flush=True)
sys.stdin.readline()
print(lease.wait_lost(timeout=20).name, lease.is_held, flush=True)
descriptors_are_scarce(False)

again = client.election("a").campaign(timeout=20)
print(again.token > lease.token, flush=True)
client.close()
until = time.monotonic() + 5  # gRPC's threads give theirs back a moment later
while open_descriptors() > before and time.monotonic() < until:
    time.sleep(0.01)
print(open_descriptors() - before, flush=True)
"""


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


@pytest.fixture(params=["redis", "zookeeper", "etcd"])
def way(request, stack, tmp_path):
    """A proxy before a server, and the URL of the way through it."""
    if request.param == "redis":
        server = stack.enter_context(RedisServer(tmp_path).running())
    else:
        server = EtcdServer(tmp_path) if request.param == "etcd" else Server(tmp_path / "zookeeper", free_ports(1)[0])
        stack.callback(server.kill)
        server.start()
    proxy = stack.enter_context(TcpProxy("127.0.0.1", server.port))
    scheme = server.url.partition(":")[0]
    return proxy, f"{scheme}://127.0.0.1:{proxy.port}"


@pytest.fixture
def run(stack, way):
    """Start a program of ours on the way; it ends with the test."""

    def start(program, log):
        words = [sys.executable, "-c", program, way[1], str(TTL)]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        stack.enter_context(process)
        stack.callback(process.kill)
        return process

    return start


def test_where_descriptors_run_out_a_lease_is_lost_in_time_and_the_next_is_won_when_there_are_some(
    run, way, tmp_path: Path
):
    with (tmp_path / "stderr").open("w+") as log:
        child = run(DESCRIPTORS, log)
        said = [child.stdout.readline().strip() for _ in range(2)]
        way[0].cut()
        said += child.communicate("cut\n", timeout=60)[0].split("\n")
        log.seek(0)
        told = log.read()

    assert child.returncode == 0, told
    assert said == ["not elected", "leads", "STORE_UNREACHABLE False", "True", "0", ""], told
    assert "a bug in its driver" not in told
    assert "Exception in thread" not in told


FIRST = """
import os, resource, sys
from leaderlock import BackendUnavailable, CampaignTimeout, connect

client = connect(sys.argv[1], ttl=float(sys.argv[2]), longest=float(sys.argv[2]), namespace="first")
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
highest = max(map(int, os.listdir("/proc/self/fd")))  # which the listing itself has, and gives back
for free in range(3):
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + free, most))
    try:
        client.election("a").campaign(timeout=0.2).resign()
    except (BackendUnavailable, CampaignTimeout):
        pass
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
print(client.election("a").campaign(timeout=20).is_held)
client.close()
"""


def test_a_first_connection_that_finds_few_descriptors_or_none_is_made_when_there_are_more(run, tmp_path: Path):
    with (tmp_path / "stderr").open("w+") as log:
        said = run(FIRST, log).communicate(timeout=60)[0]
        log.seek(0)
        told = log.read()

    assert said == "True\n", told
    assert "a bug in its driver" not in told
