"""Keys: whatever characters, found by prefix, apart by namespace."""

from __future__ import annotations

from typing import Final

import pytest

from leaderlock.backend import ABSENT, DELETE, Backend, Swapped, Write
from leaderlock.testing.contract._hooks import TIMEOUT, Hooks, Opener, attempt, look, put

NASTY: Final = (
    *("a", "A", "a b", " a", "a ", "..", ".", "/", "a/b", "a/", "/a", "//", "../../settled", "settled", "session/a"),
    *("%", "%2F", "%00", "%s", "*", "?", "a*", "[a]", "{a}", "{}", "{a}:b", "a:b", "a\\b", "\\", "'", '"', "''"),
    *("`", "$(x)", ";", "--", "_", "a_b", "aXb", "#", "@", "~", "+", "&", "|", "<a>", "=", "0", "00", "-1", "None"),
    *("é", "e\u0301", "ß", "ss", "Straße", "日本語", "مرحبا", "👑", "👩‍💻".replace("\u200d", ""), "\ufffd", "\uffff"),
    *("x" * 200, "x" * 199, "👑" * 200, "/" * 200, "." * 200, "%" * 200),
)
NASTY_KEYS: Final = [f"name/{name}" for name in NASTY if name.isprintable()]


def scanned(backend: Backend, prefix: str) -> list[tuple[str, bytes | None]]:
    return sorted((key, seen.value) for key, seen in backend.scan(prefix, timeout=TIMEOUT))


class Keys(Hooks):
    def test_keys_of_any_printable_characters_are_kept_apart(self, backend: Backend) -> None:
        batches = [
            NASTY_KEYS[i : i + backend.traits.max_batch] for i in range(0, len(NASTY_KEYS), backend.traits.max_batch)
        ]

        answers = [
            answer
            for batch in batches
            for answer in attempt(backend, *(Write(key, ABSENT, key.encode()) for key in batch))
        ]

        assert all(isinstance(answer, Swapped) for answer in answers)
        for batch in batches:
            seen = backend.read(batch, timeout=TIMEOUT).seen
            assert {key: seen[key].value for key in batch} == {key: key.encode() for key in batch}
        assert scanned(backend, "name/") == sorted((key, key.encode()) for key in NASTY_KEYS)

    @pytest.mark.parametrize("name", ["..", "a/b", "*", "%2F", "👑" * 200])
    def test_a_key_of_any_characters_can_be_rewritten_and_deleted(self, backend: Backend, name: str) -> None:
        key = f"name/{name}"
        bystander = put(backend, "name/a", b"bystander")

        put(backend, key, DELETE, put(backend, key, b"two", put(backend, key, b"one")))

        assert look(backend, key).value is None
        assert look(backend, "name/a").stamp == bystander

    def test_a_scan_of_nothing_finds_nothing(self, backend: Backend) -> None:
        look(backend, "settled")

        assert scanned(backend, "") == []

    def test_a_scan_finds_what_begins_with_the_prefix_and_no_more(self, backend: Backend) -> None:
        for key in ("settled", "session/a", "session/b", "name/a", "name/ab", "name/b", "name/session/a"):
            put(backend, key, key.encode())

        assert [key for key, _ in scanned(backend, "session/")] == ["session/a", "session/b"]
        assert [key for key, _ in scanned(backend, "name/a")] == ["name/a", "name/ab"]
        assert [key for key, _ in scanned(backend, "name/")] == ["name/a", "name/ab", "name/b", "name/session/a"]
        assert [key for key, _ in scanned(backend, "settled")] == ["settled"]
        assert len(scanned(backend, "")) == 7

    @pytest.mark.parametrize("prefix", ["name/*", "name/?", "name/[ab]", "name/%", "name/_", "name/a*", "*", "%"])
    def test_a_scan_gives_no_character_a_meaning(self, backend: Backend, prefix: str) -> None:
        put(backend, "name/a", b"bystander")
        if prefix.startswith("name/"):
            put(backend, prefix, b"literal")

        found = scanned(backend, prefix)

        assert found == ([(prefix, b"literal")] if prefix.startswith("name/") else [])

    def test_what_a_scan_shows_can_be_swapped(self, backend: Backend) -> None:
        put(backend, "name/a", b"one")

        ((key, seen),) = backend.scan("name/", timeout=TIMEOUT)
        put(backend, key, b"two", seen.stamp)

        assert scanned(backend, "name/") == [("name/a", b"two")]

    def test_a_scan_shows_no_deleted_register(self, backend: Backend) -> None:
        put(backend, "name/a", DELETE, put(backend, "name/a", b"one"))

        assert scanned(backend, "") == []

    def test_a_scan_of_a_thousand_registers_misses_none(self, backend: Backend) -> None:
        keys = [f"name/{number:04}" for number in range(1_000)]
        size = backend.traits.max_batch
        for batch in (keys[i : i + size] for i in range(0, len(keys), size)):
            attempt(backend, *(Write(key, ABSENT, b"x") for key in batch))

        assert [key for key, _ in scanned(backend, "name/")] == keys

    @pytest.mark.parametrize("suffix", ["-2", "/name", "*", "é", " "])
    def test_namespaces_see_nothing_of_each_other(self, open_backend: Opener, namespace: str, suffix: str) -> None:
        one, other = open_backend(), open_backend(namespace=namespace + suffix)

        stamp = put(one, "name/a", b"one")
        put(other, "name/a", b"other")

        assert look(one, "name/a").value == b"one"
        assert look(one, "name/a").stamp == stamp
        assert scanned(one, "") == [("name/a", b"one")]
        assert scanned(other, "") == [("name/a", b"other")]
