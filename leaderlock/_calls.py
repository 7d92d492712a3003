"""Calls at the store: batches out, events back, and every way a call can end told apart in this one place."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

from leaderlock._clock import Clock
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import (
    Answered,
    Ask,
    Call,
    Event,
    Failure,
    Put,
    Scan,
    Scanned,
    Unanswered,
    Unread,
    Viewed,
)
from leaderlock.backend import Backend, Seen
from leaderlock.errors import (
    BackendRefused,
    BackendUnavailable,
    MemoryGone,
    OutcomeUnknown,
    UsageError,
)

__all__ = ["INTERRUPTED", "Calls", "fail"]

_log: Final = logging.getLogger("leaderlock")

INTERRUPTED: Final = "the call was interrupted"
"""How the text begins of what is unknown because a signal came between: nothing is told of the store then."""

SLICE: Final = 500
"""How many registers one step of a scan brings."""


class Calls:
    """Carries effects to one backend and hands each answer to ``post`` as an event."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self.backend = backend
        self._clock = clock
        self._at_once = max(1, backend.traits.max_batch)
        self._scans: dict[str, tuple[Scan, Iterator[tuple[str, Seen]]]] = {}
        """By prefix, the scan that was under way last, and what is left of it. Nothing is kept of an earlier one: most
        belong to a memory that is gone, and one that goes on after all begins anew."""

    def carry(self, effects: Iterable[Call], timeout: float, post: Callable[[Event], None]) -> None:
        """Send what these effects ask for: all writes first, in their order, then all reads as one."""
        puts: list[Put] = []
        keys: dict[str, None] = {}
        scans: list[Scan] = []
        for effect in effects:
            match effect:
                case Put():
                    puts.append(effect)
                case Ask():
                    keys.update(dict.fromkeys(effect.keys))
                case Scan():
                    scans.append(effect)
        while puts:
            group = self._first(puts)
            puts = puts[len(group) :]
            answer = self._swap(group, timeout)
            post(answer)
            if isinstance(answer, Unanswered):
                # The next attempt at a store that does not answer belongs to the back-off, not to this call.
                fail(puts, Failure.NEVER_SENT, answer.error, post)
                break
        for start in range(0, len(keys), self._at_once):
            post(self._read(tuple(islice(keys, start, start + self._at_once)), timeout))
        for scan in scans:
            self._scan(scan, timeout, post)

    def _first(self, puts: Sequence[Put]) -> tuple[Put, ...]:
        """The first writes that stand on one memory and each on a key of its own, as many as fit into one call.

        A store may look at all stamps before it writes: of two writes of one key both would be acknowledged.
        """
        group: dict[str, Put] = {}
        for put in islice(puts, self._at_once):
            if put.memory != puts[0].memory or put.write.key in group:
                break
            group[put.write.key] = put
        return tuple(group.values())

    def _swap(self, puts: tuple[Put, ...], timeout: float) -> Event:
        try:
            answers = self.backend.swap([put.write for put in puts], puts[0].memory, timeout=timeout)
            if len(answers) != len(puts):
                raise RuntimeError(f"{len(puts)} writes were sent, {len(answers)} answered")
        except Exception as error:  # whatever a driver raises must end as an answer, never as a dead thread
            return Unanswered(puts, *_classify(error))
        return Answered(puts, answers)

    def _read(self, keys: tuple[str, ...], timeout: float) -> Event:
        sent = self._clock.now()
        try:
            view = self.backend.read(keys, timeout=timeout)
        except Exception as error:  # as above
            return Unread(keys, *_classify(error))
        return Viewed(view, sent)

    def _scan(self, scan: Scan, timeout: float, post: Callable[[Event], None]) -> None:
        sent: Instant = self._clock.now()
        try:
            last, rest = self._scans.pop(scan.prefix, (None, iter(())))
            if last != scan:
                rest = self.backend.scan(scan.prefix, timeout=timeout)
            # Not by tuple(): while that one grows, nobody may hold it, and whoever looks for leaks holds all there is.
            items = (*islice(rest, SLICE),)
        except Exception as error:  # as above; the next scan begins anew
            post(Unread((scan.prefix,), *_classify(error)))
            return
        finished = len(items) < SLICE
        if not finished:
            self._scans[scan.prefix] = scan, rest
        post(Scanned(scan, items, finished, sent))


def fail(effects: Iterable[Call], failure: Failure, error: Exception, post: Callable[[Event], None]) -> None:
    """Say of all of these that they were not answered. Of what was, the machine knows better, and ignores it."""
    for effect in effects:
        match effect:
            case Put():
                post(Unanswered((effect,), failure, error))
            case Ask(keys):
                post(Unread(keys, failure, error))
            case Scan(prefix):
                post(Unread((prefix,), failure, error))


def _classify(error: Exception) -> tuple[Failure, Exception]:
    """What an exception says about the request. In doubt: unknown."""
    match error:
        case OutcomeUnknown():
            return Failure.UNKNOWN, error
        case BackendUnavailable():
            return Failure.NEVER_SENT, error
        case BackendRefused() | UsageError():
            return Failure.REFUSED, error
        case MemoryGone():
            return Failure.MEMORY_GONE, error
        case _:
            _log.error("the backend raised %s, which is a bug in its driver", type(error).__name__, exc_info=error)
            wrapped = OutcomeUnknown(f"the backend raised {type(error).__name__}: {error}")
            wrapped.__cause__ = error
            return Failure.UNKNOWN, wrapped
