"""The store in memory keeps the contract: as one that keeps its memory, as one that forgets, and behind faults."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from leaderlock.backend import Backend, Write
from leaderlock.testing import BackendContract, Fault, FaultyBackend, MemoryStore

NOT_IN_MEMORY = {
    "outage": "nothing lies between a program and its own memory",
    "freeze": "nothing lies between a program and its own memory",
}


class OnAStore(BackendContract):
    """The hooks for whatever store the subclass names."""

    keeps_memory = True

    @pytest.fixture
    def store(self):
        return MemoryStore(keeps_memory=self.keeps_memory)

    @pytest.fixture
    def make_backend(self, store) -> Callable[[str], Backend]:
        return lambda namespace: store.backend(namespace=namespace)

    @pytest.fixture
    def restart_store(self, store):
        return store.restart

    @pytest.fixture
    def wipe_store(self, store):
        return lambda: store.forget(wipe=True)

    @pytest.fixture
    def overwrite_by_hand(self, store, namespace):
        def overwrite(key: str, value: bytes | None) -> None:
            backend = store.backend(namespace=namespace)
            view = backend.read([key], timeout=1)
            backend.swap([Write(key, view.seen[key].stamp, value)], view.memory, timeout=1)

        return overwrite

    @pytest.fixture
    def delete_by_hand(self, overwrite_by_hand):
        return lambda key: overwrite_by_hand(key, None)


class TestMemory(OnAStore):
    unsupported = NOT_IN_MEMORY


class TestForgetfulMemory(OnAStore):
    unsupported = NOT_IN_MEMORY
    keeps_memory = False


class TestMemoryBehindFaults(OnAStore):
    @pytest.fixture
    def opened(self) -> list[FaultyBackend]:
        return []

    @pytest.fixture
    def make_backend(self, store, opened):
        def make(namespace: str) -> Backend:
            opened.append(FaultyBackend(store.backend(namespace=namespace)))
            return opened[-1]

        return make

    @pytest.fixture
    def outage(self, opened):
        return lambda: self._all(opened, Fault.NEVER_SENT)

    @pytest.fixture
    def freeze(self, opened):
        return lambda: self._all(opened, Fault.HANG)

    @staticmethod
    @contextmanager
    def _all(opened: list[FaultyBackend], fault: Fault) -> Iterator[None]:
        injections = [faulty.inject(fault, op="any", times=None) for faulty in opened]
        yield
        for injection, faulty in zip(injections, opened, strict=True):
            injection.cancel()
            faulty.deliver_late()
