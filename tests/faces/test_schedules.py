"""Threads of a few clients, each stopped at lines where nobody would think of it, by a seed: what must hold, holds."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
import traceback
import zlib
from pathlib import Path

import pytest

import leaderlock
from leaderlock import LeaseLost, UsageError, connect
from leaderlock.testing import MemoryStore

PACKAGE = str(Path(leaderlock.__file__).parent)
PURE = str(Path(PACKAGE, "_protocol"))
TTL = 90.0
PATIENCE = 20.0
"""Seconds: more than any call takes here, and less than a lost wake-up costs, which is a look every third of a ttl."""


class Schedule:
    """While it is entered, threads that begin yield, sleep or park at some of leaderlock's lines.

    A line in ``hot_of`` is a hot one, where a thread mostly waits until others have gone far: which ones they are is
    the seed's, so that each seed makes other windows wide. The machine's lines are left out: all run under one lock.
    """

    def __init__(self, seed: int, *, rare: float = 0.01, hot_of: int = 30) -> None:
        self._seed, self._rare, self._hot_of = seed, rare, hot_of
        self._random = random.Random(seed)
        self._ours: dict[object, bool] = {}
        self._hot: dict[object, bool] = {}
        self._is_over = False
        self.lines = 0

    def __enter__(self):
        threading.settrace(self._trace)
        return self

    def __exit__(self, *_):
        self._is_over = True
        threading.settrace(None)

    def _trace(self, frame, event, argument):
        code = frame.f_code
        if code not in self._ours:
            self._ours[code] = code.co_filename.startswith(PACKAGE) and not code.co_filename.startswith(PURE)
        if self._is_over or not self._ours[code]:
            return None
        self._pause_at(code, frame.f_lineno)
        return self._trace

    def _pause_at(self, code, line):
        self.lines += 1
        place = (code, line)
        if place not in self._hot:
            name = f"{self._seed} {code.co_filename.removeprefix(PACKAGE)} {line}"
            self._hot[place] = zlib.crc32(name.encode()) % self._hot_of == 0
        chance = self._random.random()
        if self._hot[place] and chance < 0.4:
            self._park(self.lines + self._random.choice((20, 100, 500)))
        elif chance < self._rare:
            time.sleep(self._random.choice((0, 0.0003, 0.002)))

    def _park(self, until_line):
        until = time.monotonic() + 0.01
        while self.lines < until_line and time.monotonic() < until:
            time.sleep(0.0003)


class Program:
    """Three clients of one store; for each of two names, a thread of each client leads it again and again."""

    def __init__(self, seed):
        self.store, self._random = MemoryStore(), random.Random(seed)
        self.clients = [self.open() for _ in range(3)]
        self.clients[0].init()
        self.leases = {"a": [], "b": []}
        self.saved = {"a": 0, "b": 0}
        self.faults = []

    def open(self):
        return connect(self.store.backend(), ttl=TTL, longest=TTL)

    def run(self):
        """Returns what was wrong."""
        work = [lambda which=which, name=name: self._lead(which, name) for which in range(3) for name in self.leases]
        threads = [threading.Thread(target=self._judge, args=(one,), daemon=True) for one in (*work, self._reopen)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE * 2)
        if any(thread.is_alive() for thread in threads):
            return [*self.faults, "a thread hangs"]
        for client in self.clients:
            self._judge(client.close)
        return self.faults

    def _judge(self, work):
        try:
            work()
        except Exception:
            self.faults.append(traceback.format_exc())

    def _in_time(self, call):
        began = time.monotonic()
        try:
            return call()
        finally:
            if (took := time.monotonic() - began) > PATIENCE:
                self.faults.append(f"{call} took {took:.1f} s")

    def _lead(self, which, name):
        for turn in range(6):
            client, before = self.clients[which], max((one.token for one in self.leases[name].copy()), default=0)
            try:
                lease = self._in_time(client.election(name).campaign)
                self._look_round(name, lease, before)
                if turn % 2:
                    self._in_time(lambda lease=lease: lease.save_note(b"%d" % lease.token))
                    self.saved[name] = max(self.saved[name], lease.token)
                resigning = threading.Thread(target=self._judge, args=(lease.resign,))
                resigning.start()
                assert self._in_time(lease.resign) or client._is_closed
                resigning.join(PATIENCE)
                assert not lease.is_held
            except (LeaseLost, UsageError):
                if not client._is_closed:
                    raise

    def _look_round(self, name, lease, before):
        saved = self.saved[name]
        assert lease.token > before
        assert not lease.is_held or int(lease.note or 0) >= saved
        others = self.leases[name].copy()
        self.leases[name].append(lease)
        held = [one for one in others if one.is_held]
        assert not (held and lease.is_held), (held, lease)

    def _reopen(self):
        for _ in range(4):
            time.sleep(self._random.uniform(0, 0.3))
            which = self._random.randrange(3)
            closing, self.clients[which] = self.clients[which], self.open()
            another = threading.Thread(target=self._judge, args=(closing.close,))
            another.start()
            self._in_time(closing.close)
            another.join(PATIENCE)


@pytest.mark.skipif(sys.gettrace() is not None, reason="something else traces here")
@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_schedule_one_leads_at_a_time_and_no_call_waits_in_vain(seed, monkeypatch, caplog):
    died = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    caplog.set_level(logging.ERROR)
    program = Program(seed)

    with Schedule(seed) as schedule:
        faults = program.run()

    assert schedule.lines > 1000
    assert (faults, died, caplog.text) == ([], [], "")
    assert not any(space.watches for space in program.store.core.spaces.values())
    with program.open() as client:  # what was closed has left nothing that would have to be waited for
        assert set(client.campaign_all(["a", "b"], timeout=PATIENCE)) == {"a", "b"}
