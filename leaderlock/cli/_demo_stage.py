"""What the demo plays on: worker processes, what is done to them, and everything that they report."""

from __future__ import annotations

import functools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["NotSeen", "Stage", "Worker"]

PATIENCE: Final = 50.0
"""Seconds for the whole play: what was not seen by then is called not seen."""


class NotSeen(Exception):
    """Something did not happen in time."""


@dataclass(slots=True, eq=False)
class Worker:
    """One process, and its present term."""

    name: str
    process: subprocess.Popen[str]
    token: int = 0
    led_at: float = 0.0

    def kill(self) -> float:
        return self._signal(signal.SIGKILL)

    def stop(self) -> float:
        return self._signal(signal.SIGSTOP)

    def wake(self) -> float:
        return self._signal(signal.SIGCONT)

    def ask(self) -> float:
        return self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> float:
        self.process.send_signal(number)
        return time.monotonic()


class Stage:
    """Starts the workers and listens to all of them."""

    def __init__(self, url: str, ttl: float, ledger: Path) -> None:
        self._arguments = [url, str(ttl), str(ledger)]
        self._ledger = ledger
        self._began = time.monotonic()
        self._heard: queue.Queue[dict[str, Any]] = queue.Queue()
        self._workers: dict[str, Worker] = {}
        self._listeners: list[threading.Thread] = []
        self.events: list[dict[str, Any]] = []
        """Every report, in the order of its making as far as that was heard."""

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self._began

    # -- what is done

    def start(self, name: str) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "leaderlock.cli._demo_worker", name, *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # From where it was imported here: perhaps from a zip file, or from a folder that only this process knows.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,  # Ctrl-C is for the demo, which ends them
        )
        self._workers[name] = Worker(name, process)
        listener = threading.Thread(target=self._listen, args=(name, process), daemon=True)
        listener.start()
        self._listeners.append(listener)

    def close(self) -> None:
        """End every worker, whatever state it is in."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.wait()
        for listener in self._listeners:
            listener.join()
        for worker in self._workers.values():
            for pipe in (worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    pipe.close()

    # -- what is seen

    def next_leader(self, *, than: Worker | None) -> Worker:
        """The worker who leads next after ``than``'s term."""
        token = 0 if than is None else than.token
        report = self._wait("a new leader", lambda event: event["event"] == "leads" and event["token"] > token)
        leader = self._workers[report["worker"]]
        leader.token, leader.led_at = report["token"], report["at"]
        return leader

    def all_campaign(self) -> None:
        """Wait until every worker is a candidate."""
        for name in self._workers:
            self._wait(f"{name}'s candidacy", functools.partial(_campaigns, name))

    def writes(self, worker: Worker, count: int) -> None:
        """Wait until a leader has written that often in its present term."""
        while sum(_is_write(event, worker.token) for event in self.events) < count:
            self._hear_until(lambda event: _is_write(event, worker.token), f"{worker.name}'s write")

    def sees(self, worker: Worker, *events: str) -> dict[str, Any]:
        """What a worker reports of its present term next, or has reported."""
        return self._wait(
            f"{worker.name}'s look at its lease",
            lambda event: (
                event["worker"] == worker.name and event["event"] in events and event["token"] == worker.token
            ),
        )

    def gone(self, worker: Worker) -> None:
        try:
            worker.process.wait(max(0.0, PATIENCE - self.elapsed))
        except subprocess.TimeoutExpired:
            raise NotSeen(f"the end of {worker.name}") from None

    def ledger(self) -> list[tuple[int, str]]:
        """The lines of the ledger: token, text."""
        lines = self._ledger.read_text().splitlines() if self._ledger.exists() else []
        return [(int(token), text) for token, _, text in (line.partition(" ") for line in lines)]

    def reported(self, event: str) -> list[dict[str, Any]]:
        return sorted((one for one in self.events if one["event"] == event), key=lambda one: one["at"])

    def ledger_agrees(self) -> bool:
        """Whether it holds what was reported, in the order of the tokens, and nothing else."""
        lines = self.ledger()
        tokens = [token for token, _ in lines]
        held, told = Counter(tokens), Counter(event["token"] for event in self.reported("wrote"))
        return (
            bool(lines)
            and tokens == sorted(tokens)
            and not any("late" in text for _, text in lines)
            # A worker that was killed may have written a line that it never reported.
            and all(told[token] <= held[token] <= told[token] + 1 for token in held | told)
        )

    def _wait(self, what: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        for event in self.events:
            if wanted(event):
                return event
        return self._hear_until(wanted, what)

    def _hear_until(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
        while True:
            try:
                event = self._heard.get(timeout=max(0.0, PATIENCE - self.elapsed))
            except queue.Empty:
                raise NotSeen(what) from None
            self.events.append(event)
            if wanted(event):
                return event

    def _listen(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._heard.put({"worker": name, **json.loads(line)})


def _campaigns(name: str, event: dict[str, Any]) -> bool:
    return bool(event["event"] == "campaigns" and event["worker"] == name)


def _is_write(event: dict[str, Any], token: int) -> bool:
    return bool(event["event"] == "wrote" and event["token"] == token)
