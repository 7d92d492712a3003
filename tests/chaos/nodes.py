"""What can be done to one server, whatever it runs in: the faults know nothing else of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.chaos.links import Network

__all__ = ["Disk", "Node", "ProcessNode"]

PATIENCE = 40.0
TMPFS = "192m"
MEBIBYTE = bytes(1 << 20)


class Node(Protocol):
    """One server. A container has the same verbs: pause, unpause, kill, start, network disconnect and connect."""

    name: str

    def pause(self) -> None:
        """Stop it in the middle of whatever it does; return when it stands."""

    def resume(self) -> None: ...

    def kill(self) -> None:
        """As ``kill -9`` does."""

    def start(self) -> None:
        """Start it, without waiting until it serves."""

    def cut(self) -> None:
        """Keep it from the other servers. Clients still reach it."""

    def heal(self) -> None: ...


class ProcessNode:
    """A process of our own, behind relays."""

    def __init__(
        self,
        name: str,
        network: Network,
        peers: Callable[[], list[str]],
        *,
        start: Callable[[], object],
        kill: Callable[[], object],
        pid: Callable[[], int | None],
    ) -> None:
        self.name = name
        self.pid = pid
        self._network = network
        self._peers = peers
        self._start = start
        self._kill = kill
        network.knows(name, pid)

    def pause(self) -> None:
        pid = self.pid()
        if pid is not None:
            stop(pid)

    def resume(self) -> None:
        pid = self.pid()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        self._kill()

    def start(self) -> None:
        self._start()

    def cut(self) -> None:
        for peer in self._peers():
            if peer != self.name:
                self._network.cut(self.name, peer)

    def heal(self) -> None:
        self._network.heal()


def stop(pid: int) -> None:
    """SIGSTOP, and wait until every thread has obeyed: each does so when it next leaves the kernel."""
    with suppress(OSError):
        os.kill(pid, signal.SIGSTOP)
        until = time.monotonic() + PATIENCE
        while any(_state(task) not in "TZX" for task in Path(f"/proc/{pid}/task").glob("*/stat")):
            assert time.monotonic() < until, f"process {pid} does not stop"
            time.sleep(0.001)


def _state(stat: Path) -> str:
    try:
        return stat.read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


class Disk:
    """A small file system of its own for a server's data, so that it can be filled. Needs the right to mount."""

    def __init__(self, folder: Path, size: str = TMPFS) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        self.why_not = "" if done.returncode == 0 else f"no right to mount a small disk: {done.stderr.strip()}"
        """Why it cannot be filled here; nothing where it can."""

    def fill(self) -> None:
        if not self.why_not:
            with suppress(OSError), self._ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(MEBIBYTE[: max(4096, min(len(MEBIBYTE), shutil.disk_usage(self.folder).free))])

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        if not self.why_not:
            subprocess.run(["umount", "-l", str(self.folder)], check=False)
            self.why_not = "unmounted"
