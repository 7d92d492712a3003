"""FaultyBackend: each fault does what it says, to the calls it was meant for, as often as it was told."""

import threading

import pytest

from leaderlock.backend import ABSENT, Conflict, Seen, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable, MemoryGone, OutcomeUnknown
from leaderlock.testing import Call, Fault, FaultyBackend, MemoryStore


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def faulty(store):
    return FaultyBackend(store.backend())


def swap(backend, *keys, timeout=5.0):
    memory = backend.inner.read([], timeout=1).memory
    return backend.swap([Write(key, ABSENT, b"x") for key in keys], memory, timeout=timeout)


def is_there(backend, key):
    return backend.inner.read([key], timeout=1).seen[key].value is not None


@pytest.mark.parametrize(
    ("fault", "error", "applied"),
    [
        (Fault.NEVER_SENT, BackendUnavailable, False),
        (Fault.REFUSE, BackendRefused, False),
        (Fault.LOST_BEFORE, OutcomeUnknown, False),
        (Fault.LOST_AFTER, OutcomeUnknown, True),
        (Fault.LATE, OutcomeUnknown, False),
        (Fault.BUG, RuntimeError, False),
    ],
)
def test_a_fault_hits_one_swap_and_the_next_is_well(faulty, fault, error, applied):
    injection = faulty.inject(fault)

    with pytest.raises(error) as raised:
        swap(faulty, "a")

    assert raised.type is error
    assert is_there(faulty, "a") is applied
    assert isinstance(swap(faulty, "b")[0], Swapped)
    assert injection.hits == 1


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.TWICE, Fault.HANG)])
def test_a_fault_in_a_read_or_a_scan_gives_no_answer(faulty, fault):
    faulty.inject(fault, op="any", times=2)

    with pytest.raises((BackendUnavailable, BackendRefused, RuntimeError)):
        faulty.read(["a"], timeout=1)
    with pytest.raises((BackendUnavailable, BackendRefused, RuntimeError)):
        faulty.scan("a", timeout=1)

    assert faulty.read(["a"], timeout=1).seen["a"] == Seen(None, ABSENT)


def test_late_requests_arrive_in_their_order_when_the_test_says_so(faulty):
    with faulty.inject(Fault.LATE, times=None):
        for keys in (("a",), ("a", "b")):
            with pytest.raises(OutcomeUnknown):
                swap(faulty, *keys)

    first, second = faulty.deliver_late()

    assert isinstance(first[0], Swapped)
    assert [type(answer) for answer in second] == [Conflict, Swapped]
    assert faulty.deliver_late() == []


def test_a_late_request_that_meets_another_memory_is_not_applied(faulty, store):
    with faulty.inject(Fault.LATE), pytest.raises(OutcomeUnknown):
        swap(faulty, "a")

    store.forget(wipe=True)
    (answer,) = faulty.deliver_late()

    assert isinstance(answer, MemoryGone)
    assert not is_there(faulty, "a")


def test_a_request_that_arrives_twice_gets_the_first_answer(faulty):
    faulty.inject(Fault.TWICE)

    (answer,) = swap(faulty, "a")

    assert faulty.read(["a"], timeout=1).seen["a"] == Seen(b"x", answer.stamp)


def test_a_request_cut_in_the_middle_is_applied_by_half(faulty):
    with faulty.inject(Fault.CUT), pytest.raises(OutcomeUnknown):
        swap(faulty, "a", "b", "c", "d")

    assert [is_there(faulty, key) for key in "abcd"] == [True, True, False, False]


def test_a_hanging_call_ends_at_its_time_out_and_can_arrive_later(faulty):
    faulty.inject(Fault.HANG)

    with pytest.raises(OutcomeUnknown):
        swap(faulty, "a", timeout=0.01)
    was_there = is_there(faulty, "a")
    faulty.deliver_late()

    assert not was_there
    assert is_there(faulty, "a")


def test_a_hanging_call_ends_when_it_is_released(faulty):
    hangs, error = threading.Event(), []
    faulty.before(hangs.set, op="read")
    faulty.inject(Fault.HANG, op="read")

    def read() -> None:
        try:
            faulty.read(["a"], timeout=60.0)
        except OutcomeUnknown as raised:
            error.append(raised)

    thread = threading.Thread(target=read)
    thread.start()
    assert hangs.wait(5.0)

    while thread.is_alive():
        faulty.release_hung()
        thread.join(0.01)

    assert len(error) == 1


def test_a_delay_shorter_than_the_time_out_changes_nothing(faulty):
    with faulty.delay(0.001) as injection:
        (answer,) = swap(faulty, "a")

    assert isinstance(answer, Swapped)
    assert injection.hits == 1


def test_a_delay_longer_than_the_time_out_makes_the_request_late(faulty):
    with faulty.delay(60.0), pytest.raises(OutcomeUnknown):
        swap(faulty, "a", timeout=0.01)

    assert [type(answer) for answer in faulty.deliver_late()[0]] == [Swapped]


def test_an_action_runs_just_before_the_request(faulty, store):
    faulty.before(lambda: store.forget(wipe=True))

    with pytest.raises(MemoryGone):
        swap(faulty, "a")

    assert isinstance(swap(faulty, "a")[0], Swapped)


def test_a_fault_hits_only_the_calls_it_is_meant_for(faulty):
    injection = faulty.inject(Fault.NEVER_SENT, times=None, when=lambda keys: any("session/" in key for key in keys))

    swap(faulty, "name/a")
    with pytest.raises(BackendUnavailable):
        swap(faulty, "name/b", "session/a")

    assert injection.hits == 1


def test_a_cancelled_fault_hits_nothing(faulty):
    with faulty.inject(Fault.NEVER_SENT, times=None):
        pass

    assert isinstance(swap(faulty, "a")[0], Swapped)


def test_of_two_faults_one_hits_a_call_and_the_other_waits(faulty):
    faulty.inject(Fault.REFUSE)
    faulty.inject(Fault.NEVER_SENT)

    with pytest.raises(BackendRefused):
        swap(faulty, "a")
    with pytest.raises(BackendUnavailable):
        swap(faulty, "a")

    assert isinstance(swap(faulty, "a")[0], Swapped)


def test_every_call_is_noted_also_one_that_fails(faulty):
    faulty.read(["a", "b"], timeout=1)
    with faulty.inject(Fault.NEVER_SENT), pytest.raises(BackendUnavailable):
        swap(faulty, "a")
    list(faulty.scan("name/", timeout=1))

    assert faulty.calls == [Call("read", ("a", "b")), Call("swap", ("a",)), Call("scan", ("name/",))]
    assert [faulty.count(op) for op in ("read", "swap", "scan")] == [1, 1, 1]


def test_a_deaf_client_is_not_woken(faulty):
    wakes = []
    faulty.watch(["a", "b"], lambda _: wakes.append(1))

    faulty.is_deaf = True
    swap(faulty, "a")
    faulty.is_deaf = False
    swap(faulty, "b")

    assert wakes == [1]


def test_threads_share_the_hits_of_a_fault(faulty):
    injection = faulty.inject(Fault.NEVER_SENT, op="read", times=40)
    failures = []

    def read() -> None:
        for _ in range(20):
            try:
                faulty.read(["a"], timeout=1)
            except BackendUnavailable:
                failures.append(1)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(failures) == injection.hits == 40
    assert faulty.count("read") == 160
