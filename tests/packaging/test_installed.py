"""What an installed leaderlock offers, wherever it was installed from. Uses nothing of the checkout."""

import importlib.metadata
import subprocess
import sys

import pytest

import leaderlock


def test_the_version_is_the_distributions():
    assert leaderlock.__version__ == importlib.metadata.version("leaderlock")


def test_the_command_tells_its_version():
    said = subprocess.run(
        [sys.executable, "-m", "leaderlock", "--version"], capture_output=True, text=True, timeout=30, check=True
    )

    assert leaderlock.__version__ in said.stdout


@pytest.mark.parametrize("scheme", ["memory", "sqlite"])
def test_a_driver_is_found_by_its_scheme(scheme, tmp_path):
    url = {"memory": "memory:", "sqlite": f"sqlite:///{tmp_path}/leader.db"}[scheme]

    with leaderlock.connect(url) as client, client.election("job") as lease:
        assert lease.is_held
        assert lease.token > 0


def test_importing_it_imports_nothing_that_can_wait():
    heavy = ["asyncio", "tenacity", "cronsim", "sqlite3", "pytest", "redis", "kazoo", "grpc", "zoneinfo"]
    program = f"import sys, leaderlock; print(*(name for name in {heavy} if name in sys.modules))"

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)

    assert said.stdout.split() == []
