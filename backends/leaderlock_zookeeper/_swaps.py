"""Conditional writes: a version is the stamp, a path is the memory.

A stamp is the node's version plus one, so that :data:`~leaderlock.backend.ABSENT` is none of them. Versions begin at 0
again when a node is created anew, which the waist allows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

from leaderlock.backend import ABSENT, Answer, Conflict, Seen, Stamp, Swapped, Write
from leaderlock.errors import BackendRefused, MemoryGone, OutcomeUnknown
from leaderlock_zookeeper._errors import refusal_of, writing
from leaderlock_zookeeper._kazoo import Client, Result, Transaction, exceptions, timed_out
from leaderlock_zookeeper._link import Link
from leaderlock_zookeeper._paths import Layout

__all__ = ["Swaps", "seen_in"]

_TOGETHER: Final = 100
"""Writes in one transaction: a hundred take the server 1.6 ms, in which it does nothing else."""
_BYTES_TOGETHER: Final = 700_000
"""Servers drop the connection of whoever sends a megabyte at once (jute.maxbuffer); paths and headers count, too."""
_NEVER: Final = 2**31 - 1
"""A version that no node reaches: what is expected where the stamp is none of ours, as it is a conflict like others."""


class Failed(Enum):
    """Why a write was not applied."""

    MISSING = "there is no node, or no directory for it"
    DIFFERS = "there is another version"


_Outcome: TypeAlias = Swapped | Failed


class Swaps:
    """The writing half of the driver."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout
        self._directories: set[str] = set()

    def swap(self, writes: Sequence[Write], memory: str, deadline: float) -> list[Answer]:
        self._link.ready(deadline)
        answers: list[Answer] = []
        for group in _groups(writes):
            try:
                with writing(self._link.place):
                    answers += self._swap_group(group, memory, deadline)
            except BackendRefused as error:
                if answers:
                    raise OutcomeUnknown(f"some writes were applied before one was refused ({error})") from error
                raise
        return answers

    def _swap_group(self, writes: Sequence[Write], memory: str, deadline: float) -> list[Answer]:
        # Sent ahead of the writes on the same connection, they are there before them, and cost no wait of their own.
        created = self._send_directories(writes, memory)
        if len(writes) == 1:
            outcomes = [_outcome(writes[0], self._send(writes[0], memory), deadline)]
        else:
            outcomes = self._together(writes, memory, deadline)
        for path, result in created:
            self._confirm(path, result, deadline)
        try:
            if any(outcome is Failed.MISSING for outcome in outcomes):
                outcomes = self._after_missing(writes, outcomes, memory, deadline)
            return self._answers(writes, outcomes, memory, deadline)
        except exceptions.NoAuthError as error:
            if any(isinstance(outcome, Swapped) for outcome in outcomes):
                raise OutcomeUnknown("some writes were applied before a look at the others was refused") from error
            raise

    def _together(self, writes: Sequence[Write], memory: str, deadline: float) -> list[_Outcome]:
        """All in one transaction; where that fails, nothing was applied, and each is sent alone, in their order."""
        transaction = self._link.now().transaction()
        for write in writes:
            _add(transaction, write, self._layout.register(memory, write.key))
        results: list[Any] = transaction.commit_async().get(timeout=_left(deadline))
        if not any(isinstance(result, Exception) for result in results):
            return [_swapped(write, result) for write, result in zip(writes, results, strict=True)]
        for result in results:
            if isinstance(result, Exception) and (refusal := refusal_of(result, self._link.place)):
                raise refusal
        pending = [self._send(write, memory) for write in writes]
        outcomes: list[_Outcome] = []
        for write, result in zip(writes, pending, strict=True):
            try:
                outcomes.append(_outcome(write, result, deadline))
            except (exceptions.KazooException, timed_out) as error:
                # Of writes sent singly others may have been applied, so that not even a refusal is a plain no.
                raise OutcomeUnknown(f"one of several writes failed ({type(error).__name__}); read them all") from error
        return outcomes

    def _after_missing(
        self, writes: Sequence[Write], outcomes: list[_Outcome], memory: str, deadline: float
    ) -> list[_Outcome]:
        """Tell an absent register from a memory that is gone, and a directory that was removed from both."""
        for number, (write, outcome) in enumerate(zip(writes, outcomes, strict=True)):
            if outcome is Failed.MISSING:
                # Creating is the one way to ask that no server answers from a state of its own that lags behind.
                path = self._layout.directory(memory, write.key)
                self._confirm(path, self._link.now().create_async(path), deadline)
                if write.expected == ABSENT:
                    outcomes[number] = self._again(write, memory, deadline)
        return outcomes

    def _again(self, write: Write, memory: str, deadline: float) -> _Outcome:
        if write.value is None:
            return Swapped(ABSENT)  # nothing was to be there, and nothing is
        outcome = _outcome(write, self._send(write, memory), deadline)
        if outcome is Failed.MISSING:
            raise OutcomeUnknown("somebody is removing the namespace's directories; read again")
        return outcome

    def _answers(
        self, writes: Sequence[Write], outcomes: Sequence[_Outcome], memory: str, deadline: float
    ) -> list[Answer]:
        failed = [write for write, outcome in zip(writes, outcomes, strict=True) if isinstance(outcome, Failed)]
        looks = {write.key: self._link.now().get_async(self._layout.register(memory, write.key)) for write in failed}
        return [
            outcome if isinstance(outcome, Swapped) else Conflict(seen_in(looks[write.key], deadline))
            for write, outcome in zip(writes, outcomes, strict=True)
        ]

    def _send_directories(self, writes: Sequence[Write], memory: str) -> list[tuple[str, Result]]:
        wanted = {self._layout.directory(memory, write.key) for write in writes if write.expected == ABSENT}
        return [(path, self._link.now().create_async(path)) for path in wanted - self._directories]

    def _confirm(self, path: str, created: Result, deadline: float) -> None:
        """The directory is there now; where its parent is not, that life of the namespace is gone for good."""
        try:
            created.get(timeout=_left(deadline))
        except exceptions.NodeExistsError:
            pass
        except exceptions.NoNodeError as error:
            raise MemoryGone("the namespace was wiped: its birth mark is another, and nothing was written") from error
        self._directories.add(path)

    def _send(self, write: Write, memory: str) -> Result:
        client, path = self._link.now(), self._layout.register(memory, write.key)
        return _sent(client, write, path)


def seen_in(result: Result, deadline: float) -> Seen:
    """What a read found."""
    try:
        value, stat = result.get(timeout=_left(deadline))
    except exceptions.NoNodeError:
        return Seen(None, ABSENT)
    return Seen(value, stat.version + 1)


def _sent(client: Client, write: Write, path: str) -> Result:
    if write.value is None:
        return client.delete_async(path, version=_version(write.expected))
    if write.expected == ABSENT:
        return client.create_async(path, write.value)
    return client.set_async(path, write.value, version=_version(write.expected))


def _add(transaction: Transaction, write: Write, path: str) -> None:
    if write.value is None:
        transaction.delete(path, version=_version(write.expected))
    elif write.expected == ABSENT:
        transaction.create(path, write.value)
    else:
        transaction.set_data(path, write.value, version=_version(write.expected))


def _outcome(write: Write, result: Result, deadline: float) -> _Outcome:
    try:
        return _swapped(write, result.get(timeout=_left(deadline)))
    except exceptions.NoNodeError:
        return Failed.MISSING
    except (exceptions.BadVersionError, exceptions.NodeExistsError):
        return Failed.DIFFERS


def _swapped(write: Write, answer: Any) -> Swapped:
    if write.value is None:
        return Swapped(ABSENT)
    return Swapped(1 if write.expected == ABSENT else answer.version + 1)


def _version(expected: Stamp) -> int:
    return expected - 1 if isinstance(expected, int) and 0 < expected <= _NEVER else _NEVER


def _groups(writes: Sequence[Write]) -> Iterator[list[Write]]:
    group: list[Write] = []
    size = 0
    for write in writes:
        weight = len(write.value or b"")
        if group and (len(group) == _TOGETHER or size + weight > _BYTES_TOGETHER):
            yield group
            group, size = [], 0
        group.append(write)
        size += weight
    if group:
        yield group


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())
