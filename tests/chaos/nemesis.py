"""Who hurts: draws one fault after the other from a seed, and writes down from when to when each lasted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.chaos.histories import Injury
from tests.chaos.links import Network
from tests.chaos.nodes import stop
from tests.chaos.store import Fault, Quorum, Store, Turn
from tests.chaos.verdict import SLACK

__all__ = ["ROOT", "Nemesis", "Slot"]

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
STUCK = 30.0
"""A cluster none of whose servers takes a write for so many seconds, though nothing hinders them any more, is
restarted, and that is written down: ZooKeeper's was seen to stay so for a minute, until the next fault."""
RESTARTED = "then stuck and restarted"
FRESH = 0.2
"""A record younger than this, in seconds, tells who leads now."""
LATE = 0.7
"""The share of a campaign after which the faults come that nothing may be forgotten after."""

CALM = 0.4
"""The share of the store's faults after which it is left alone until somebody must lead."""


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Slot:
    """A place for a worker: one process of ours and one of the native lock, which share their fate.

    ``home`` is where they find leaderlock.
    """

    def __init__(
        self, number: int, folder: Path, url: str, ttl: float, kinds: tuple[str, ...], home: Path = ROOT
    ) -> None:
        self.number = number
        self.name = f"worker {number}"
        self._command = [url, str(folder), str(number), str(ttl)]
        self._kinds = kinds
        self._folder = folder
        self._home = home
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, seed: int) -> None:
        for kind in self._kinds:
            url, folder, *rest = self._command
            command = [url, str(Path(folder) / kind), *rest, str(seed)]
            with (self._folder / f"errors-{kind}-{self.number}").open("ab") as errors:
                words = [sys.executable, "-m", "tests.chaos.contender", kind, *command]
                self._processes.append(subprocess.Popen(words, stdout=errors, stderr=errors, cwd=self._home))

    def pause(self) -> None:
        for process in self._processes:
            stop(process.pid)

    def resume(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._processes = []

    def ended(self) -> list[int]:
        """The exit codes of those that ended by themselves."""
        return [code for process in self._processes if (code := process.poll()) is not None]

    def leads(self) -> bool:
        """Whether its process of ours was sure to lead just now."""
        for process in self._processes[:1]:
            journal = self._folder / "ours" / f"ours-{self.number}-{process.pid}"
            with suppress(OSError, ValueError, IndexError), journal.open("rb") as file:
                file.seek(max(0, journal.stat().st_size - 400))
                held = [line.split() for line in file.read().decode().splitlines() if line.startswith("held ")]
                return float(held[-1][3]) > now() - FRESH
        return False


class Nemesis:
    """One at a time, with a pause between two in which the store answers."""

    def __init__(
        self,
        store: Store,
        network: Network,
        slots: list[Slot],
        *,
        ttl: float,
        seed: int,
        tell: Callable[[str], None],
        only: str | None = None,
    ) -> None:
        self._store = store
        self._network = network
        self._slots = slots
        self._ttl = ttl
        self._dice = random.Random(seed)
        self._calms = random.Random(f"calms of {seed}")  # its own, so that a seed's faults stay what they are
        self._tell = tell
        self._restarts = seed * 1000
        self.injuries: list[Injury] = []
        of_workers = [Fault("worker stopped", self._stopped, 3.0), Fault("worker killed", self._killed, 2.0)]
        if not store.scheme.startswith("sqlite"):
            of_workers += [Fault("worker cut off", self._cut_off, 2.0), Fault("worker slowed", self._slowed)]
        self._of_workers = frozenset(fault.name for fault in of_workers)
        self._faults = [fault for fault in of_workers + store.faults if not only or only in fault.name]
        if not self._faults:
            raise ValueError(f"no fault of this store has {only!r} in its name")
        self._deck: list[Fault] = []
        self._is_late = False

    def run(self, seconds: float) -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            time.sleep(self._dice.uniform(0.3, 1.1) * self._ttl)
            if self.injuries and not self.injuries[-1].of_worker and self._calms.random() < CALM:
                # Or the next fault would always come before anybody could be found to lead too late after this one.
                time.sleep(self._ttl + SLACK)
            if passed > LATE * seconds and not self._is_late:
                self._is_late, self._deck = True, []
            self._inflict(self._draw())

    def _draw(self) -> Fault:
        """From a deck in which each fault is as often as it weighs, so that none stays away by chance."""
        if not self._deck:
            # A loss of memory under a clock that has gone back behind the last grant is outside of what is promised:
            # once clocks are stepped, nothing is forgotten any more.
            faults = [fault for fault in self._faults if not (fault.forgets if self._steps else fault.late)]
            self._deck = [fault for fault in faults for _ in range(round(2 * fault.weight))]
            self._dice.shuffle(self._deck)
        return self._deck.pop()

    @property
    def _steps(self) -> bool:
        return self._is_late and any(fault.late for fault in self._faults)

    def _inflict(self, fault: Fault) -> None:
        turn = Turn(self._dice, self._ttl)
        began = now()
        fault.act(turn)
        ended = now()
        answers = self._wait_for_answer(turn)
        of_worker, load = fault.name in self._of_workers, os.getloadavg()[0]
        injury = Injury(fault.name, turn.detail, began, ended, now(), of_worker, fault.forgets, load)
        self.injuries.append(injury)
        assert answers, f"the store does not answer {PATIENCE:g} s after: {fault.name}"
        self._tell(f"{len(self.injuries):4} {fault.name} {turn.detail}")
        for slot in self._slots:
            assert not slot.ended(), f"{slot.name} ended by itself with {slot.ended()}: see its errors"

    def _wait_for_answer(self, turn: Turn) -> bool:
        began = time.monotonic()
        while not self._store.answers():
            waited = time.monotonic() - began
            if waited > PATIENCE:
                return False
            if waited > STUCK and isinstance(self._store, Quorum) and RESTARTED not in turn.detail:
                turn.detail = f"{turn.detail}, {RESTARTED}"
                self._store.restart()
            time.sleep(0.02)
        return True

    def _slot(self, turn: Turn) -> Slot:
        """Most often whoever leads."""
        leading = [slot for slot in self._slots if slot.leads()] if turn.dice.random() < 0.6 else []
        slot = turn.dice.choice(leading or self._slots)
        turn.detail = str(slot.number)
        return slot

    def _stopped(self, turn: Turn) -> None:
        slot = self._slot(turn)
        slot.pause()
        turn.hold(0.2, 2.0)
        slot.resume()

    def _killed(self, turn: Turn) -> None:
        slot = self._slot(turn)
        slot.kill()
        self._restarts += 1
        slot.start(self._restarts)

    def _cut_off(self, turn: Turn) -> None:
        slot = self._slot(turn)
        self._network.isolate(slot.name)
        turn.hold(0.3, 2.5)
        self._network.heal()

    def _slowed(self, turn: Turn) -> None:
        slot = self._slot(turn)
        self._network.slow(slot.name, turn.dice.uniform(0.02, 0.12) * self._ttl)
        turn.hold(0.5, 2.0)
        self._network.heal()
