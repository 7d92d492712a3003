"""What a server's program is run by: as a process of ours, unless somebody else offers to run it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

__all__ = ["Launch", "Running", "as_process"]


class Running(Protocol):
    """A program on its way: as much of ``Popen`` as anything that runs programs can offer."""

    pid: int

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int, /) -> None: ...


Launch = Callable[[Sequence[str], Path], Running]
"""Runs a command, and adds what it says to a file."""


def as_process(words: Sequence[str], log: Path, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    environment = {**os.environ, **(variables or {})}
    with log.open("ab") as file:
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment)
