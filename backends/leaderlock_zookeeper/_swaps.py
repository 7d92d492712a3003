"""Conditional writes: a version is the stamp, a path is the memory.

A stamp is the node's version plus one, so that :data:`~leaderlock.backend.ABSENT` is none of them. Versions begin at 0
again when a node is created anew, which the waist allows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

from leaderlock.backend import ABSENT, Answer, Conflict, Stamp, Swapped, Write
from leaderlock.errors import BackendRefused, MemoryGone, OutcomeUnknown
from leaderlock_zookeeper._errors import refusal_of, writing
from leaderlock_zookeeper._kazoo import Acl, Result, exceptions, rights, send, timed_out
from leaderlock_zookeeper._link import Link, left
from leaderlock_zookeeper._paths import Layout
from leaderlock_zookeeper._reads import Reads, seen_in
from leaderlock_zookeeper._requests import Node, Operation, WriteAll, create, delete, put

__all__ = ["Swaps"]

_TOGETHER: Final = 100
"""Writes in one transaction: a hundred take the server 1.6 ms, in which it does nothing else."""
_BYTES_TOGETHER: Final = 700_000
"""Servers drop the connection of whoever sends a megabyte at once (jute.maxbuffer); paths and headers count, too."""
_PER_WRITE: Final = 128
"""Bytes of headers and rights beside path and value."""
_FEW: Final = 8
"""Up to so many requests are sent sooner than a look tells whether they are needed."""
_NEVER: Final = 2**31 - 1
"""A version that no node reaches: what is expected where the stamp is none of ours, as it is a conflict like others."""


class Failed(Enum):
    """Why a write was not applied."""

    MISSING = "there is no node, or no directory for it"
    DIFFERS = "there is another version"


_Outcome: TypeAlias = Swapped | Conflict | Failed


class Swaps:
    """The writing half of the driver."""

    def __init__(self, link: Link, layout: Layout, reads: Reads) -> None:
        self._link = link
        self._layout = layout
        self._reads = reads
        self._directories: set[str] = set()

    def swap(self, writes: Sequence[Write], memory: str, deadline: float) -> list[Answer]:
        self._link.ready(deadline)
        answers: list[Answer] = []
        for group in self._groups(writes, memory):
            try:
                with writing(self._link.place):
                    answers += self._swap_group(group, memory, deadline)
            except BackendRefused as error:
                if answers:
                    raise OutcomeUnknown(f"some writes were applied before one was refused ({error})") from error
                raise
        return answers

    def _groups(self, writes: Sequence[Write], memory: str) -> Iterator[Sequence[Write]]:
        if len(writes) == 1:
            yield writes  # a renewal, which has no need to be weighed
            return
        group: list[Write] = []
        size = 0
        for write in writes:
            path = self._layout.register(memory, write.key)
            weight = len(write.value or b"") + len(path.encode()) + _PER_WRITE
            if group and (len(group) == _TOGETHER or size + weight > _BYTES_TOGETHER):
                yield group
                group, size = [], 0
            group.append(write)
            size += weight
        if group:
            yield group

    def _swap_group(self, writes: Sequence[Write], memory: str, deadline: float) -> list[Answer]:
        created = self._send_directories(writes, memory, deadline)
        outcomes = self._outcomes(writes, memory, deadline)
        try:
            for path, result in created:
                self._confirm(path, result, deadline)
            self._tell_missing(writes, outcomes, memory, deadline)
            return self._answers(writes, outcomes, memory, deadline)
        except exceptions.KazooException as error:
            # Even a refusal is no plain no then.
            if any(isinstance(outcome, Swapped) for outcome in outcomes):
                raise OutcomeUnknown(
                    f"some writes were applied before something about the others failed ({type(error).__name__})"
                ) from error
            raise

    def _outcomes(self, writes: Sequence[Write], memory: str, deadline: float) -> list[_Outcome]:
        session = self._link.now().client_id if len(writes) > _FEW else None
        outcomes = self._together(writes, memory, deadline)
        if outcomes is None and session is not None:
            outcomes = self._sorted_out(writes, memory, deadline, session)
        return outcomes or self._singly(writes, memory, deadline)

    def _together(self, writes: Sequence[Write], memory: str, deadline: float) -> list[_Outcome] | None:
        """All in one transaction; ``None``: nothing was applied, and the answer names the first culprit only."""
        if len(writes) == 1:
            return [_outcome(writes[0], self._send(writes, memory), deadline)]
        results: list[Any] = self._send(writes, memory).get(timeout=left(deadline))
        for result in results:
            if isinstance(result, Exception) and (refusal := refusal_of(result, self._link.place)):
                raise refusal
        if any(isinstance(result, Exception) for result in results):
            return None
        return [_swapped(write, version) for write, version in zip(writes, results, strict=True)]

    def _sorted_out(
        self, writes: Sequence[Write], memory: str, deadline: float, session: object
    ) -> list[_Outcome] | None:
        """After a transaction that failed: one look finds all who fail, and the others go together once more.

        A failed transaction is agreed on like any other, and a session never sees an older state than it has seen, on
        whatever server. So the look is no older than the transaction, unless the session has ended meanwhile.
        """
        nodes = self._reads.nodes([self._layout.register(memory, write.key) for write in writes], deadline)
        seen = [_outcome_by_look(write, node) for write, node in zip(writes, nodes, strict=True)]
        rest = [write for write, outcome in zip(writes, seen, strict=True) if outcome is None]
        if len(rest) == len(writes) or self._link.now().client_id != session:
            return None
        applied = self._together(rest, memory, deadline) if rest else []
        again = iter(applied if applied is not None else self._singly(rest, memory, deadline))
        return [next(again) if outcome is None else outcome for outcome in seen]

    def _singly(self, writes: Sequence[Write], memory: str, deadline: float) -> list[_Outcome]:
        """Each alone, in their order, without waiting in between."""
        pending = [self._send([write], memory) for write in writes]
        outcomes: list[_Outcome] = []
        for write, result in zip(writes, pending, strict=True):
            try:
                outcomes.append(_outcome(write, result, deadline))
            except (exceptions.KazooException, timed_out) as error:
                # Of writes sent singly others may have been applied, so that not even a refusal is a plain no.
                raise OutcomeUnknown(f"one of several writes failed ({type(error).__name__}); read them all") from error
        return outcomes

    def _tell_missing(self, writes: Sequence[Write], outcomes: list[_Outcome], memory: str, deadline: float) -> None:
        """Tell an absent register from a memory that is gone, and a directory that was removed from both."""
        for number, (write, outcome) in enumerate(zip(writes, outcomes, strict=True)):
            if outcome is Failed.MISSING:
                # Creating is the one way to ask that no server answers from a state of its own that lags behind.
                path = self._layout.directory(memory, write.key)
                self._confirm(path, self._send_creations([path]), deadline)
                if write.expected == ABSENT:
                    outcomes[number] = self._again(write, memory, deadline)

    def _again(self, write: Write, memory: str, deadline: float) -> _Outcome:
        if write.value is None:
            return Swapped(ABSENT)  # nothing was to be there, and nothing is
        outcome = _outcome(write, self._send([write], memory), deadline)
        if outcome is Failed.MISSING:
            raise OutcomeUnknown("somebody is removing the namespace's directories; read again")
        return outcome

    def _answers(
        self, writes: Sequence[Write], outcomes: Sequence[_Outcome], memory: str, deadline: float
    ) -> list[Answer]:
        """What became of each; of those that failed, with a look at what is there instead."""
        failed = [write.key for write, outcome in zip(writes, outcomes, strict=True) if isinstance(outcome, Failed)]
        nodes = self._reads.nodes([self._layout.register(memory, key) for key in failed], deadline)
        looks = dict(zip(failed, nodes, strict=True))
        return [
            Conflict(seen_in(looks[write.key])) if isinstance(outcome, Failed) else outcome
            for write, outcome in zip(writes, outcomes, strict=True)
        ]

    def _send_directories(self, writes: Sequence[Write], memory: str, deadline: float) -> list[tuple[str, Result]]:
        """See to the directories of new registers; of those that were only sent, the answer is still to come."""
        wanted = {self._layout.directory(memory, write.key) for write in writes if write.expected == ABSENT}
        if wanted <= self._directories:
            return []
        if len(wanted - self._directories) > _FEW:
            self._make_directories(wanted, memory, deadline)
        # Sent ahead of the writes on the same connection, they are there before them, and cost no wait of their own.
        return [(path, self._send_creations([path])) for path in wanted - self._directories]

    def _make_directories(self, wanted: set[str], memory: str, deadline: float) -> None:
        """Mostly all of them are there, or none is. Where some are made by others meanwhile, each is made alone."""
        life = self._layout.life(memory)
        (listed,) = self._reads.children([life], deadline)
        self._directories.update(f"{life}/{name}" for name in listed or ())
        missing = wanted - self._directories
        if len(missing) > 1 and not any(self._send_creations(missing).get(timeout=left(deadline))):
            self._directories.update(missing)

    def _send_creations(self, paths: Collection[str]) -> Result:
        client = self._link.now()
        given = rights(client)
        return send(client, WriteAll([create(client.chroot + path, b"", given) for path in paths]))

    def _confirm(self, path: str, created: Result, deadline: float) -> None:
        """The directory is there now; where its parent is not, that life of the namespace is gone for good."""
        try:
            created.get(timeout=left(deadline))
        except exceptions.NodeExistsError:
            pass
        except exceptions.NoNodeError as error:
            raise MemoryGone("the namespace was wiped: its birth mark is another, and nothing was written") from error
        self._directories.add(path)

    def _send(self, writes: Sequence[Write], memory: str) -> Result:
        client = self._link.now()
        given = rights(client)
        return send(
            client,
            WriteAll(
                [_operation(write, client.chroot + self._layout.register(memory, write.key), given) for write in writes]
            ),
        )


def _operation(write: Write, path: str, given: Sequence[Acl]) -> Operation:
    if write.value is None:
        return delete(path, _version(write.expected))
    if write.expected == ABSENT:
        return create(path, write.value, given)
    return put(path, write.value, _version(write.expected))


def _outcome_by_look(write: Write, node: Node | None) -> _Outcome | None:
    """Why the write cannot be applied to what was seen; ``None``: it can."""
    if node is not None:
        return None if node.version + 1 == write.expected else Conflict(seen_in(node))
    return None if write.expected == ABSENT and write.value is not None else Failed.MISSING


def _outcome(write: Write, result: Result, deadline: float) -> _Outcome:
    try:
        (version,) = result.get(timeout=left(deadline))
    except exceptions.NoNodeError:
        return Failed.MISSING
    except (exceptions.BadVersionError, exceptions.NodeExistsError):
        return Failed.DIFFERS
    return _swapped(write, version)


def _swapped(write: Write, version: int) -> Swapped:
    return Swapped(ABSENT if write.value is None else version + 1)


def _version(expected: Stamp) -> int:
    return expected - 1 if isinstance(expected, int) and 0 < expected <= _NEVER else _NEVER
