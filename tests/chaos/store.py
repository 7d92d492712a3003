"""What every store under faults has in common: nodes, ways to them, faults, and whether it answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from tests.chaos.links import Network, Relay
from tests.chaos.nodes import Disk, Ground, Node

__all__ = ["Cluster", "Fault", "Store", "Turn"]

PATIENCE = 15.0
T = TypeVar("T")


@dataclass
class Turn:
    """One fault on its way: chance, durations in units of the ttl, and what is to be written down of it."""

    dice: random.Random
    ttl: float
    detail: str = ""

    def hold(self, shortest: float, longest: float) -> None:
        """Let it last."""
        seconds = self.dice.uniform(shortest, longest) * self.ttl
        self.detail = f"{self.detail} {seconds:.1f} s".strip()
        time.sleep(seconds)


@dataclass(frozen=True)
class Fault:
    """Something that happens to a store; ``act`` does it and undoes it."""

    name: str
    act: Callable[[Turn], None]
    weight: float = 1.0
    forgets: bool = False
    """The store may have lost what it acknowledged."""
    late: bool = False
    """Only towards the end, since afterwards nothing may be forgotten."""


class Store(Protocol):
    """A store of one kind."""

    scheme: str
    has_native: bool
    faults: list[Fault]
    skipped: dict[str, str]
    """Faults that cannot be had here, and why."""

    def start(self) -> None: ...
    def url(self, slot: int) -> str: ...
    def answers(self) -> bool: ...
    def version(self) -> str: ...
    def close(self) -> None: ...


@dataclass
class Cluster:
    """Nodes, of which any may be hurt, behind relays: one for each worker and node."""

    folder: Path
    network: Network
    slots: int
    ground: Ground
    names: tuple[str, ...] = ("a", "b", "c")
    nodes: dict[str, Node] = field(default_factory=dict)
    disks: dict[str, Disk] = field(default_factory=dict)
    ways: dict[tuple[int, str], Relay] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def make_disks(self) -> None:
        for name in self.names:
            self.disks[name] = Disk(self.folder / f"disk-{name}")

    def open_ways(self, ports: dict[str, int]) -> None:
        for slot in range(self.slots):
            for name, port in ports.items():
                self.ways[slot, name] = self.network.relay(name, port, caller=f"worker {slot}")

    def places(self, slot: int) -> str:
        """All nodes as that worker reaches them; each worker begins with another one."""
        first = slot % len(self.names)
        order = self.names[first:] + self.names[:first]
        return ",".join(f"127.0.0.1:{self.ways[slot, name].port}" for name in order)

    def wait_for(self, condition: Callable[[], T]) -> T | None:
        """The first true answer. If there is none in time, the fault is another one, and the campaign goes on."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with suppress(OSError):
                if answer := condition():
                    return answer
            time.sleep(0.02)
        return None

    def any_node(self, turn: Turn) -> Node:
        name = turn.dice.choice(self.names)
        turn.detail = f"{turn.detail} {name}".strip()
        return self.nodes[name]

    def close(self) -> None:
        try:
            for node in self.nodes.values():
                node.resume()
                node.kill()
        finally:
            # Also after somebody's Ctrl-C in the middle of a fault.
            self.ground.close()
            for disk in self.disks.values():
                disk.close()


class Quorum(Cluster):
    """A cluster of three with a leader of its own."""

    def leader(self) -> str | None:
        """Which node leads now, as far as it says so itself."""
        raise NotImplementedError

    def restart(self) -> None:
        """As somebody does who finds that it serves nobody."""
        for node in self.nodes.values():
            node.kill()
        for node in self.nodes.values():
            node.start()

    def of_quorums(self) -> list[Fault]:
        faults = [
            Fault("node paused", self._paused),
            Fault("node killed", self._killed),
            Fault("node cut off from the others", self._cut, 4.0),
            Fault("leader paused", self._leader_paused, 1.5),
            Fault("leader paused and woken again and again", self._leader_woken, 4.0),
            Fault("leader killed", self._leader_killed),
            Fault("leader cut off from the others", self._leader_cut, 1.5),
            Fault("quorum killed", self._quorum_killed),
            Fault("quorum paused", self._quorum_paused),
            Fault("all cut off from each other", self._all_cut),
            Fault("all killed", self._all_killed, 0.7),
        ]
        hindrance = next((disk.why_not for disk in self.disks.values() if disk.why_not), "")
        if hindrance:
            self.skipped["disk full"] = hindrance
        else:
            faults.append(Fault("disk full", self._full))
        return faults

    def the_leader(self, turn: Turn) -> Node:
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            name = self.leader()
            if name is not None:
                turn.detail = f"{turn.detail} {name}".strip()
                return self.nodes[name]
            time.sleep(0.05)
        return self.any_node(turn)

    def _pause(self, turn: Turn, *nodes: Node) -> None:
        for node in nodes:
            node.pause()
        turn.hold(0.3, 2.2)
        for node in nodes:
            node.resume()

    def _kill(self, turn: Turn, *nodes: Node) -> None:
        for node in nodes:
            node.kill()
        turn.hold(0.1, 1.5)
        for node in nodes:
            node.start()

    def _isolate(self, turn: Turn, *nodes: Node) -> None:
        for node in nodes:
            node.cut()
        # Mostly longer than sessions of the stores' own, which those who talk to this node do not see ending.
        turn.hold(0.8, 3.0)
        for node in nodes:
            node.heal()

    def _two(self, turn: Turn) -> list[Node]:
        names = turn.dice.sample(self.names, 2)
        turn.detail = " ".join(names)
        return [self.nodes[name] for name in names]

    def _paused(self, turn: Turn) -> None:
        self._pause(turn, self.any_node(turn))

    def _killed(self, turn: Turn) -> None:
        self._kill(turn, self.any_node(turn))

    def _cut(self, turn: Turn) -> None:
        self._isolate(turn, self.any_node(turn))

    def _leader_paused(self, turn: Turn) -> None:
        self._pause(turn, self.the_leader(turn))

    def _leader_woken(self, turn: Turn) -> None:
        # Around a ttl each, so that it wakes with the belief that what it has not heard of is over.
        for _ in range(turn.dice.randrange(2, 4)):
            node = self.the_leader(turn)
            node.pause()
            turn.hold(0.6, 1.7)
            node.resume()
            time.sleep(turn.dice.uniform(0.2, 1.0))

    def _leader_killed(self, turn: Turn) -> None:
        self._kill(turn, self.the_leader(turn))

    def _leader_cut(self, turn: Turn) -> None:
        self._isolate(turn, self.the_leader(turn))

    def _quorum_killed(self, turn: Turn) -> None:
        self._kill(turn, *self._two(turn))

    def _quorum_paused(self, turn: Turn) -> None:
        self._pause(turn, *self._two(turn))

    def _all_cut(self, turn: Turn) -> None:
        self._isolate(turn, *self.nodes.values())

    def _all_killed(self, turn: Turn) -> None:
        self._kill(turn, *self.nodes.values())

    def _full(self, turn: Turn) -> None:
        node = self.any_node(turn)
        disk = self.disks[node.name]
        disk.fill()
        turn.hold(0.5, 1.5)
        disk.free()
        # Who met the full disk in the middle of a write has ended itself, as etcd and ZooKeeper do.
        node.kill()
        node.start()
