"""Where the stores' servers come from (--stores and --require-stores; see tests/servers), and one that many share."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator

import pytest

from tests.servers.choice import REQUIRE, WAY, Way
from tests.servers.containers import RUN, bring_down
from tests.servers.zookeeper import Server, free_ports


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("leaderlock")
    group.addoption("--stores", choices=[str(way) for way in Way], help=f"take stores this way only (or: {WAY})")
    group.addoption(
        "--require-stores", action="store_true", help=f"a store that is missing fails its tests (or: {REQUIRE}=1)"
    )


def pytest_configure(config: pytest.Config) -> None:
    # As behind `nohup`, or in a shell's background: what these tests start would ignore them too.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        handler = signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    if config.getoption("stores"):
        os.environ[WAY] = config.getoption("stores")
    if config.getoption("require_stores"):
        os.environ[REQUIRE] = "1"
    if not hasattr(config, "workerinput"):
        os.environ[RUN] = tempfile.mkdtemp(prefix="leaderlock-run-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        bring_down()
        shutil.rmtree(os.environ.pop(RUN))


@pytest.fixture(scope="module")
def zookeeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of this file's own."""
    server = Server(tmp_path_factory.mktemp("zookeeper") / "data", free_ports(1)[0])
    server.start()
    yield server
    server.kill()
