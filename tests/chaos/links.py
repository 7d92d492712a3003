"""TCP relays on loopback that hold back what they carry: networks that are cut, slowed, and heal.

What a cut holds back is delivered when it heals, as TCP does after a partition: late writes arrive late, not never.
Who calls is found out by the port it calls from, so that of two servers' traffic through one relay one can be held.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["LOOPBACK", "Network", "Relay"]

PIECE = 1 << 16
LOOPBACK = "127.0.0.1"


@dataclass(eq=False)
class Relay:
    """One way in, for ``caller`` (nobody named: for all), to ``target``. ``port`` is where it listens."""

    target: str
    reaches: int
    """The port behind it."""
    port: int
    caller: str | None = None
    pipes: set[asyncio.Task[None]] = field(default_factory=set)


class Network:
    """All relays, on one thread. Parties are names: of workers and of nodes."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._changed = asyncio.Event()
        self._cut: set[frozenset[str]] = set()
        self._off: set[str] = set()
        self._delays: dict[str, float] = {}
        self._pids: dict[str, Callable[[], int | None]] = {}
        self._pipes: set[asyncio.Task[None]] = set()
        self._listeners: list[socket.socket] = []
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._thread.start()

    def relay(
        self, target: str, reaches: int, *, caller: str | None = None, at: tuple[str, int] = (LOOPBACK, 0)
    ) -> Relay:
        """Listen, on a free port unless one is named, for who wants to reach that party's port."""
        listener = socket.create_server(at)
        listener.setblocking(False)
        relay = Relay(target, reaches, listener.getsockname()[1], caller)

        async def serve() -> None:
            self._listeners.append(listener)
            self._loop.add_reader(listener, self._accept, relay, listener)

        self._do(serve())
        return relay

    def knows(self, party: str, pid: Callable[[], int | None]) -> None:
        """Recognise that party's calls by its process."""
        self._pids[party] = pid

    def isolate(self, party: str) -> None:
        """Hold all traffic of a party with everybody."""
        self._change(lambda: self._off.add(party))

    def cut(self, one: str, other: str) -> None:
        """Hold all traffic between two parties."""
        self._change(lambda: self._cut.add(frozenset((one, other))))

    def slow(self, party: str, delay: float) -> None:
        """Every piece of that party's traffic takes so many seconds longer."""
        self._change(lambda: self._delays.update({party: delay}))

    def heal(self) -> None:
        """Deliver what was held; all are reached again."""

        def forget() -> None:
            self._off.clear()
            self._cut.clear()
            self._delays.clear()

        self._change(forget)

    def turn(self, relay: Relay, target: str, reaches: int) -> None:
        """Lead a relay to another party, and end what goes through it."""

        def turn() -> None:
            relay.target, relay.reaches = target, reaches
            for pipe in relay.pipes:
                pipe.cancel()

        self._change(turn)

    def close(self) -> None:
        async def end() -> None:
            # Not asyncio's server: closed in the wrong moment, it leaves open whom it has just accepted.
            for listener in self._listeners:
                self._loop.remove_reader(listener)
                listener.close()
            await asyncio.sleep(0)  # who was accepted just now has to begin before he can be ended
            pipes = list(self._pipes)
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)
            await asyncio.sleep(0.01)  # transports close in a step of their own

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _change(self, change: Callable[[], None]) -> None:
        async def apply() -> None:
            change()
            self._changed.set()
            self._changed = asyncio.Event()

        self._do(apply())

    def _is_held(self, caller: str, target: str) -> bool:
        return bool(self._off & {caller, target}) or frozenset((caller, target)) in self._cut

    async def _pass(self, caller: str, relay: Relay) -> None:
        delay = max(self._delays.get(caller, 0.0), self._delays.get(relay.target, 0.0))
        if delay:
            await asyncio.sleep(delay)
        while self._is_held(caller, relay.target):
            await self._changed.wait()

    def _accept(self, relay: Relay, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # gone again already
            connection, (_, port) = listener.accept()
            connection.setblocking(False)
            task = self._loop.create_task(self._carry(relay, connection, port))
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)

    async def _carry(self, relay: Relay, connection: socket.socket, port: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except OSError:
            connection.close()
            return
        relay.pipes.add(task)
        try:
            caller = relay.caller or self._party(port, relay.port)
            await self._pass(caller, relay)
            there = await asyncio.open_connection(LOOPBACK, relay.reaches)
            try:
                await self._both_ways(caller, relay, (reader, writer), there)
            finally:
                there[1].close()
        except (OSError, asyncio.CancelledError):
            pass  # one end is gone, or the relay was turned: the other end is told by closing
        finally:
            writer.close()
            relay.pipes.discard(task)

    async def _both_ways(self, caller: str, relay: Relay, here: Any, there: Any) -> None:
        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(PIECE):
                await self._pass(caller, relay)
                sink.write(data)
                await sink.drain()
            await self._pass(caller, relay)

        ways = [asyncio.ensure_future(pump(here[0], there[1])), asyncio.ensure_future(pump(there[0], here[1]))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for outcome in await asyncio.gather(*ways, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, OSError | asyncio.CancelledError):
                    raise outcome

    def _party(self, port: int, at: int) -> str:
        """Whose socket calls from ``port``; nobody's, if it is gone already."""
        inode = _inode(port, at)
        for party, pid in self._pids.items():
            if inode is not None and f"socket:[{inode}]" in _open_files(pid()):
                return party
        return ""


def _inode(port: int, at: int) -> str | None:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if int(words[1][-4:], 16) == port and int(words[2][-4:], 16) == at:
                    return words[9]
    return None


def _open_files(pid: int | None) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(entry.path))
    return found
