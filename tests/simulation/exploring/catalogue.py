"""Clients and messages by number, each kept once; and every step of a client taken once, however often it is met."""

from __future__ import annotations

import marshal
import pickle
from collections.abc import Iterable
from copy import copy
from enum import Enum
from hashlib import blake2b
from typing import Any, NamedTuple

from ..cores import Core
from .party import Engine, Party
from .spaces import Space

__all__ = ["Catalogue", "Known"]


class Known(NamedTuple):
    """What there is to know of a client without waking it up."""

    label: str
    status: str
    claim: Any
    """Until when it leads, if it does."""
    timers: tuple[tuple[int, Any], ...]
    calls: tuple[tuple[int, int], ...]
    """When each is given up, and its number."""
    watches: frozenset[str]
    is_over: bool


DEAD = Known("dead", "dead", None, (), (), frozenset(), True)


class Catalogue:
    def __init__(self, space: Space, core: Core) -> None:
        self.space, self.core = space, core
        walls = (1e9, 1e9 + 3600.0, 1e9 - 3600.0) if space.wrong_wall else (1e9,) * 3
        self.engines = [
            Engine(core, space.rates[seat], walls[seat], space.patient[seat], space.own_thread)
            for seat in range(space.clients)
        ]
        self.known: list[Known] = [DEAD]
        self._kept: list[bytes] = [b""]
        self._numbers: dict[bytes, int] = {}
        self._steps: dict[tuple[Any, ...], tuple[int, tuple[Any, ...]]] = {}
        self.messages: list[tuple[Any, ...]] = []
        self._message_numbers: dict[tuple[Any, ...], int] = {}

    def new_party(self, seat: int, label: str) -> int:
        return self._keep(Party(self.space, self.core, label, self.space.ttl[seat]))

    def step(self, seat: int, party: int, now: int, event: tuple[Any, ...]) -> tuple[int, tuple[Any, ...]]:
        """What becomes of that client, and what comes out of it."""
        asked = (seat, party, now, event)
        done = self._steps.get(asked)
        if done is None:
            client = pickle.loads(self._kept[party])
            out = tuple(client.step(self.engines[seat], now, event))
            done = self._steps[asked] = self._keep(client), out
        return done

    def message(self, *message: Any) -> int:
        number = self._message_numbers.get(message)
        if number is None:
            number = self._message_numbers[message] = len(self.messages)
            self.messages.append(message)
        return number

    def _keep(self, client: Party) -> int:
        shape = _shape(client)
        number = self._numbers.get(shape)
        if number is None:
            number = self._numbers[shape] = len(self._kept)
            self._kept.append(pickle.dumps(client, 5))
            self.known.append(
                Known(
                    client.label,
                    "closing" if client.is_closing else client.status,
                    client.candidacy.standing.until
                    if client.candidacy is not None and client.candidacy.leads
                    else None,
                    tuple(sorted((due, timer) for timer, due in client.timers.items())),
                    tuple(sorted((due, number) for number, (_, _, due, _) in client.calls.items())),
                    frozenset(client.watches),
                    client.is_closed,
                )
            )
        return number

    def __len__(self) -> int:
        return len(self._kept)


def _shape(client: Party) -> bytes:
    """All that a client is, but for which of its equal parts are one object: equal clients have one shape."""
    return blake2b(marshal.dumps(_plain(client, {}), 2), digest_size=16).digest()


def _plain(thing: Any, met: dict[int, int]) -> Any:
    kind = type(thing)
    if kind in _PLAIN:
        return thing
    if isinstance(thing, tuple):
        return (kind.__name__, *_parts(thing, met))
    if isinstance(thing, dict):
        return (*_parts(thing, met), *_parts(thing.values(), met))
    if kind is list:
        return _parts(thing, met)
    if kind is set:
        return sorted(thing)
    if isinstance(thing, Enum):
        return thing.name
    if isinstance(thing, Exception):
        return str(thing)
    if kind is _ROUND:
        return list(copy(thing))
    if id(thing) in met:
        return met[id(thing)]
    met[id(thing)] = len(met)
    names = getattr(kind, "__slots__", None) or thing.__dict__
    return (kind.__name__, *_parts([getattr(thing, name) for name in names if name not in _SAME], met))


def _parts(things: Iterable[Any], met: dict[int, int]) -> list[Any]:
    return [thing if type(thing) in _PLAIN else _plain(thing, met) for thing in things]


_ROUND = type(iter(()))
_PLAIN = frozenset((str, int, float, bool, bytes, type(None)))
_SAME = frozenset(("_setting", "__weakref__"))
"""Never changed, but for the ids that it has given, of which the client keeps the number itself."""
