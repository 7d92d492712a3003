"""The life of a client: traits, time-outs, the end, and a fork."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import get_type_hints

import pytest

from leaderlock.backend import ABSENT, Backend, Seen, Swapped, Traits, Write
from leaderlock.errors import BackendError, OutcomeUnknown, UsageError
from leaderlock.testing.contract._hooks import HOOKS, PATIENCE, TIMEOUT, Hooks, Opener, eventually, look, memory_of, put

KEY = "name/a"
DESCRIPTORS = Path("/proc/self/fd")


def uses_of(backend: Backend, memory: str) -> list[Callable[[], object]]:
    """Every way to use a backend."""
    return [
        lambda: backend.read([KEY], timeout=TIMEOUT),
        lambda: backend.swap([Write(KEY, ABSENT, b"x")], memory, timeout=TIMEOUT),
        lambda: list(backend.scan("", timeout=TIMEOUT)),
        lambda: backend.watch([KEY], lambda _: None),
    ]


def refusals(uses: list[Callable[[], object]]) -> list[bool]:
    """For each use, whether it was refused with UsageError."""

    def is_refused(use: Callable[[], object]) -> bool:
        try:
            use()
        except UsageError:
            return True
        except Exception:  # whatever a broken driver raises is not the error that was promised
            return False
        return False

    return [is_refused(use) for use in uses]


class Lifecycle(Hooks):
    def test_every_trait_is_declared_and_plausible(self, backend: Backend) -> None:
        traits = backend.traits

        assert isinstance(traits, Traits)
        assert all(isinstance(getattr(traits, name), kind) for name, kind in get_type_hints(Traits).items())
        assert traits.store.strip()
        assert traits.durability.strip()
        assert traits.max_batch >= 2, "a session is opened and a name taken in one call"
        assert traits.max_value >= 128 << 10, "a note of 64 KiB fits a record"
        assert backend.traits == traits

    def test_what_is_declared_unsupported_is_a_hook_and_is_not_given_as_well(self) -> None:
        mro = type(self).__mro__
        given = {name for cls in mro[: mro.index(Hooks)] for name in vars(cls)}

        assert set(self.unsupported) <= set(HOOKS)
        assert not set(self.unsupported) & given
        assert all(why.strip() for why in self.unsupported.values())

    @pytest.mark.parametrize("timeout", [1e-6, 1e-3])
    def test_a_call_that_has_no_time_is_over_soon_and_says_what_is_true(self, backend: Backend, timeout: float) -> None:
        memory, stamp = memory_of(backend), put(backend, KEY, b"old")
        began, error = time.monotonic(), None

        try:
            (answer,) = backend.swap([Write(KEY, stamp, b"new")], memory, timeout=timeout)
            assert isinstance(answer, Swapped)
            possible: set[bytes | None] = {b"new"}
        except BackendError as raised:
            error = raised
            possible = {b"old", b"new"} if isinstance(error, OutcomeUnknown) else {b"old"}
        took = time.monotonic() - began

        assert took < 3.0
        assert look(backend, KEY).value in possible, error

    def test_a_client_can_be_closed_twice_and_unused(self, open_backend: Opener) -> None:
        used, unused = open_backend(), open_backend()
        look(used, KEY)

        for backend in (used, unused):
            backend.close()
            backend.close()

        assert look(open_backend(), KEY) == Seen(None, ABSENT)

    def test_a_closed_client_refuses_every_use(self, open_backend: Opener) -> None:
        backend = open_backend()
        memory = memory_of(backend)

        backend.close()

        assert refusals(uses_of(backend, memory)) == [True] * 4

    def test_closing_one_client_leaves_the_others(self, open_backend: Opener) -> None:
        closed, other = open_backend(), open_backend()
        look(closed, KEY)
        stamp = put(other, KEY, b"one")

        closed.close()

        assert look(other, KEY) == Seen(b"one", stamp)

    def test_a_closed_client_leaves_no_thread_and_no_descriptor_behind(self, open_backend: Opener) -> None:
        def live_and_end() -> None:
            backend = open_backend()
            rewritten = threading.Event()
            backend.watch([KEY], lambda _: rewritten.set())
            put(backend, KEY, b"x", look(backend, KEY).stamp)
            rewritten.wait(PATIENCE)
            backend.close()

        def held() -> int:
            return threading.active_count() + (len(list(DESCRIPTORS.iterdir())) if DESCRIPTORS.exists() else 0)

        live_and_end()  # what a library opens once per process is not the client's
        before = held()

        for _ in range(5):
            live_and_end()

        assert eventually(lambda: held() <= before)

    def test_a_forked_child_is_refused_and_the_parent_goes_on(self, backend: Backend) -> None:
        memory, stamp = memory_of(backend), put(backend, KEY, b"one")
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # "multi-threaded, use of fork()": that is the test
            child = os.fork()
        if child == 0:
            try:
                os.write(writing, bytes(refusals(uses_of(backend, memory))))
            finally:
                os._exit(0)
        os.close(writing)

        is_ready = bool(select.select([reading], [], [], PATIENCE)[0])
        answer = os.read(reading, 16) if is_ready else b"no answer"
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

        assert answer == bytes([True] * 4)
        assert put(backend, KEY, b"two", stamp) != stamp
        assert look(backend, KEY).value == b"two"
