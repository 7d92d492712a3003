"""The driver: a register is a key, its stamp the revision of its last write, and every call one transaction.

**Swaps** are transactions within a transaction: the outer one compares the birth mark's value and runs one inner one
for each write, which compares the key's revision and writes, or else reads what is there.

**Reads** are one transaction, too: the birth mark and the keys, linearizable, so that they and the revision are of one
moment. The **floor** is the mark's birth in microseconds plus that revision.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from leaderlock.backend import (
    ABSENT,
    Answer,
    Backend,
    Conflict,
    Seen,
    Stamp,
    Swapped,
    Traits,
    View,
    Wake,
    Write,
    check_count,
    check_writes,
)
from leaderlock.errors import BackendError, MemoryGone, OutcomeUnknown
from leaderlock.knowledge import Knowledge
from leaderlock.watching import Watches
from leaderlock_etcd import _messages as messages
from leaderlock_etcd._caller import Caller, Login
from leaderlock_etcd._lines import Lines, Source
from leaderlock_etcd._marks import Known, new_mark
from leaderlock_etcd._messages import RangeAnswer, TxnAnswer
from leaderlock_etcd._space import Space
from leaderlock_etcd._watch import Watcher

if TYPE_CHECKING:
    from leaderlock.diagnosis import Finding

__all__ = ["EtcdBackend"]

# The server takes 128 operations and 1.5 MiB a request. A read carries the birth mark, too.
_MAX_BATCH: Final = 100
_MAX_VALUE: Final = 1 << 20
_MAX_BYTES: Final = 1 << 20
_PER_WRITE: Final = 64
_PAGE_SIZE: Final = 250
_NO_REVISION: Final = (1 << 63) - 1

_TRAITS: Final = Traits(
    store="etcd", durability="disk", keeps_memory=True, pushes=True, max_batch=_MAX_BATCH, max_value=_MAX_VALUE
)


class EtcdBackend(Backend):
    """Registers of one namespace in one etcd cluster."""

    def __init__(self, source: Source, login: Login, *, prefix: str, namespace: str, shown: str) -> None:
        self._shown = shown
        self._space = Space(prefix, namespace)
        self._lines = Lines(source, shown)
        self._login = login
        self._caller = Caller(self._lines, login, shown, messages.range_request(self._space.mark))
        self._knowledge = Knowledge[Known]()
        # Kept until the end, since a stream costs gRPC two threads to open.
        self._watches = Watches("etcd-watch", self._watcher, check=self._lines.check, until_closed=True)

    @property
    def traits(self) -> Traits:
        return _TRAITS

    def read(self, keys: Collection[str], *, timeout: float) -> View:
        wanted = list(keys)
        check_count(self.traits, len(wanted))
        deadline = time.monotonic() + timeout
        gets = [messages.get(self._space.key(key)) for key in wanted]
        request = messages.txn((), (messages.get(self._space.mark), *gets))
        while True:
            known = self._knowledge.newest
            answer = self._caller.txn(request, deadline, is_write=False)
            mark, *found = map(_seen, answer.answers)
            if mark.value is not None:
                seen = Known(mark.value.decode(errors="replace"), answer.revision)
                floor = seen.floor
                if self._knowledge.stands(seen, known):
                    break
                self._knowledge.leave(seen.memory)
            self._lay_mark(mark.value, deadline)
        self._knowledge.note(seen, known)
        return View(dict(zip(wanted, found, strict=True)), floor, seen.memory)

    def swap(self, writes: Sequence[Write], memory: str, *, timeout: float) -> list[Answer]:
        check_writes(self.traits, writes)
        deadline = time.monotonic() + timeout
        self._lines.check()
        answers: list[Answer] = []
        for chunk in _chunks(writes):
            try:
                answers += self._swap_at_once(chunk, memory, deadline)
            except (MemoryGone, OutcomeUnknown):
                raise
            except BackendError as error:
                if not answers:
                    raise
                # "Nothing was done" would be said of the whole call, and part of it was.
                done = f"{len(answers)} of {len(writes)} writes were answered, and the rest may not have been made"
                raise OutcomeUnknown(f"{self._shown}: {done} ({error})") from error
        return answers

    def scan(self, prefix: str, *, timeout: float) -> Iterator[tuple[str, Seen]]:
        self._lines.check()
        return self._pages(prefix, timeout)

    def watch(self, keys: Collection[str], wake: Wake) -> Callable[[], None]:
        return self._watches.add([self._space.key(key) for key in keys], wake)

    def diagnose(self, *, timeout: float) -> Sequence[Finding]:
        """What the cluster is like; see :class:`leaderlock.diagnosis.Diagnoses`."""
        from leaderlock_etcd._doctor import examine

        self._lines.check()
        return examine(self._lines.source, self._login, self._space.mark, timeout, shown=self._shown)

    def close(self) -> None:
        if not self._lines.is_inherited:
            self._lines.close()
            self._watches.close()

    def _watcher(self) -> Watcher:
        return Watcher(self._lines, self._login, self._space, self._knowledge)

    def _swap_at_once(self, writes: Sequence[Write], memory: str, deadline: float) -> list[Answer]:
        if self._knowledge.is_left(memory):
            raise MemoryGone(f"{self._shown}: the store no longer is what it was; nothing was written")
        known = self._knowledge.newest
        steps = [messages.nested(_step(self._space.key(write.key), write)) for write in writes]
        request = messages.txn([messages.has_value(self._space.mark, memory.encode())], steps)
        answer = self._caller.txn(request, deadline, is_write=True)
        if not answer.succeeded:
            raise MemoryGone(f"{self._shown}: the namespace's birth mark is another, or gone; nothing was written")
        seen = Known(memory, answer.revision)
        if not self._knowledge.stands(seen, known):
            # It went to a store set back to a snapshot. What it wrote there goes with the memory, as the next read
            # lays another mark.
            self._knowledge.leave(memory)
            raise MemoryGone(f"{self._shown}: revisions went back; was a snapshot restored?")
        self._knowledge.note(seen, known)
        return [_answer(write, step, answer.revision) for write, step in zip(writes, answer.answers, strict=True)]

    def _lay_mark(self, present: bytes | None, deadline: float) -> None:
        """Lay a birth mark in place of what is there, unless somebody was faster; whose comes first, stands."""
        mark, newest = self._space.mark, self._knowledge.newest
        condition = messages.has_stamp(mark, 0) if present is None else messages.has_value(mark, present)
        value = new_mark(above=newest.floor + 1 if newest else 0).encode()
        # Not a write to be in doubt about: the read that follows shows which mark there is.
        self._caller.txn(messages.txn([condition], [messages.put(mark, value)]), deadline, is_write=False)

    def _pages(self, prefix: str, timeout: float) -> Iterator[tuple[str, Seen]]:
        first, end = self._space.range(prefix)
        while True:
            request = messages.range_request(first, end, limit=_PAGE_SIZE)
            found = self._caller.range(request, time.monotonic() + timeout).found
            for entry in found:
                if entry.key != self._space.mark:
                    yield self._space.name(entry.key), Seen(entry.value, entry.mod_revision)
            if len(found) < _PAGE_SIZE:
                return
            first = found[-1].key + b"\0"


def _step(key: bytes, write: Write) -> bytes:
    change = messages.delete(key) if write.value is None else messages.put(key, write.value)
    return messages.txn([messages.has_stamp(key, _number(write.expected))], [change], [messages.get(key)])


def _answer(write: Write, step: RangeAnswer | TxnAnswer | None, revision: int) -> Answer:
    if not isinstance(step, TxnAnswer) or (not step.succeeded and len(step.answers) != 1):
        raise OutcomeUnknown(f"an answer to the write of {write.key!r} is missing; read it again")
    if step.succeeded:
        # All writes of a transaction are made at the revision that it ends with.
        return Swapped(ABSENT if write.value is None else revision)
    return Conflict(_seen(step.answers[0]))


def _seen(step: RangeAnswer | TxnAnswer | None) -> Seen:
    if isinstance(step, RangeAnswer) and step.found:
        return Seen(step.found[0].value, step.found[0].mod_revision)
    return Seen(None, ABSENT)


def _number(stamp: Stamp) -> int:
    # A stamp of another store is nobody's here.
    return stamp if isinstance(stamp, int) and 0 <= stamp < _NO_REVISION else _NO_REVISION


def _chunks(writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
    """The writes in their order, each part as great as one request may be; one part at least."""
    start = size = 0
    for at, write in enumerate(writes):
        cost = len(write.value or b"") + 3 * 4 * len(write.key) + _PER_WRITE
        if at > start and size + cost > _MAX_BYTES:
            yield writes[start:at]
            start, size = at, 0
        size += cost
    yield writes[start:]
