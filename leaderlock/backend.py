"""The waist: what a store must do, and nothing else.

A store is a set of registers. A register is a key that holds a value (bytes) and a *stamp*, which changes with
every write of that key and is never used twice while the key exists. All of leaderlock stands on one operation,
a conditional write (:meth:`Backend.swap`); time, leases and leaders are unknown down here.

What a driver promises, in full:

1. **Swaps are linearizable.** A write is applied iff, in one atomic step, the register's stamp is the expected one
   (:data:`ABSENT` where there must be no register) *and* the store's memory is the one named. Writes of one call are
   applied in their order, each is answered on its own, and no key appears twice in one call.
2. **Stamps.** A stamp is not used twice while its key exists. After a deletion numbering may start again.
3. **Memory.** An opaque id of what the store remembers. It changes whenever acknowledged writes may have been lost,
   and when the namespace was wiped: a random *birth mark*, laid by the driver at the namespace's first use, is part
   of it. An id once left never comes back. It is compared inside the atomic step, not before it.
4. **Floor.** A whole number below 2**53 which never goes back, rises with every applied swap, and is above every one
   given before, even after a loss of memory: microseconds since 1970 at the namespace's birth plus a revision, or
   the server's clock in microseconds.
5. **Reads** give each key as of one moment after the call began, or lag behind: a lagging read costs time, never
   safety. The floor and the memory are of the same answer as the values.
6. **Four kinds of answer**, always told apart: an answer (done, conflict); :class:`~leaderlock.errors.MemoryGone`;
   :class:`~leaderlock.errors.BackendRefused` (the store said no before doing anything), a plain
   :class:`~leaderlock.errors.BackendUnavailable` (*never sent*); and
   :class:`~leaderlock.errors.OutcomeUnknown` (may have been applied, now or later). In doubt: unknown.
   :class:`~leaderlock.errors.MemoryGone` says that no write *of this memory* counts any more; earlier writes of the
   same call may have been applied before it went.
7. **Threads.** Every method may be called from any thread, several at once. It returns or raises within ``timeout``
   seconds, and never sleeps, retries, logs, or starts a thread beyond what the client library (or, where that
   brings none, waiting for :meth:`Backend.watch`) needs.
8. **Interruption.** On any ``BaseException`` between sending and reading, the connection in use is thrown away, so that
   a late reply can never be taken for the answer to the next request.
9. **Fork.** Nothing opened in the parent is used in the child; a backend that is used in a forked child raises
   :class:`~leaderlock.errors.UsageError`.

`leaderlock.testing.BackendContract` tests all of this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from leaderlock._locks import signal_safe
from leaderlock.errors import BackendRefused

__all__ = [
    "ABSENT",
    "DELETE",
    "Answer",
    "Backend",
    "Conflict",
    "Seen",
    "Stamp",
    "Swapped",
    "Traits",
    "View",
    "Wake",
    "Write",
    "check_count",
    "check_writes",
    "signal_safe",
]

Stamp: TypeAlias = int | str | bytes
"""Opaque to everyone but the driver: compared for equality, never for order."""

ABSENT: Final[Stamp] = 0
"""The stamp of a register that does not exist; no existing register ever has it."""

DELETE: Final = None
"""The value of a :class:`Write` that removes the register."""


class Seen(NamedTuple):
    """What a register held: its value (``None``: there was none) and its stamp (then :data:`ABSENT`)."""

    value: bytes | None
    stamp: Stamp


class View(NamedTuple):
    """One answer to a read: every key that was asked for, the floor and the memory, all of one moment."""

    seen: Mapping[str, Seen]
    floor: int
    memory: str


class Write(NamedTuple):
    """A conditional write: make ``key`` hold ``value`` (:data:`DELETE`: nothing) iff its stamp is ``expected``."""

    key: str
    expected: Stamp
    value: bytes | None


class Swapped(NamedTuple):
    """The write was applied; the register's stamp is now ``stamp`` (:data:`ABSENT` after a deletion)."""

    stamp: Stamp


class Conflict(NamedTuple):
    """The write was not applied, since the stamp was another; ``seen`` is what is there instead."""

    seen: Seen


Answer: TypeAlias = Swapped | Conflict

Wake: TypeAlias = Callable[[View | None], None]
"""What :meth:`Backend.watch` calls: something may have changed, or it has changed to this."""


class Traits(NamedTuple):
    """What this store is, under the settings of this very client. Each is verified both ways by the contract suite."""

    store: str
    """The store's name, as people say it: ``"sqlite"``."""
    durability: str
    """What an acknowledged write survives, as this client assumes it: ``"memory"``, ``"disk"``, ``"replicas:2"``…"""
    keeps_memory: bool
    """Whether the store keeps what it acknowledged through restarts: then a first use settles it at once."""
    pushes: bool
    """Whether :meth:`Backend.watch` is pushed by the store (else the driver polls)."""
    max_batch: int
    """The greatest number of writes, or of keys to read, in one call."""
    max_value: int
    """The greatest value of one register, in bytes."""
    is_local: bool = False
    """Whether only processes under one kernel can reach this very store: they may compare readings of its clock."""


class Backend(ABC):
    """A store of registers. The module's text is the specification; this is its shape.

    Keys are ``settled``, ``session/<id>`` and ``name/<name>``, where a name is 1 to 200 printable characters of any
    script. A driver escapes what its store would give a meaning to, and keeps namespaces apart.
    """

    @property
    @abstractmethod
    def traits(self) -> Traits:
        """What this store is. Costs nothing: no I/O."""

    @abstractmethod
    def read(self, keys: Collection[str], *, timeout: float) -> View:
        """Every key of ``keys`` as it stands. The first call on a fresh namespace lays its birth mark."""

    @abstractmethod
    def swap(self, writes: Sequence[Write], memory: str, *, timeout: float) -> list[Answer]:
        """Apply each write iff its register's stamp is the expected one and the memory is still ``memory``."""

    @abstractmethod
    def scan(self, prefix: str, *, timeout: float) -> Iterator[tuple[str, Seen]]:
        """The registers whose key starts with ``prefix``, in any order; ``timeout`` bounds each step.

        A register that changes meanwhile may show its old or its new state; one that exists throughout is shown.
        """

    @abstractmethod
    def watch(self, keys: Collection[str], wake: Wake) -> Callable[[], None]:
        """Call ``wake(None)``, from any thread, whenever one of ``keys`` may have changed; return what stops that.

        A hint: it may come late, twice, for nothing or not at all. Whoever is woken reads; a change between the wake
        and that read may bring no wake of its own. Returns at once, not waiting for the store; where watching begins
        only later, ``wake`` is called once when it does, for what was missed.
        ``wake`` neither blocks nor raises. The returned function may be called twice, and from inside ``wake``.

        A store that tells of a change together with what it changed to may spare the read: ``wake(view)``, where the
        view has those of ``keys`` that changed as a read would have shown them at one moment, and the memory of that
        very moment; it may be old by now. Then each later change must bring another wake, and no stamp in the view may
        ever be given again in that memory, not even after a deletion.
        """

    @abstractmethod
    def close(self) -> None:
        """Give back every connection, thread and watch. May be called twice. Later calls raise ``UsageError``."""


def check_count(traits: Traits, count: int) -> None:
    """Raise ``ValueError`` where a call names more keys than the store takes: for drivers, before anything is sent."""
    if count > traits.max_batch:
        raise ValueError(
            f"{count} keys in one call are more than {traits.store} takes ({traits.max_batch}); split them"
        )


def check_writes(traits: Traits, writes: Sequence[Write]) -> None:
    """Raise where no store, or not this one, can take these writes: for drivers, before anything is sent."""
    check_count(traits, len(writes))
    if len(writes) > 1 and len({write.key for write in writes}) < len(writes):
        raise ValueError("a key appears twice in one swap; send two")
    for write in writes:
        if write.value is not None and len(write.value) > traits.max_value:
            raise BackendRefused(
                f"the value of {write.key!r} has {len(write.value)} bytes; {traits.store} takes {traits.max_value};"
                " keep notes short"
            )
