"""What can be done to one server, whatever it runs in: the faults know nothing else of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.chaos.links import LOOPBACK, Network
from tests.servers.launching import Running, as_process

__all__ = ["Disk", "Ground", "Node", "ProcessNode", "Processes"]

PATIENCE = 40.0
TMPFS = "192m"
MEBIBYTE = bytes(1 << 20)


class Node(Protocol):
    """One server: a process, or a container."""

    name: str

    def launch(self, words: Sequence[str], log: Path) -> Running:
        """Run a server's program here. Its class in ``tests.servers`` says with which words."""

    def pause(self) -> None:
        """Stop it in the middle of whatever it does; return when it stands."""

    def resume(self) -> None: ...

    def kill(self) -> None:
        """As ``kill -9`` does."""

    def start(self) -> None:
        """Start it again, with what its server says by now."""

    def cut(self) -> None:
        """Keep it from the other servers. Clients still reach it."""

    def heal(self) -> None: ...


class Ground(Protocol):
    """Where nodes stand: what kind they are, and how they find each other."""

    listen: str
    """The address that servers are to listen on."""

    def place(self, name: str, port: int) -> tuple[str, int]:
        """Where other nodes find that port of that node."""

    def node(
        self,
        name: str,
        start: Callable[[], object],
        *,
        port: int,
        folders: Iterable[Path],
        variables: Mapping[str, str] | None = None,
    ) -> Node:
        """A node whose clients come to ``port``, on loopback, and that may write into these folders."""

    def close(self) -> None: ...


class Processes:
    """Processes of our own on this host, behind relays."""

    listen = LOOPBACK

    def __init__(self, network: Network) -> None:
        self._network = network
        self._places: dict[tuple[str, int], int] = {}
        self._names: list[str] = []

    def place(self, name: str, port: int) -> tuple[str, int]:
        if (name, port) not in self._places:
            self._places[name, port] = self._network.relay(name, port).port
        return LOOPBACK, self._places[name, port]

    def node(
        self,
        name: str,
        start: Callable[[], object],
        *,
        port: int,
        folders: Iterable[Path],
        variables: Mapping[str, str] | None = None,
    ) -> ProcessNode:
        self._names.append(name)
        return ProcessNode(name, self._network, self._names, start, variables or {})

    def close(self) -> None:
        """Its nodes are ended one by one."""


class ProcessNode:
    def __init__(
        self,
        name: str,
        network: Network,
        names: list[str],
        start: Callable[[], object],
        variables: Mapping[str, str],
    ) -> None:
        self.name = name
        self.start = start
        self._network = network
        self._names = names
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None
        network.knows(name, lambda: self._process.pid if self._process else None)

    def launch(self, words: Sequence[str], log: Path) -> Running:
        self._process = as_process(words, log, self._variables)
        return self._process

    def pause(self) -> None:
        if self._process is not None:
            stop(self._process.pid)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def cut(self) -> None:
        for peer in self._names:
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
