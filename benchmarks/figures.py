"""What a figure is, and the few ways of measuring that all of them share."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "MS",
    "NS",
    "ROOT",
    "US",
    "BareFile",
    "Figure",
    "beside",
    "best",
    "median",
    "peer",
    "ratio",
    "spread",
    "timed",
]

ROOT: Final = Path(__file__).parents[1]
NS: Final = 1e9
US: Final = 1e6
MS: Final = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. ``value`` is what the goal is about; the rest says where it came from."""

    what: str
    value: float
    unit: str
    goal: float | None = None
    """At most this; ``None``: reported without a goal."""
    measured: str = ""
    """The two times behind a ratio, or the spread of a single one."""

    @property
    def met(self) -> bool | None:
        return None if self.goal is None else self.value <= self.goal


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def spread(samples: Sequence[float], scale: float, unit: str) -> str:
    """The median, and between which values half of all samples lie: on a shared machine the mean says little."""
    low, middle, high = statistics.quantiles(samples, n=4) if len(samples) > 1 else samples * 3
    return f"{middle * scale:.3g} {unit} ({low * scale:.3g}–{high * scale:.3g})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of neighbours: what was measured in turns was slowed by the same things."""
    return median([mine / other for mine, other in zip(ours, theirs, strict=True)])


def best(samples: Sequence[float], scale: float, unit: str) -> str:
    """The least and the median. What needs no I/O can only be made slower by others, so the least is what it takes."""
    return f"{min(samples) * scale:.3g} {unit} (median {median(samples) * scale:.3g})"


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def beside(rounds: int, *actions: Callable[[], object]) -> list[list[float]]:
    """The times of each action, taken in turns: whatever else the machine does then hits all of them alike."""
    samples: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for action, times in zip(actions, samples, strict=True):
            times.append(timed(action))
    return samples


class BareFile:
    """The least that can be durable in SQLite: one row, rewritten in a transaction, with the driver's own settings."""

    def __init__(self, path: Path) -> None:
        self._raw = sqlite3.connect(path, isolation_level=None)
        self._raw.execute("PRAGMA journal_mode = wal")
        self._raw.execute("PRAGMA synchronous = FULL")
        self._raw.execute("CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        self._raw.execute("INSERT OR IGNORE INTO rows VALUES (1, zeroblob(300))")

    def write(self) -> None:
        # Another value each time: SQLite does not write, nor sync, a row that stays the same.
        value = os.urandom(300)
        self._raw.execute("BEGIN IMMEDIATE")
        self._raw.execute("UPDATE rows SET value = ? WHERE id = 1", (value,))
        self._raw.execute("COMMIT")

    def close(self) -> None:
        self._raw.close()


@contextmanager
def bare_file(folder: Path) -> Iterator[BareFile]:
    # A file for each process: two that switch one file to a write-ahead log at once may fail.
    with closing(BareFile(folder / f"bare-{os.getpid()}.db")) as bare:
        yield bare


def peer(*arguments: object) -> subprocess.Popen[str]:
    """Another process of the benchmark's, which tells what it sees line by line (``benchmarks/peer.py``)."""
    command = [sys.executable, "-m", "benchmarks.peer", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
