"""Type checkers see through an installed leaderlock: signatures survive decoration, and mistakes are found."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

CONSUMER = Path(__file__).with_name("consumer.py")

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def leaderlock_is_installed():
    try:
        importlib.metadata.distribution("leaderlock")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("leaderlock is not installed here, so a type checker cannot find it: pip install --editable .")


@pytest.fixture
def elsewhere(tmp_path):
    """A folder that has nothing but the program, so that leaderlock is found only where it is installed."""
    (tmp_path / "consumer.py").write_text(CONSUMER.read_text())
    return tmp_path


def test_mypy_accepts_the_consumer(elsewhere):
    command = [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "consumer.py"]

    said = _run(command, elsewhere)

    assert said.returncode == 0, said.stdout


def test_pyright_accepts_the_consumer(elsewhere):
    settings = {
        "typeCheckingMode": "strict",
        "reportUnnecessaryTypeIgnoreComment": True,
        "enableTypeIgnoreComments": False,
    }
    (elsewhere / "pyrightconfig.json").write_text(json.dumps(settings))

    said = _run([sys.executable, "-m", "pyright", "--pythonpath", sys.executable], elsewhere)

    assert said.returncode == 0, said.stdout


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
