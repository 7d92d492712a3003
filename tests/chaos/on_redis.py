"""A Redis master and its replica under faults; its workers are led to whichever is the master."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

from tests.chaos.store import Cluster, Fault, Turn
from tests.servers.loopback import free_ports
from tests.servers.redis import RedisServer

__all__ = ["RedisStore"]

STEP = 3600
SETTINGS = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1", "--repl-timeout", "5")
SHIM = Path(__file__).with_name("clockshim.c")


class WallClock:
    """The wall clock of the servers, which can be stepped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clock"
        self.folder.mkdir()
        self._offset = self.folder / "offset"
        self._offset.write_bytes(struct.pack("l", 0))
        self._library = self.folder / "shim.so"
        self.why_not = "" if shutil.which("gcc") else "there is no gcc to build the clock shim with"
        if not self.why_not:
            subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", self._library, SHIM, "-ldl"], check=True)

    def step(self, seconds: int) -> None:
        with self._offset.open("r+b") as file:
            file.write(struct.pack("l", seconds))

    @property
    def variables(self) -> dict[str, str]:
        """Whatever is started with these sees this clock."""
        return {} if self.why_not else {"LD_PRELOAD": str(self._library), "LEADERLOCK_CLOCK_OFFSET": str(self._offset)}


class RedisStore(Cluster):
    scheme = "redis"
    has_native = True

    def start(self) -> None:
        self.names = ("a", "b")
        self.master = "a"
        self.clock = WallClock(self.folder)
        self.make_disks()
        self.servers: dict[str, RedisServer] = {}
        ports = dict(zip(self.names, free_ports(len(self.names)), strict=True))
        for name, port in ports.items():
            node = self.ground.node(
                name,
                lambda name=name: self.servers[name].start(),
                port=port,
                folders=[self.disks[name].folder, self.clock.folder],
                variables=self.clock.variables,
            )
            listening = ("--bind", self.ground.listen, "--protected-mode", "no")
            server = RedisServer(self.disks[name].folder, *listening, *SETTINGS, port=port, launch=node.launch)
            self.servers[name], self.nodes[name] = server, node
            server.start()
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
        found = re.search(rb"redis_version:(\S+)", self._do(self.master, "INFO", "server"))
        return f"Redis {found[1].decode() if found else '(version unknown)'}, a master and a replica"

    def _do(self, name: str, *words: str) -> bytes:
        return self.servers[name].do(*words)

    def _follow(self, name: str, master: str) -> None:
        host, port = self.ground.place(master, self.servers[master].port)
        self._do(name, "REPLICAOF", host, str(port))
        self.wait_for(lambda: b"master_link_status:up" in self._do(name, "INFO", "replication"))

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
        # A master takes another replication id when its first replica comes back, a second later perhaps: that is the
        # fault, too, and begins the settling anew.
        self.wait_for(lambda: b"state=online" in self._do(self.master, "INFO", "replication"))

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
        self.wait_for(lambda: b"aof_rewrite_in_progress:0" in self._do(name, "INFO", "persistence"))

    def _forget_log(self, name: str) -> None:
        self._do(name, "CONFIG", "SET", "appendonly", "no")
        shutil.rmtree(self.servers[name].directory / "appendonlydir", ignore_errors=True)

    def _killed_kept(self, turn: Turn) -> None:
        server = self.servers[self.master]
        self._append(self.master, "always")
        turn.hold(0.2, 0.8)
        usual = server.settings
        server.settings = (*usual, "--appendonly", "yes")
        self._restart(turn)
        server.settings = usual
        self._forget_log(self.master)

    def _flushed(self, turn: Turn) -> None:
        self._do(self.master, "FLUSHALL")

    def _failed_over(self, turn: Turn) -> None:
        old, new = self.master, self._other
        self._do(old, "FAILOVER", "TIMEOUT", "3000")
        self.wait_for(lambda: b"role:master" in self._do(new, "INFO", "replication"))
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
        self.nodes[old].heal()  # only now, or the replica would still get what is to be lost
        self._snapshot(old).unlink(missing_ok=True)
        self.nodes[old].start()
        self._follow(old, new)

    def _replaced(self, turn: Turn) -> None:
        self._promote(turn)

    def _replaced_lagging(self, turn: Turn) -> None:
        self.nodes[self.master].cut()
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
        self.wait_for(self.answers)
        self._forget_log(self.master)
