"""The contract can fail: each breakage of a sound store is found by the test that is named for it."""

import time
from collections.abc import Collection, Sequence

import pytest

from leaderlock.backend import ABSENT, Answer, Conflict, Seen, Swapped, Traits, View, Write
from leaderlock.errors import BackendUnavailable, MemoryGone
from leaderlock.testing import BackendContract, MemoryBackend, MemoryStore

pytest_plugins = ["pytester"]

QUIETLY = ("-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")
CONTRACT = """
import pytest
from leaderlock.testing import BackendContract, MemoryStore

class TestBroken(BackendContract):
    unsupported = {hook: "not of interest here" for hook in ("delete_by_hand", "overwrite_by_hand", "outage", "freeze")}

    @pytest.fixture
    def store(self):
        return MemoryStore()

    @pytest.fixture
    def make_backend(self, store, broken):
        return lambda namespace: broken(store, namespace=namespace)

    @pytest.fixture
    def restart_store(self, store):
        return store.restart

    @pytest.fixture
    def wipe_store(self, store):
        return lambda: store.forget(wipe=True)
"""


class IgnoresTheStamp(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        seen = self.read([write.key for write in writes], timeout=timeout).seen
        forced = [Write(write.key, seen[write.key].stamp, write.value) for write in writes]
        return super().swap(forced, memory, timeout=timeout)


class ComparesTheStampBeforehand(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        seen = self.read([write.key for write in writes], timeout=timeout).seen
        if any(seen[write.key].stamp != write.expected for write in writes):
            return super().swap(writes, memory, timeout=timeout)
        time.sleep(0.001)  # another thread's turn
        return IgnoresTheStamp.swap(self, writes, memory, timeout=timeout)


class IgnoresTheMemory(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        return super().swap(writes, self.read([], timeout=timeout).memory, timeout=timeout)


class RemembersAMemoryOfItsOwn(MemoryBackend):
    def read(self, keys, *, timeout):
        view = super().read(keys, timeout=timeout)
        return View(view.seen, view.floor, f"{view.memory}-{id(self)}")

    def swap(self, writes, memory, *, timeout):
        return super().swap(writes, memory.removesuffix(f"-{id(self)}"), timeout=timeout)


class NoticesNoWipe(MemoryBackend):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.memory = super().read([], timeout=1).memory

    def read(self, keys, *, timeout):
        view = super().read(keys, timeout=timeout)
        return View(view.seen, view.floor, self.memory)

    def swap(self, writes, memory, *, timeout):
        if memory != self.memory:
            raise MemoryGone("another")
        return super().swap(writes, super().read([], timeout=timeout).memory, timeout=timeout)


class ComparesTheMemoryOnItsOwnSide(MemoryBackend):
    known = ""

    def read(self, keys, *, timeout):
        view = super().read(keys, timeout=timeout)
        self.known = view.memory
        return view

    def swap(self, writes, memory, *, timeout):
        present = super().read([], timeout=timeout).memory
        if memory != self.known or not self._space.registers:
            raise MemoryGone("another")
        return super().swap(writes, present, timeout=timeout)


class AppliesABatchBackwards(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        answers: list[Answer] = []
        for write in reversed(writes):
            answers += super().swap([write], memory, timeout=timeout)
            time.sleep(0.001)  # another thread's turn
        return answers[::-1]


class AnswersABatchBackwards(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        return super().swap(writes, memory, timeout=timeout)[::-1]


class StopsABatchAtAConflict(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        answers = [
            super(StopsABatchAtAConflict, self).swap([write], memory, timeout=timeout)[0] for write in writes[:1]
        ]
        for write in writes[1:]:
            if isinstance(answers[-1], Conflict):
                answers.append(Conflict(self.read([write.key], timeout=timeout).seen[write.key]))
            else:
                answers += super().swap([write], memory, timeout=timeout)
        return answers


class ShowsNothingInAConflict(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        answers = super().swap(writes, memory, timeout=timeout)
        return [answer if isinstance(answer, Swapped) else Conflict(Seen(None, ABSENT)) for answer in answers]


class AnswersAnotherStamp(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        return [
            Swapped(f"{answer.stamp}") if isinstance(answer, Swapped) else answer
            for answer in super().swap(writes, memory, timeout=timeout)
        ]


class KeepsTheStampOfAnEqualValue(MemoryBackend):
    def swap(self, writes: Sequence[Write], memory, *, timeout):
        seen = self.read([write.key for write in writes], timeout=timeout).seen
        if len(writes) == 1 and seen[writes[0].key] == Seen(writes[0].value, writes[0].expected):
            return [Swapped(writes[0].expected)]
        return super().swap(writes, memory, timeout=timeout)


class LetsTheFloorFall(MemoryBackend):
    def read(self, keys: Collection[str], *, timeout):
        view = super().read(keys, timeout=timeout)
        return View(view.seen, 2 * self.store.core.birth - view.floor, view.memory)


class CountsTheFloorFromZero(MemoryBackend):
    def read(self, keys, *, timeout):
        view = super().read(keys, timeout=timeout)
        return View(view.seen, view.floor - self.store.core.birth + 1, view.memory)


class NeverWakes(MemoryBackend):
    def watch(self, keys, wake):
        return super().watch(keys, lambda _: None)


class WakesForItsOwnWritesAlone(MemoryBackend):
    is_writing = False

    def swap(self, writes, memory, *, timeout):
        self.is_writing = True
        try:
            return super().swap(writes, memory, timeout=timeout)
        finally:
            self.is_writing = False

    def watch(self, keys, wake):
        return super().watch(keys, lambda shown: wake(shown) if self.is_writing else None)


class NeverStopsWaking(MemoryBackend):
    def watch(self, keys, wake):
        super().watch(keys, wake)
        return lambda: None


class NeverCloses(MemoryBackend):
    def close(self):
        pass


class GoesOnInAForkedChild(MemoryBackend):
    def _check_usable(self):
        if self._is_closed:
            super()._check_usable()


class ScansForAPattern(MemoryBackend):
    def scan(self, prefix, *, timeout):
        return super().scan(prefix.rstrip("*%"), timeout=timeout)


class SharesNamespaces(MemoryBackend):
    def __init__(self, store: MemoryStore, *, namespace: str):
        super().__init__(store, namespace="shared")


class FoldsCase(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        folded = {write.key.casefold(): Write(write.key.casefold(), write.expected, write.value) for write in writes}
        return super().swap(list(folded.values()), memory, timeout=timeout)


class CallsADoneWriteUnsent(MemoryBackend):
    def swap(self, writes, memory, *, timeout):
        answers = super().swap(writes, memory, timeout=timeout)
        if timeout < 0.1:
            raise BackendUnavailable("never sent")
        return answers


class KeepsLessThanItSays(MemoryBackend):
    @property
    def traits(self):
        return Traits(store="m", durability="m", keeps_memory=False, pushes=True, max_batch=500, max_value=1 << 20)


class ForgetsWhatItSaysItKeeps(MemoryBackend):
    def __init__(self, store=None, *, namespace="default"):
        if store is not None:
            store.keeps_memory = False
        super().__init__(store, namespace=namespace, keeps_memory=True)


class DeniesThatItPushes(MemoryBackend):
    @property
    def traits(self):
        return super().traits._replace(pushes=False)


class WritesHalfOfALongBatch(MemoryBackend):
    @property
    def traits(self):
        return super().traits._replace(max_batch=500)

    def swap(self, writes, memory, *, timeout):
        answers = super().swap(writes[:500], memory, timeout=timeout)
        if len(writes) > 500:
            raise ValueError("too many writes")
        return answers


FOUND_BY = {
    IgnoresTheStamp: "a_write_over_an_old_stamp_changes_nothing_and_shows_what_is_there",
    ComparesTheStampBeforehand: "of_many_writers_over_one_stamp_exactly_one_wins",
    IgnoresTheMemory: "a_write_on_another_memory_is_not_applied",
    RemembersAMemoryOfItsOwn: "all_clients_agree_on_the_memory",
    NoticesNoWipe: "a_wiped_store_has_another_memory_and_a_higher_floor",
    ComparesTheMemoryOnItsOwnSide: "an_old_client_s_write_does_not_fit_a_store_that_was_wiped_and_is_in_use_again",
    AppliesABatchBackwards: "the_writes_of_a_batch_become_visible_in_their_order",
    AnswersABatchBackwards: "each_write_of_a_batch_is_answered_on_its_own_and_in_order",
    StopsABatchAtAConflict: "each_write_of_a_batch_is_answered_on_its_own_and_in_order",
    ShowsNothingInAConflict: "a_write_that_expects_nothing_conflicts_with_what_is_there",
    AnswersAnotherStamp: "a_write_that_expects_nothing_creates_the_register",
    KeepsTheStampOfAnEqualValue: "writing_the_same_value_changes_the_stamp",
    LetsTheFloorFall: "no_client_sees_the_floor_go_back",
    CountsTheFloorFromZero: "the_floor_counts_from_microseconds_since_1970_and_fits_a_double",
    NeverWakes: "a_watch_wakes_for_a_write_of_the_same_client",
    WakesForItsOwnWritesAlone: "a_watch_wakes_for_a_write_of_another_client_again_and_again",
    NeverStopsWaking: "a_watch_called_off_wakes_no_more",
    NeverCloses: "a_closed_client_refuses_every_use",
    GoesOnInAForkedChild: "a_forked_child_is_refused_and_the_parent_goes_on",
    ScansForAPattern: "a_scan_gives_no_character_a_meaning",
    SharesNamespaces: "namespaces_see_nothing_of_each_other",
    FoldsCase: "keys_of_any_printable_characters_are_kept_apart",
    CallsADoneWriteUnsent: "a_call_that_has_no_time_is_over_soon_and_says_what_is_true",
    ForgetsWhatItSaysItKeeps: "a_store_keeps_its_memory_through_a_restart_exactly_if_its_traits_say_so",
    DeniesThatItPushes: "a_store_pushes_exactly_if_its_traits_say_so",
    WritesHalfOfALongBatch: "a_batch_beyond_that_is_refused_or_written_but_never_half",
    KeepsLessThanItSays: "a_store_keeps_its_memory_through_a_restart_exactly_if_its_traits_say_so",
}


@pytest.fixture
def outcomes_of(pytester, monkeypatch):
    """Runs the contract, or some of it, on a backend's class; how many tests passed, were skipped, failed."""
    monkeypatch.setattr(f"{BackendContract.__module__}._watching.PATIENCE", 0.5)

    def run(backend, *options):
        class Given:
            @pytest.fixture
            def broken(self):
                return backend

        pytester.makepyfile(test_broken=CONTRACT)
        return pytester.inline_run(*QUIETLY, *options, plugins=[Given()]).countoutcomes()

    return run


@pytest.mark.parametrize(("broken", "test"), FOUND_BY.items(), ids=[broken.__name__ for broken in FOUND_BY])
def test_the_contract_finds(broken, test, outcomes_of):
    _, skipped, failed = outcomes_of(broken, "-k", test)

    assert failed >= 1
    assert skipped == 0


def test_the_contract_finds_nothing_in_a_sound_store(outcomes_of):
    passed, _, failed = outcomes_of(MemoryBackend)

    assert passed > 90
    assert failed == 0


def test_a_hook_that_is_neither_given_nor_declared_fails_its_tests(outcomes_of, monkeypatch):
    monkeypatch.setitem(globals(), "CONTRACT", CONTRACT.replace('"delete_by_hand", ', ""))

    passed, skipped, failed = outcomes_of(MemoryBackend, "-k", "deleted_by_hand")

    assert failed == 1
    assert (passed, skipped) == (0, 0)
