"""Real processes on one SQLite file, killed and stopped; what they wrote is judged by the boot clock they share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("worker.py")


@pytest.fixture
def seconds() -> float:
    """How long to go on: short in every run, a minute in the full one."""
    return float(os.environ.get("LEADERLOCK_CHAOS_SECONDS", "10"))


@pytest.fixture(autouse=True)
def registered(tmp_path_factory, monkeypatch):
    """The drivers can be found by URL in child processes, also where the package is not installed."""
    if not entry_points(group="leaderlock.backends"):
        drivers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
        info = tmp_path_factory.getbasetemp() / "leaderlock-0.dist-info"
        info.mkdir(exist_ok=True)
        lines = [f"{name} = {place}" for name, place in drivers["leaderlock.backends"].items()]
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaderlock\nVersion: 0\n")
        (info / "entry_points.txt").write_text("\n".join(["[leaderlock.backends]", *lines, ""]))
        monkeypatch.syspath_prepend(info.parent)
        inherited = os.environ.get("PYTHONPATH", "")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(info.parent), inherited]).rstrip(os.pathsep))


class Worker:
    """One process of ``worker.py``; what it says comes line by line."""

    def __init__(self, folder: Path, role: str, *arguments: object) -> None:
        command = [sys.executable, str(WORKER), role, str(folder), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)

    def hear(self) -> list[str]:
        """The words of its next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the worker ended with {self.process.wait()}"
        return line.split()

    def say(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("on\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        while Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
            time.sleep(0.001)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def start(tmp_path) -> Iterator[Callable[..., Worker]]:
    """Start a worker; all end with the test."""
    workers: list[Worker] = []

    def go(role: str, *arguments: object) -> Worker:
        workers.append(Worker(tmp_path, role, *arguments))
        return workers[-1]

    yield go
    for worker in workers:
        worker.process.kill()
        worker.process.communicate()
