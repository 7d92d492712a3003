"""What a driver's author gives to the contract, and the few steps that its tests are made of."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import ClassVar, Final, NoReturn, TypeAlias, TypeVar

import pytest

from leaderlock.backend import ABSENT, Answer, Backend, Seen, Stamp, Swapped, Write
from leaderlock.errors import BackendUnavailable

__all__ = [
    "HOOKS",
    "PATIENCE",
    "TIMEOUT",
    "Hooks",
    "Opener",
    "attempt",
    "eventually",
    "look",
    "memory_of",
    "put",
    "together",
]

TIMEOUT: Final = 10.0
"""Seconds that a healthy store is given for one call."""
PATIENCE: Final = 15.0
"""Seconds within which what must happen sooner or later has happened."""
HOOKS: Final = ("restart_store", "wipe_store", "delete_by_hand", "overwrite_by_hand", "outage", "freeze")
"""The fixtures that an author gives or declares unsupported."""

Opener: TypeAlias = Callable[..., Backend]
"""Opens a client on this test's namespace, or on the one named by ``namespace=``; all are closed after the test."""
T = TypeVar("T")


class Hooks:
    """The fixtures under the tests; see :class:`leaderlock.testing.BackendContract`."""

    unsupported: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def make_backend(self) -> Callable[[str], Backend]:
        pytest.fail("give the fixture make_backend: a function of a namespace that opens a backend on it")

    @pytest.fixture
    def namespace(self) -> str:
        return f"contract-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def open_backend(self, make_backend: Callable[[str], Backend], namespace: str) -> Iterator[Opener]:
        opened: list[Backend] = []

        def open_one(*, namespace: str = namespace) -> Backend:
            opened.append(make_backend(namespace))
            return opened[-1]

        yield open_one
        for backend in opened:
            backend.close()

    @pytest.fixture
    def backend(self, open_backend: Opener) -> Backend:
        return open_backend()

    @pytest.fixture
    def restart_store(self) -> Callable[[], None]:
        self._not_given("restart_store")

    @pytest.fixture
    def wipe_store(self) -> Callable[[], None]:
        self._not_given("wipe_store")

    @pytest.fixture
    def delete_by_hand(self) -> Callable[[str], None]:
        self._not_given("delete_by_hand")

    @pytest.fixture
    def overwrite_by_hand(self) -> Callable[[str, bytes], None]:
        self._not_given("overwrite_by_hand")

    @pytest.fixture
    def outage(self) -> Callable[[], AbstractContextManager[object]]:
        self._not_given("outage")

    @pytest.fixture
    def freeze(self) -> Callable[[], AbstractContextManager[object]]:
        self._not_given("freeze")

    def _not_given(self, hook: str) -> NoReturn:
        if hook in self.unsupported:
            pytest.skip(f"declared unsupported: {hook}: {self.unsupported[hook]}")
        pytest.fail(f"give the fixture {hook}, or say in `unsupported` why this store cannot have it")


def look(backend: Backend, key: str) -> Seen:
    """What is there."""
    return backend.read([key], timeout=TIMEOUT).seen[key]


def memory_of(backend: Backend) -> str:
    """The memory that this client sees."""
    return backend.read(["settled"], timeout=TIMEOUT).memory


def attempt(backend: Backend, *writes: Write) -> list[Answer]:
    """Swap on the memory of the moment."""
    return backend.swap(writes, memory_of(backend), timeout=TIMEOUT)


def put(backend: Backend, key: str, value: bytes | None, expected: Stamp = ABSENT) -> Stamp:
    """A write that must be applied; returns the new stamp."""
    (answer,) = attempt(backend, Write(key, expected, value))
    assert isinstance(answer, Swapped), f"{key!r} was to be written over stamp {expected!r}"
    return answer.stamp


def together(count: int, work: Callable[[int], T]) -> Sequence[T]:
    """Let ``count`` threads do ``work(0)`` … ``work(count - 1)`` at once; their results, or the first error."""
    barrier = threading.Barrier(count)

    def start(number: int) -> T:
        barrier.wait(TIMEOUT)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


def eventually(condition: Callable[[], T]) -> T:
    """The first true answer of ``condition``, asked again while it is false or the store is away."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if (answer := condition()) or time.monotonic() >= until:
                return answer
        except BackendUnavailable:
            if time.monotonic() >= until:
                raise
        threading.Event().wait(0.02)
