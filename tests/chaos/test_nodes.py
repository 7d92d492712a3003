"""Both kinds of nodes do what the nemesis takes for granted, and containers never outlive their campaign."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

import pytest

from tests.chaos.boxes import LABEL, Containers
from tests.chaos.links import Network
from tests.chaos.nodes import Processes
from tests.servers import containers
from tests.servers.choice import Way, absent, ways_allowed
from tests.servers.loopback import free_port, is_taken, until
from tests.servers.redis import RedisServer
from tests.servers.sentinels import replies

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")

SOON = 0.3
ORPHAN = """
import sys, time
from pathlib import Path
from tests.chaos.boxes import Containers
from tests.servers.loopback import free_port
ground = Containers("redis")
place = Path(sys.argv[1])
node = ground.node("a", lambda: None, port=free_port(), folders=[place])
node.launch(["redis-server", "--save", ""], place / "log")
print(ground.name, flush=True)
time.sleep(600)
"""


def needed_engine() -> None:
    why = containers.why_not() if Way.CONTAINERS in ways_allowed() else "another way was asked for"
    if why:
        absent("containers", why)


@pytest.fixture(scope="module", params=[Way.PATH, Way.CONTAINERS])
def ground(request):
    if request.param is Way.CONTAINERS:
        needed_engine()
    with closing(Network()) as network:
        made = Containers("redis") if request.param is Way.CONTAINERS else Processes(network)
        with closing(made):
            yield made


@pytest.fixture(scope="module")
def pair(ground, tmp_path_factory):
    """Two servers, of which the second follows the first: nodes, and servers."""
    nodes, servers = {}, {}
    for name in "ab":
        folder, port = tmp_path_factory.mktemp(name), free_port()
        node = ground.node(name, lambda name=name: servers[name].start(), port=port, folders=[folder])
        listening = ("--bind", ground.listen, "--protected-mode", "no", "--repl-diskless-sync-delay", "0")
        following = ("--replicaof", *map(str, ground.place("a", servers["a"].port))) if servers else ()
        servers[name] = RedisServer(folder, *listening, *following, port=port, launch=node.launch)
        nodes[name] = node
        node.start()
    until(lambda: is_following(servers["b"]), "the replica follows")
    yield nodes, servers
    for node in nodes.values():
        node.kill()


def is_following(server) -> bool:
    return b"master_link_status:up" in server.do("INFO", "replication")


def answers(server) -> bool:
    try:
        return replies(server.port, "PING", timeout=SOON)[0] == "+PONG"
    except OSError:
        return False


def test_a_paused_node_is_silent_and_goes_on_when_it_is_resumed(pair):
    nodes, servers = pair

    nodes["a"].pause()
    silent = not answers(servers["a"])
    nodes["a"].resume()

    assert silent
    until(lambda: answers(servers["a"]), "it answers again")


def test_a_node_that_is_cut_off_is_reached_by_its_clients_and_by_no_other_node(pair):
    nodes, servers = pair
    key = "while cut off"

    nodes["a"].cut()
    servers["a"].do("SET", key, "1")
    arrived = servers["b"].do("GET", key)
    nodes["a"].heal()

    assert arrived == b"$-1\r\n"
    until(lambda: servers["b"].do("GET", key).endswith(b"1\r\n"), "what was written meanwhile arrives")


def test_a_killed_node_leaves_its_port_and_comes_back_to_it(pair):
    nodes, servers = pair

    nodes["b"].kill()
    until(lambda: not is_taken(servers["b"].port), "nobody listens")
    nodes["b"].start()

    until(lambda: is_following(servers["b"]), "the replica follows again")


def test_a_killed_node_can_come_back_with_other_settings(pair):
    nodes, servers = pair
    servers["b"].settings = (*servers["b"].settings, "--maxclients", "77")

    nodes["b"].kill()
    nodes["b"].start()

    assert b"77" in servers["b"].do("CONFIG", "GET", "maxclients")
    until(lambda: is_following(servers["b"]), "the replica follows again")


def test_no_container_and_no_network_outlives_a_campaign_that_is_killed(tmp_path):
    needed_engine()
    child = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    name = child.stdout.readline().strip()
    there = left_of(name)

    child.kill()
    child.communicate()

    assert len(there) == 3  # a container and two networks
    until(lambda: not left_of(name), "everything is gone")


def left_of(name: str) -> list[str]:
    filtered = ("--quiet", "--filter", f"label={LABEL}={name}")
    words = containers.run("docker", "ps", "--all", *filtered) + containers.run("docker", "network", "ls", *filtered)
    return words.split()
