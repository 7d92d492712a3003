"""Everything that can go wrong between a client and its store, when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Literal, NamedTuple, TypeAlias

from leaderlock._locks import signal_safe
from leaderlock.backend import Answer, Backend, Seen, Traits, View, Wake, Write
from leaderlock.errors import BackendError, BackendRefused, BackendUnavailable, OutcomeUnknown

__all__ = ["Call", "Fault", "FaultyBackend", "Injection", "Op"]

Op: TypeAlias = Literal["read", "swap", "scan"]


class Fault(Enum):
    """What becomes of a call. Where an answer does not come, the caller gets ``OutcomeUnknown``."""

    NEVER_SENT = "the request never leaves: BackendUnavailable"
    REFUSE = "the store says no before it does anything: BackendRefused"
    LOST_BEFORE = "the request is lost on its way: never applied, no answer"
    LOST_AFTER = "the answer is lost on its way: applied, no answer"
    CUT = "the connection breaks in the middle: the first half of the writes is applied, no answer"
    LATE = "no answer; the request arrives when the test calls deliver_late()"
    HANG = "like LATE, but nothing is said until the time-out, or release_hung()"
    TWICE = "the request arrives a second time after it was answered; the first answer is given"
    BUG = "the driver raises what it must not: RuntimeError"


class Call(NamedTuple):
    """One call that a client made, whatever became of it."""

    op: Op
    keys: tuple[str, ...]
    """The keys read or written, or the prefix scanned."""


@dataclass(slots=True, eq=False)
class Injection:
    """Something that awaits its calls. As a context manager it ends with the block, else after ``left`` hits."""

    op: Op | Literal["any"]
    when: Callable[[Sequence[str]], bool]
    left: int | None
    effect: Fault | float | Callable[[], object]
    """A fault, the seconds that the answer takes, or what happens before the request is sent."""
    hits: int = 0

    def cancel(self) -> None:
        """Hit no further call."""
        self.left = 0

    def __enter__(self) -> Injection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def takes(self, call: Call) -> bool:
        """Whether this call is hit; if so, it counts."""
        if self.left == 0 or self.op not in ("any", call.op) or not self.when(call.keys):
            return False
        self.hits += 1
        if self.left is not None:
            self.left -= 1
        return True


class FaultyBackend(Backend):
    """A backend that does what ``inner`` does, except where something was injected, and notes every call.

    What was injected first is tried first. Of the faults at most one hits a call; delays and actions that were injected
    before it hit as well.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.calls: list[Call] = []
        """Every call so far, in order: ``len``, ``clear`` and compare it freely."""
        self.is_deaf = False
        """While true, no watch is woken."""
        self._injections: list[Injection] = []
        self._late: list[tuple[Sequence[Write], str]] = []
        self._release = threading.Event()
        self._lock = signal_safe(threading.Lock())

    def inject(
        self,
        fault: Fault,
        *,
        op: Op | Literal["any"] = "swap",
        times: int | None = 1,
        when: Callable[[Sequence[str]], bool] = lambda _: True,
    ) -> Injection:
        """Let ``fault`` hit the next ``times`` calls of ``op`` whose keys ``when`` likes; ``None``: until cancelled."""
        return self._add(Injection(op, when, times, fault))

    def delay(
        self,
        seconds: float,
        *,
        op: Op | Literal["any"] = "any",
        times: int | None = None,
        when: Callable[[Sequence[str]], bool] = lambda _: True,
    ) -> Injection:
        """Let requests take ``seconds`` of real time; one that outlasts its time-out hangs (:attr:`Fault.HANG`)."""
        return self._add(Injection(op, when, times, seconds))

    def before(
        self,
        action: Callable[[], object],
        *,
        op: Op | Literal["any"] = "swap",
        times: int | None = 1,
        when: Callable[[Sequence[str]], bool] = lambda _: True,
    ) -> Injection:
        """Call ``action()`` just before the request goes out: a rival's write, or a store that forgets."""
        return self._add(Injection(op, when, times, action))

    def deliver_late(self) -> list[list[Answer] | BackendError]:
        """Let every late request arrive now, in the order sent; return what the store says, and nobody else hears."""
        with self._lock:
            late, self._late = self._late, []
        return [self._deliver(writes, memory) for writes, memory in late]

    def release_hung(self) -> None:
        """Let every call that hangs raise ``OutcomeUnknown`` now."""
        with self._lock:
            release, self._release = self._release, threading.Event()
        release.set()

    def count(self, op: Op) -> int:
        """How many calls of ``op`` there were."""
        return sum(call.op == op for call in list(self.calls))

    @property
    def traits(self) -> Traits:
        return self.inner.traits

    def read(self, keys: Collection[str], *, timeout: float) -> View:
        if self._meet(Call("read", tuple(keys)), timeout) not in (None, Fault.TWICE):
            raise OutcomeUnknown("injected: no answer to a read")
        return self.inner.read(keys, timeout=timeout)

    def swap(self, writes: Sequence[Write], memory: str, *, timeout: float) -> list[Answer]:
        fault = self._meet(Call("swap", tuple(write.key for write in writes)), timeout)
        if fault in (None, Fault.TWICE):
            answers = self.inner.swap(writes, memory, timeout=timeout)
            if fault is Fault.TWICE:
                self._deliver(writes, memory, timeout)
            return answers
        if fault in (Fault.LATE, Fault.HANG):
            with self._lock:
                self._late.append((tuple(writes), memory))
        elif fault is not Fault.LOST_BEFORE:
            self._deliver(writes[: len(writes) // 2] if fault is Fault.CUT else writes, memory, timeout)
        raise OutcomeUnknown("injected: no answer to a swap")

    def scan(self, prefix: str, *, timeout: float) -> Iterator[tuple[str, Seen]]:
        if self._meet(Call("scan", (prefix,)), timeout) not in (None, Fault.TWICE):
            raise OutcomeUnknown("injected: no answer to a scan")
        return self.inner.scan(prefix, timeout=timeout)

    def watch(self, keys: Collection[str], wake: Wake) -> Callable[[], None]:
        def wake_unless_deaf(shown: View | None) -> None:
            if not self.is_deaf:
                wake(shown)

        return self.inner.watch(keys, wake_unless_deaf)

    def close(self) -> None:
        self.release_hung()
        self.inner.close()

    def _add(self, injection: Injection) -> Injection:
        with self._lock:
            self._injections.append(injection)
        return injection

    def _deliver(self, writes: Sequence[Write], memory: str, timeout: float = 5.0) -> list[Answer] | BackendError:
        try:
            return self.inner.swap(writes, memory, timeout=timeout)
        except BackendError as error:
            return error

    def _meet(self, call: Call, timeout: float) -> Fault | None:
        """Note the call, let delays and actions hit it, raise what no request survives, and return its fault."""
        for injection in self._hitting(call):
            effect = injection.effect
            if isinstance(effect, Fault):
                return self._begin(effect, timeout)
            if not isinstance(effect, int | float):
                effect()
                continue
            self._release.wait(min(effect, timeout))
            if effect >= timeout:
                return Fault.HANG
        return None

    def _hitting(self, call: Call) -> list[Injection]:
        hitting: list[Injection] = []
        with self._lock:
            self.calls.append(call)
            self._injections = [injection for injection in self._injections if injection.left != 0]
            for injection in self._injections:
                if injection.takes(call):
                    hitting.append(injection)
                    if isinstance(injection.effect, Fault):
                        break
        return hitting

    def _begin(self, fault: Fault, timeout: float) -> Fault:
        match fault:
            case Fault.NEVER_SENT:
                raise BackendUnavailable("injected: the request never left")
            case Fault.REFUSE:
                raise BackendRefused("injected: the store says no")
            case Fault.BUG:
                raise RuntimeError("injected: a driver's bug")
            case Fault.HANG:
                self._release.wait(timeout)
            case _:
                pass
        return fault
