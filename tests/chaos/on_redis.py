"""A Redis master and its replica under faults; its workers are led to whichever is the master."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.chaos.nodes import ProcessNode
from tests.chaos.store import Cluster, Fault, Turn
from tests.servers.redis import RedisServer

__all__ = ["RedisStore"]

STEP = 3600
PATIENCE = 15.0
SETTINGS = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--repl-timeout", "5")
SHIM = Path(__file__).with_name("clockshim.c")


class WallClock:
    """The wall clock of the servers, which can be stepped."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "clock-offset"
        self._offset.write_bytes(struct.pack("l", 0))
        self._library = folder / "clockshim.so"
        self.why_not = "" if shutil.which("gcc") else "there is no gcc to build the clock shim with"
        if not self.why_not:
            subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", self._library, SHIM, "-ldl"], check=True)

    def step(self, seconds: int) -> None:
        with self._offset.open("r+b") as file:
            file.write(struct.pack("l", seconds))

    @contextmanager
    def shown(self) -> Generator[None]:
        """Whatever is started meanwhile sees this clock."""
        patch = pytest.MonkeyPatch()
        if not self.why_not:
            patch.setenv("LD_PRELOAD", str(self._library))
            patch.setenv("LEADERLOCK_CLOCK_OFFSET", str(self._offset))
        try:
            yield
        finally:
            patch.undo()


class RedisStore(Cluster):
    scheme = "redis"
    has_native = True

    def start(self) -> None:
        self.names = ("a", "b")
        self.master = "a"
        self.clock = WallClock(self.folder)
        self.make_disks()
        self.servers: dict[str, RedisServer] = {}
        self._inner: dict[str, int] = {}
        for name in self.names:
            server = RedisServer(self.disks[name].folder, *SETTINGS)
            self.servers[name] = server
            self.nodes[name] = ProcessNode(
                name,
                self.network,
                lambda: list(self.names),
                start=lambda server=server: self._launch(server),
                kill=server.kill,
                pid=lambda server=server: server._process.pid if server._process else None,
            )
            self._inner[name] = self.network.relay(name, server.port).port
            self._launch(server)
        self._follow("b", "a")
        for slot in range(self.slots):
            self.ways[slot, "master"] = self.network.relay("a", self.servers["a"].port, caller=f"worker {slot}")
        self.faults = [
            Fault("paused", self._paused),
            Fault("killed, started empty", self._killed_empty, forgets=True),
            Fault("killed, started from an older snapshot", self._killed_older, forgets=True),
            Fault("killed, started from its append-only file", self._killed_kept, 1.5),
            Fault("flushed", self._flushed, forgets=True),
            Fault("failed over in order", self._failed_over, 1.5),
            Fault("killed, replica promoted", self._replaced, forgets=True),
            Fault("killed, lagging replica promoted", self._replaced_lagging, 1.5, forgets=True),
        ]
        if self.clock.why_not:
            self.skipped["clock stepped"] = self.clock.why_not
        else:
            self.faults += [
                Fault("clock stepped an hour ahead", lambda turn: self._stepped(turn, STEP), 4.0, late=True),
                Fault("clock stepped an hour back", lambda turn: self._stepped(turn, -STEP), 4.0, late=True),
            ]
        hindrance = self.disks["a"].why_not
        if hindrance:
            self.skipped["disk full"] = hindrance
        else:
            self.faults.append(Fault("disk full", self._full))

    def url(self, slot: int) -> str:
        return f"redis://127.0.0.1:{self.ways[slot, 'master'].port}/0"

    def answers(self) -> bool:
        try:
            return self._do(self.master, "SET", "probe", "1").startswith(b"+OK")
        except (OSError, AssertionError):
            return False

    def version(self) -> str:
        told = subprocess.run([self.servers["a"].program, "--version"], capture_output=True, text=True, check=True)
        found = re.search(r"v=(\S+)", told.stdout)
        return f"Redis {found[1] if found else '(version unknown)'}, a master and a replica"

    def _launch(self, server: RedisServer) -> None:
        with self.clock.shown():
            server.start()

    def _do(self, name: str, *words: str) -> bytes:
        return self.servers[name].do(*words)

    def _follow(self, name: str, master: str) -> None:
        self._do(name, "REPLICAOF", "127.0.0.1", str(self._inner[master]))
        self._until(lambda: b"master_link_status:up" in self._do(name, "INFO", "replication"))

    def _until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(OSError):
                if condition():
                    return
            time.sleep(0.02)

    @property
    def _other(self) -> str:
        return "b" if self.master == "a" else "a"

    def _lead_to(self, name: str) -> None:
        """As a service's name or its proxy does after a failover."""
        self.master = name
        for slot in range(self.slots):
            self.network.turn(self.ways[slot, "master"], name, self.servers[name].port)

    def _paused(self, turn: Turn) -> None:
        node = self.nodes[self.master]
        node.pause()
        turn.hold(0.3, 2.2)
        node.resume()

    def _restart(self, turn: Turn) -> None:
        node = self.nodes[self.master]
        node.kill()
        turn.hold(0.02, 1.2)
        node.start()

    def _killed_empty(self, turn: Turn) -> None:
        self._snapshot(self.master).unlink(missing_ok=True)
        self._restart(turn)

    def _killed_older(self, turn: Turn) -> None:
        self._do(self.master, "SAVE")
        turn.hold(0.3, 2.0)
        self._restart(turn)
        self._snapshot(self.master).unlink(missing_ok=True)

    def _snapshot(self, name: str) -> Path:
        return self.servers[name].directory / "dump.rdb"

    def _append(self, name: str, sync: str) -> None:
        self._do(name, "CONFIG", "SET", "appendfsync", sync)
        self._do(name, "CONFIG", "SET", "appendonly", "yes")
        self._until(lambda: b"aof_rewrite_in_progress:0" in self._do(name, "INFO", "persistence"))

    def _forget_log(self, name: str) -> None:
        self._do(name, "CONFIG", "SET", "appendonly", "no")
        shutil.rmtree(self.servers[name].directory / "appendonlydir", ignore_errors=True)

    def _killed_kept(self, turn: Turn) -> None:
        server = self.servers[self.master]
        self._append(self.master, "always")
        turn.hold(0.2, 0.8)
        server.settings = (*SETTINGS, "--appendonly", "yes")
        self._restart(turn)
        server.settings = SETTINGS
        self._forget_log(self.master)

    def _flushed(self, turn: Turn) -> None:
        self._do(self.master, "FLUSHALL")

    def _failed_over(self, turn: Turn) -> None:
        old, new = self.master, self._other
        self._do(old, "FAILOVER", "TIMEOUT", "3000")
        self._until(lambda: b"role:master" in self._do(new, "INFO", "replication"))
        if b"role:master" in self._do(new, "INFO", "replication"):
            self._lead_to(new)
            self._follow(old, new)
        turn.detail = f"{old} to {self.master}"

    def _promote(self, turn: Turn) -> None:
        old, new = self.master, self._other
        self.nodes[old].kill()
        turn.hold(0.1, 0.6)
        self._do(new, "REPLICAOF", "NO", "ONE")
        self._lead_to(new)
        self.network.heal()  # only now, or the replica would still get what is to be lost
        self._snapshot(old).unlink(missing_ok=True)
        self.nodes[old].start()
        self._follow(old, new)

    def _replaced(self, turn: Turn) -> None:
        self._promote(turn)

    def _replaced_lagging(self, turn: Turn) -> None:
        self.network.cut("a", "b")
        turn.hold(0.3, 1.5)
        self._promote(turn)

    def _stepped(self, turn: Turn, seconds: int) -> None:
        self.clock.step(seconds)
        turn.hold(0.5, 2.5)
        self.clock.step(0)

    def _full(self, turn: Turn) -> None:
        self._append(self.master, "everysec")
        self.disks[self.master].fill()
        turn.hold(0.5, 2.0)
        self.disks[self.master].free()
        self._until(self.answers)
        self._forget_log(self.master)
