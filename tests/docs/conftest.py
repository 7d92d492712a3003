"""What the blocks of code on the pages need: an empty directory, drivers that can be found by URL, servers."""

from __future__ import annotations

import os
import sys
import tempfile
import tomllib
from contextlib import ExitStack
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.servers.etcd import EtcdServer
from tests.servers.loopback import free_ports
from tests.servers.redis import RedisServer
from tests.servers.zookeeper import Server as ZooKeeperServer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reader(tmp_path, tmp_path_factory, monkeypatch):
    """Somebody who follows a page: in a fresh directory, with leaderlock on the path."""
    path = [str(ROOT), str(ROOT / "backends")]
    if not entry_points(group="leaderlock.backends"):
        # Not installed, as in a checkout on PYTHONPATH: lend it what an installation would declare.
        drivers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
        info = tmp_path_factory.mktemp("site") / "leaderlock-0.dist-info"
        info.mkdir()
        lines = [f"{name} = {place}" for name, place in drivers["leaderlock.backends"].items()]
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaderlock\nVersion: 0\n")
        (info / "entry_points.txt").write_text("\n".join(["[leaderlock.backends]", *lines, ""]))
        monkeypatch.syspath_prepend(info.parent)
        path.append(str(info.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    monkeypatch.delenv("LEADERLOCK_URL", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def stores_of_the_page(request, tmp_path_factory, monkeypatch):
    """The servers that a page takes from its environment: processes of its own, as it writes under names of its own."""
    page = request.node.callspec.params.get("page") if hasattr(request.node, "callspec") else None
    text = page.read_text("utf-8") if page else ""
    with ExitStack() as stack:
        if 'os.environ["REDIS_URL"]' in text:
            server = stack.enter_context(RedisServer(tmp_path_factory.mktemp("redis")).running())
            monkeypatch.setenv("REDIS_URL", server.url)
        if 'os.environ["ETCD_PORT"]' in text:
            server = EtcdServer(tmp_path_factory.mktemp("etcd"))
            stack.callback(server.kill)
            server.start()
            monkeypatch.setenv("ETCD_PORT", str(server.port))
            # etcd3 cannot be imported beside a newer protobuf; this one has kept its words.
            monkeypatch.setitem(sys.modules, "etcd3", import_module("pyetcd"))
        if 'os.environ["ZOOKEEPER_HOSTS"]' in text:
            server = ZooKeeperServer(tmp_path_factory.mktemp("zookeeper") / "server", free_ports(1)[0])
            stack.callback(server.kill)
            server.start()
            monkeypatch.setenv("ZOOKEEPER_HOSTS", server.hosts)
        yield
