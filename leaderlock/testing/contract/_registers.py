"""Registers: conditional writes, one at a time and in batches."""

from __future__ import annotations

import os

import pytest

from leaderlock.backend import ABSENT, DELETE, Backend, Conflict, Seen, Swapped, Write
from leaderlock.errors import BackendRefused
from leaderlock.testing.contract._hooks import TIMEOUT, Hooks, Opener, attempt, look, memory_of, put

KEY = "name/a"


class Registers(Hooks):
    def test_an_absent_register_reads_as_nothing_under_the_absent_stamp(self, backend: Backend) -> None:
        seen = look(backend, KEY)

        assert seen == Seen(None, ABSENT)

    def test_a_write_that_expects_nothing_creates_the_register(self, backend: Backend) -> None:
        stamp = put(backend, KEY, b"one")

        assert stamp != ABSENT
        assert look(backend, KEY) == Seen(b"one", stamp)

    def test_what_one_client_wrote_another_reads(self, open_backend: Opener) -> None:
        stamp = put(open_backend(), KEY, b"one")

        assert look(open_backend(), KEY) == Seen(b"one", stamp)

    def test_a_write_that_expects_nothing_conflicts_with_what_is_there(self, backend: Backend) -> None:
        stamp = put(backend, KEY, b"one")

        answers = attempt(backend, Write(KEY, ABSENT, b"two"))

        assert answers == [Conflict(Seen(b"one", stamp))]
        assert look(backend, KEY) == Seen(b"one", stamp)

    def test_a_write_over_an_old_stamp_changes_nothing_and_shows_what_is_there(self, backend: Backend) -> None:
        old = put(backend, KEY, b"one")
        new = put(backend, KEY, b"two", old)

        answers = attempt(backend, Write(KEY, old, b"three"))

        assert answers == [Conflict(Seen(b"two", new))]
        assert look(backend, KEY) == Seen(b"two", new)

    def test_a_write_over_a_stamp_conflicts_where_there_is_nothing(self, backend: Backend) -> None:
        old = put(backend, KEY, b"one")
        put(backend, KEY, DELETE, old)

        answers = attempt(backend, Write(KEY, old, b"two"))

        assert answers == [Conflict(Seen(None, ABSENT))]
        assert look(backend, KEY) == Seen(None, ABSENT)

    def test_writing_the_same_value_changes_the_stamp(self, backend: Backend) -> None:
        old = put(backend, KEY, b"same")

        new = put(backend, KEY, b"same", old)

        assert new != old
        assert isinstance(attempt(backend, Write(KEY, old, b"late"))[0], Conflict)

    def test_no_stamp_is_used_twice_while_the_register_exists(self, backend: Backend) -> None:
        stamps = [put(backend, KEY, b"0")]

        for number in range(1, 40):
            stamps.append(put(backend, KEY, b"%d" % (number % 2), stamps[-1]))

        assert len(set(stamps)) == len(stamps)
        assert ABSENT not in stamps

    def test_a_deletion_leaves_nothing_and_the_register_can_be_made_again(self, backend: Backend) -> None:
        deleted = put(backend, KEY, DELETE, put(backend, KEY, b"one"))

        gone = look(backend, KEY)
        stamp = put(backend, KEY, b"two")

        assert deleted == ABSENT
        assert gone == Seen(None, ABSENT)
        assert look(backend, KEY) == Seen(b"two", stamp)

    def test_a_deletion_over_an_old_stamp_changes_nothing(self, backend: Backend) -> None:
        old = put(backend, KEY, b"one")
        new = put(backend, KEY, b"two", old)

        answers = attempt(backend, Write(KEY, old, DELETE))

        assert answers == [Conflict(Seen(b"two", new))]
        assert look(backend, KEY) == Seen(b"two", new)

    def test_a_deletion_that_expects_nothing_takes_nothing_away(self, backend: Backend) -> None:
        stamp = put(backend, KEY, b"one")

        answers = attempt(backend, Write(KEY, ABSENT, DELETE))

        assert answers == [Conflict(Seen(b"one", stamp))]
        assert look(backend, KEY) == Seen(b"one", stamp)

    def test_each_write_of_a_batch_is_answered_on_its_own_and_in_order(self, backend: Backend) -> None:
        stamps = {key: put(backend, key, b"old") for key in ("name/b", "name/c", "name/d")}

        answers = attempt(
            backend,
            Write("name/a", ABSENT, b"new a"),
            Write("name/b", ABSENT, b"new b"),
            Write("name/c", stamps["name/c"], b"new c"),
            Write("name/d", stamps["name/d"], DELETE),
            Write("name/e", stamps["name/b"], b"new e"),
        )

        seen = backend.read([f"name/{letter}" for letter in "abcde"], timeout=TIMEOUT).seen
        assert answers == [
            Swapped(seen["name/a"].stamp),
            Conflict(Seen(b"old", stamps["name/b"])),
            Swapped(seen["name/c"].stamp),
            Swapped(ABSENT),
            Conflict(Seen(None, ABSENT)),
        ]
        assert [seen[f"name/{letter}"].value for letter in "abcde"] == [b"new a", b"old", b"new c", None, None]

    def test_an_empty_batch_is_answered_by_nothing(self, backend: Backend) -> None:
        assert attempt(backend) == []

    def test_an_empty_read_still_tells_floor_and_memory(self, backend: Backend) -> None:
        view = backend.read([], timeout=TIMEOUT)

        assert dict(view.seen) == {}
        assert view.floor > 0
        assert view.memory == memory_of(backend)

    def test_a_read_answers_every_key_it_was_asked_for_and_no_other(self, backend: Backend) -> None:
        put(backend, "name/a", b"a")
        put(backend, "name/b", b"b")

        view = backend.read({"name/b", "name/z", "settled"}, timeout=TIMEOUT)

        assert {key: seen.value for key, seen in view.seen.items()} == {"name/b": b"b", "name/z": None, "settled": None}

    @pytest.mark.parametrize("value", [b"", bytes(range(256)), b"\x00", b"\r\n$-1\r\n", "é".encode("latin-1")])
    def test_a_value_comes_back_byte_for_byte(self, backend: Backend, value: bytes) -> None:
        stamp = put(backend, KEY, value)

        seen = look(backend, KEY)
        answers = attempt(backend, Write(KEY, ABSENT, b"other"))

        assert seen == Seen(value, stamp)
        assert answers == [Conflict(seen)]

    def test_a_value_may_be_as_great_as_the_traits_say(self, backend: Backend) -> None:
        value = os.urandom(min(backend.traits.max_value, 16 << 20))

        stamp = put(backend, KEY, value)

        assert look(backend, KEY) == Seen(value, stamp)

    def test_a_value_beyond_that_is_refused_or_written_but_never_half(self, backend: Backend) -> None:
        value = os.urandom(min(backend.traits.max_value, 16 << 20) + 1)
        expected: bytes | None = value

        try:
            put(backend, KEY, value)
        except BackendRefused:
            expected = None

        assert look(backend, KEY).value == expected

    def test_a_batch_may_be_as_long_as_the_traits_say(self, backend: Backend) -> None:
        keys = [f"name/{number}" for number in range(min(backend.traits.max_batch, 2_000))]

        answers = attempt(backend, *(Write(key, ABSENT, key.encode()) for key in keys))

        seen = backend.read(keys, timeout=TIMEOUT).seen
        assert [seen[key].value for key in keys] == [key.encode() for key in keys]
        assert answers == [Swapped(seen[key].stamp) for key in keys]

    def test_a_batch_beyond_that_is_refused_or_written_but_never_half(self, backend: Backend) -> None:
        keys = [f"name/{number}" for number in range(backend.traits.max_batch + 1)]
        memory = memory_of(backend)

        try:
            backend.swap([Write(key, ABSENT, b"x") for key in keys], memory, timeout=TIMEOUT)
        except (ValueError, BackendRefused):
            expected = 0
        else:
            expected = len(keys)

        assert len(list(backend.scan("name/", timeout=TIMEOUT))) == expected
