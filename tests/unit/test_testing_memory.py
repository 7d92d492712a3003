"""MemoryStore: what it forgets on demand, and how it is named."""

import subprocess
import sys

import pytest

from leaderlock.backend import ABSENT, Seen, Swapped, Write
from leaderlock.errors import BackendRefused, MemoryGone, UsageError
from leaderlock.testing import ManualClock, MemoryBackend, MemoryStore, open_backend


def write(backend, key, value, expected=ABSENT):
    (answer,) = backend.swap([Write(key, expected, value)], memory(backend), timeout=1)
    assert isinstance(answer, Swapped)
    return answer.stamp


def memory(backend):
    return backend.read([], timeout=1).memory


def test_a_run_can_be_repeated_to_the_last_byte():
    def views():
        names = iter("abc")
        store = MemoryStore(clock=ManualClock(wall=1000.0), new_memory=lambda: next(names))
        backend = store.backend()
        write(backend, "name/a", b"one")
        before = backend.read(["name/a"], timeout=1)
        store.forget(wipe=True)
        return before, backend.read(["name/a"], timeout=1)

    first, second = views(), views()

    assert first == second
    assert first[0].memory == "a"
    assert first[0].floor == 1_000_000_001


def test_a_store_that_forgets_nothing_may_still_have_another_memory():
    store = MemoryStore()
    backend = store.backend()
    stamp = write(backend, "name/a", b"one")
    before = backend.read(["name/a"], timeout=1)

    store.forget(wipe=False)
    after = backend.read(["name/a"], timeout=1)

    assert after.seen == {"name/a": Seen(b"one", stamp)}
    assert after.memory != before.memory
    assert after.floor > before.floor


def test_a_store_that_was_rolled_back_gives_its_stamps_out_again_under_another_memory():
    store = MemoryStore()
    backend = store.backend()
    old = write(backend, "name/a", b"one")
    snapshot = store.snapshot()
    lost = write(backend, "name/a", b"two", old)
    before = backend.read(["name/a"], timeout=1)

    store.restore(snapshot)
    after = backend.read(["name/a"], timeout=1)

    assert after.seen["name/a"] == Seen(b"one", old)
    assert after.floor > before.floor
    assert write(backend, "name/a", b"three", old) == lost
    with pytest.raises(MemoryGone):
        backend.swap([Write("name/a", lost, b"late")], before.memory, timeout=1)


def test_the_floor_does_not_fall_with_the_wall_clock():
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    backend = store.backend()
    before = backend.read([], timeout=1).floor

    clock.step_wall(-86_400.0)
    store.forget(wipe=True)

    assert backend.read([], timeout=1).floor > before


def test_whoever_watches_is_woken_when_the_store_forgets():
    store, wakes = MemoryStore(), []
    store.backend().watch(["name/a"], lambda _: wakes.append(1))

    store.forget(wipe=True)

    assert wakes == [1]


def test_one_batch_is_one_wake_and_who_is_woken_may_ask_the_store():
    store, found = MemoryStore(), []
    backend, other = store.backend(), store.backend()
    backend.watch(["name/a", "name/b"], lambda _: found.append(other.read(["name/b"], timeout=1).seen["name/b"].value))

    backend.swap([Write("name/a", ABSENT, b"x"), Write("name/b", ABSENT, b"y")], memory(backend), timeout=1)

    assert found == [b"y"]


def test_a_url_without_a_name_is_a_store_of_its_own():
    one, other = open_backend("memory:"), open_backend("memory:")

    write(one, "name/a", b"one")

    assert other.read(["name/a"], timeout=1).seen["name/a"].value is None


@pytest.mark.parametrize(("url", "same"), [("memory:shared", "memory:shared"), ("memory:slashes", "memory://slashes")])
def test_a_url_with_a_name_is_one_store_in_this_process(url, same):
    one, other = open_backend(url), open_backend(same)

    stamp = write(one, "name/a", b"one")

    assert other.read(["name/a"], timeout=1).seen["name/a"] == Seen(b"one", stamp)
    assert open_backend(url, namespace="another").read(["name/a"], timeout=1).seen["name/a"].value is None


@pytest.mark.parametrize("url", ["memory", "redis:x", ""])
def test_another_url_is_refused(url):
    with pytest.raises(TypeError, match="no option 'mode'; it has durability and keeps_memory"):
        open_backend("memory:", mode="ro")
    with pytest.raises(ValueError, match="memory:NAME"):
        open_backend(url)


def test_a_client_may_take_its_store_for_another_than_it_is():
    store = MemoryStore(keeps_memory=True)

    one, other = store.backend(), store.backend(durability="disk", keeps_memory=False)

    assert (one.traits.durability, one.traits.keeps_memory) == ("memory", True)
    assert (other.traits.durability, other.traits.keeps_memory) == ("disk", False)


def test_a_key_that_stands_twice_in_one_swap_is_a_mistake_in_the_core():
    backend = MemoryBackend()

    with pytest.raises(ValueError, match="twice"):
        backend.swap([Write("a", ABSENT, b"1"), Write("a", ABSENT, b"2")], memory(backend), timeout=1)


def test_too_many_keys_or_too_great_a_value_are_refused_and_nothing_is_written():
    backend = MemoryBackend()
    traits = backend.traits

    with pytest.raises(ValueError, match="split them"):
        backend.read([str(number) for number in range(traits.max_batch + 1)], timeout=1)
    with pytest.raises(BackendRefused):
        backend.swap(
            [Write("a", ABSENT, b"x"), Write("b", ABSENT, b"x" * (traits.max_value + 1))], memory(backend), timeout=1
        )

    assert backend.read(["a"], timeout=1).seen["a"].value is None


def test_a_closed_client_does_not_close_the_store():
    store = MemoryStore()
    closed, other = store.backend(), store.backend()

    closed.close()

    assert write(other, "name/a", b"one")
    with pytest.raises(UsageError):
        closed.read([], timeout=1)


def test_the_testing_kit_needs_no_pytest_until_the_contract_is_asked_for():
    program = "import sys, leaderlock.testing as t; t.MemoryBackend(); print('pytest' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    assert said.strip() == "False"
