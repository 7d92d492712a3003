"""Where the stores' servers come from: --stores and --require-stores; see tests/servers."""

from __future__ import annotations

import os
import shutil
import tempfile

import pytest

from tests.servers.choice import REQUIRE, WAY, Way
from tests.servers.containers import RUN, bring_down


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("leaderlock")
    group.addoption("--stores", choices=[str(way) for way in Way], help=f"take stores this way only (or: {WAY})")
    group.addoption(
        "--require-stores", action="store_true", help=f"a store that is missing fails its tests (or: {REQUIRE}=1)"
    )


def pytest_configure(config: pytest.Config) -> None:
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
