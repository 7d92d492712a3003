"""Whatever is read, of a replica as it is or of one that stays behind, comes to rest: nothing asks without a pause."""

from __future__ import annotations

import random
from collections import deque
from contextlib import suppress

import pytest

from leaderlock._protocol.events import (
    Answered,
    Ask,
    Close,
    Failure,
    Fired,
    Lane,
    Put,
    Refused,
    RenewNow,
    Resign,
    Scan,
    Scanned,
    Unanswered,
    Viewed,
    Withdraw,
    Woken,
)
from leaderlock.backend import ABSENT, Seen, View
from leaderlock.errors import MemoryGone
from leaderlock.testing import MemoryStore

from .by_hand import Client

NAMES = ("m", "n", "o")
MOST = 40
"""More calls than follow from one event without anybody waiting for anything (14 were the most in 12,000 walks)."""
KICKS = (Woken("name/n"), RenewNow(), Fired(("renew",)), Fired(("name", "n")), Fired(("verify",)), Fired(("reopen",)))


class Walk:
    """Some clients that come and go over a store which forgets now and then, and what its replicas showed meanwhile."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.store = MemoryStore()
        self.clients = [Client(self.store, label) for label in "abc"]
        self.shown: list[View] = []
        held = {}
        for _ in range(self.random.randrange(3, 14)):
            client, name, drawn = self.random.choice(self.clients), self.random.choice(NAMES), self.random.random()
            for other in self.clients:
                other.now = other.now.plus(self.random.choice((0.1, 1.0)))
            with suppress(Refused):
                if drawn < 0.5:
                    held[client, name] = client.campaign(name)
                elif drawn < 0.7 and (client, name) in held:
                    left = held[client, name]
                    client.do(Resign(left) if left.leads else Withdraw(left))
                elif drawn < 0.8:
                    client.do(RenewNow())
                elif drawn < 0.9:
                    self.store.forget(wipe=self.random.random() < 0.3)
                elif drawn < 0.93:
                    client.do(Close())
                else:
                    client.look(f"name/{name}")
            keys = [key for key, _ in self.store.backend().scan("", timeout=1)]
            self.shown.append(self.store.backend().read(keys, timeout=1))

    def calls_after(self, event) -> int:
        """How many calls one client makes of this event, each of its lanes led to a replica of its own or to any."""
        client, calls = self.clients[0], 0
        replicas = [None, *self.random.sample(self.shown, min(2, len(self.shown)))]
        of_lane = {lane: self.random.choice(replicas) for lane in Lane}
        by_lane = self.random.random() < 0.5
        waiting = deque(client.machine.handle(event, client.now))
        while waiting and calls < MOST:
            call = waiting.popleft()
            if isinstance(call, Put | Ask | Scan):
                calls += 1
                client.now = client.now.plus(0.0005)
                replica = of_lane[call.lane] if by_lane else self.random.choice(replicas)
                waiting.extend(client.machine.handle(self._answer(client, call, replica), client.now))
        return calls

    def _answer(self, client: Client, call: Put | Ask | Scan, replica: View | None):
        match call:
            case Put():
                try:
                    return Answered([call], client.arrives_late(call))
                except MemoryGone as gone:
                    return Unanswered([call], Failure.MEMORY_GONE, gone)
            case Ask(keys):
                there = replica or client.backend.read(keys, timeout=1)
                seen = {key: there.seen.get(key, Seen(None, ABSENT)) for key in keys}
                return Viewed(there._replace(seen=seen), client.now)
            case Scan(prefix):
                return Scanned(call, list(client.backend.scan(prefix, timeout=1)), True, client.now)


@pytest.mark.parametrize("piece", range(4))
def test_no_event_is_followed_by_calls_without_end(piece: int):
    for seed in range(piece, 1200, 4):
        walk = Walk(seed)

        calls = walk.calls_after(walk.random.choice(KICKS))

        assert calls < MOST, f"walk {seed}"
