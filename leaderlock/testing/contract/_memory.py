"""Memory and floor: what a store remembers, and a number that never goes back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import pairwise

import pytest

from leaderlock._clock import SteadyClock
from leaderlock.backend import ABSENT, Backend, Conflict, Seen, Write
from leaderlock.errors import MemoryGone
from leaderlock.testing.contract._hooks import (
    TIMEOUT,
    Hooks,
    Opener,
    attempt,
    eventually,
    look,
    memory_of,
    put,
    together,
)

DAY: int = 86_400 * 1_000_000


def floor_of(backend: Backend) -> int:
    return backend.read(["settled"], timeout=TIMEOUT).floor


class Memory(Hooks):
    def test_the_floor_rises_with_every_applied_swap(self, backend: Backend) -> None:
        floors, stamp = [floor_of(backend)], ABSENT

        for number in range(20):
            stamp = put(backend, "name/a", b"%d" % number, stamp)
            floors.append(floor_of(backend))

        assert all(before < after for before, after in pairwise(floors))

    def test_the_floor_rises_with_a_deletion_and_with_a_batch(self, backend: Backend) -> None:
        before = floor_of(backend)
        count = min(10, backend.traits.max_batch)
        attempt(backend, *(Write(f"name/{number}", ABSENT, b"x") for number in range(count)))
        between = floor_of(backend)

        put(backend, "name/0", None, look(backend, "name/0").stamp)

        assert between > before
        assert floor_of(backend) > between

    def test_no_client_sees_the_floor_go_back(self, open_backend: Opener) -> None:
        writer, reader = open_backend(), open_backend()
        floors, stamp = [floor_of(reader)], ABSENT

        for _ in range(10):
            stamp = put(writer, "name/a", b"x", stamp)
            floors.append(floor_of(reader))

        assert floors == sorted(floors)

    def test_the_floor_counts_from_microseconds_since_1970_and_fits_a_double(self, backend: Backend) -> None:
        now = int(SteadyClock().now().wall * 1_000_000)

        floor = floor_of(backend)

        assert isinstance(floor, int)
        assert now - DAY < floor < 2**53

    def test_all_clients_agree_on_the_memory(self, open_backend: Opener) -> None:
        one, other = open_backend(), open_backend()

        memories = {memory_of(one), memory_of(other), memory_of(one)}

        assert len(memories) == 1
        assert all(isinstance(memory, str) and memory for memory in memories)

    def test_clients_that_begin_at_once_agree_on_the_memory(self, open_backend: Opener) -> None:
        backends = [open_backend() for _ in range(8)]

        memories = together(8, lambda number: memory_of(backends[number]))

        assert len(set(memories)) == 1
        assert memory_of(backends[0]) == memories[0]

    def test_writes_do_not_change_the_memory(self, backend: Backend) -> None:
        before = memory_of(backend)

        put(backend, "name/a", b"two", put(backend, "name/a", b"one"))

        assert memory_of(backend) == before

    def test_opening_again_does_not_change_the_memory(self, open_backend: Opener) -> None:
        first = open_backend()
        before, stamp = memory_of(first), put(first, "name/a", b"one")
        first.close()

        again = open_backend()

        assert memory_of(again) == before
        assert look(again, "name/a") == Seen(b"one", stamp)

    def test_a_write_on_another_memory_is_not_applied(self, backend: Backend) -> None:
        stamp = put(backend, "name/a", b"one")
        writes = [Write("name/a", stamp, b"two"), Write("name/b", ABSENT, b"two")]

        with pytest.raises(MemoryGone):
            backend.swap(writes, memory_of(backend) + "x", timeout=TIMEOUT)

        assert look(backend, "name/a") == Seen(b"one", stamp)
        assert look(backend, "name/b") == Seen(None, ABSENT)

    def test_a_conflict_on_another_memory_is_still_memory_gone(self, backend: Backend) -> None:
        put(backend, "name/a", b"one")

        with pytest.raises(MemoryGone):
            backend.swap([Write("name/a", ABSENT, b"two")], "another", timeout=TIMEOUT)

    def test_a_wiped_store_has_another_memory_and_a_higher_floor(
        self, open_backend: Opener, wipe_store: Callable[[], None]
    ) -> None:
        backend = open_backend()
        stamp = put(backend, "name/a", b"one")
        before = backend.read(["name/a"], timeout=TIMEOUT)

        wipe_store()
        after = eventually(lambda: backend.read(["name/a"], timeout=TIMEOUT))

        assert after.memory != before.memory
        assert after.floor > before.floor
        assert after.seen["name/a"] == Seen(None, ABSENT)
        assert memory_of(open_backend()) == after.memory
        with pytest.raises(MemoryGone):
            backend.swap([Write("name/a", stamp, b"late")], before.memory, timeout=TIMEOUT)

    def test_a_write_that_meets_a_wiped_store_is_not_applied(
        self, backend: Backend, wipe_store: Callable[[], None]
    ) -> None:
        before = memory_of(backend)

        wipe_store()
        with pytest.raises(MemoryGone):
            eventually(lambda: backend.swap([Write("name/a", ABSENT, b"late")], before, timeout=TIMEOUT))

        assert look(backend, "name/a") == Seen(None, ABSENT)

    def test_an_old_client_s_write_does_not_fit_a_store_that_was_wiped_and_is_in_use_again(
        self, open_backend: Opener, wipe_store: Callable[[], None]
    ) -> None:
        """Also where the store gives out the same stamps again, and to who has not looked at it since."""
        old, other = open_backend(), open_backend()
        stamp, before = put(old, "name/a", b"one"), memory_of(old)

        wipe_store()
        again = eventually(lambda: put(other, "name/a", b"other"))

        for expected in (stamp, again, ABSENT):
            late = functools.partial(old.swap, [Write("name/a", expected, b"late")], before, timeout=TIMEOUT)
            with pytest.raises(MemoryGone):
                eventually(late)
        assert look(other, "name/a") == Seen(b"other", again)

    def test_a_store_keeps_its_memory_through_a_restart_exactly_if_its_traits_say_so(
        self, open_backend: Opener, restart_store: Callable[[], None]
    ) -> None:
        backend = open_backend()
        stamp = put(backend, "name/a", b"one")
        before = backend.read(["name/a"], timeout=TIMEOUT)

        restart_store()
        after = eventually(lambda: backend.read(["name/a"], timeout=TIMEOUT))

        assert after.floor >= before.floor
        if backend.traits.keeps_memory:
            assert (after.memory, after.seen["name/a"]) == (before.memory, Seen(b"one", stamp))
        else:
            assert after.memory != before.memory, "this store keeps its memory: its traits must not deny it"
            assert after.floor > before.floor

    def test_a_register_deleted_by_hand_is_absent_to_its_writer(
        self, backend: Backend, delete_by_hand: Callable[[str], None]
    ) -> None:
        stamp = put(backend, "name/a", b"one")

        delete_by_hand("name/a")
        answers = attempt(backend, Write("name/a", stamp, b"two"))

        assert answers == [Conflict(Seen(None, ABSENT))]
        assert look(backend, "name/a") == Seen(None, ABSENT)

    def test_a_register_overwritten_by_hand_conflicts_with_its_writer(
        self, backend: Backend, overwrite_by_hand: Callable[[str, bytes], None]
    ) -> None:
        stamp = put(backend, "name/a", b"one")

        overwrite_by_hand("name/a", b"by hand")
        (answer,) = attempt(backend, Write("name/a", stamp, b"two"))

        assert isinstance(answer, Conflict)
        assert answer.seen.value == b"by hand"
        assert look(backend, "name/a") == answer.seen
