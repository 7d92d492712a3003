"""What a network may do to a driver: lose, cut, delay, refuse. Answers go missing, and are never wrong."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import leaderlock
from leaderlock.backend import ABSENT, Backend, Conflict, Seen, Swapped, Write
from leaderlock.errors import BackendUnavailable, LeaderLockError, OutcomeUnknown
from leaderlock.testing import TcpProxy, Towards

TIMEOUT = 10.0
SHORT = 0.5
PATIENCE = 20.0
TTL = 2.0
NAMES = (f"sabotage-{number}" for number in itertools.count())

__all__ = ["Sabotage"]


def eventually(call: Callable[[], object]) -> object:
    """The first true answer of ``call``, asked again while it is false or the store is away."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if answer := call():
                return answer
        except BackendUnavailable:
            if time.monotonic() > until:
                raise
        assert time.monotonic() < until
        threading.Event().wait(0.002)


class Sabotage:
    """What each store below must stand. A subclass starts the server, and opens a backend at a port of loopback."""

    @pytest.fixture
    def namespace(self) -> str:
        return next(NAMES)

    @pytest.fixture
    def proxy(self, port: int) -> Iterator[TcpProxy]:
        with TcpProxy("127.0.0.1", port) as proxy:
            yield proxy

    @pytest.fixture
    def opened(self, open_at: Callable[[int, str], Backend], namespace: str) -> Iterator[Callable[[int], Backend]]:
        backends: list[Backend] = []

        def open_one(port: int) -> Backend:
            backends.append(open_at(port, namespace))
            return backends[-1]

        yield open_one
        for backend in backends:
            backend.close()

    @pytest.fixture
    def witness(self, opened, port) -> Backend:
        """Looks at the store by a way that nobody sabotages."""
        return opened(port)

    @pytest.fixture
    def backend(self, opened, proxy) -> Backend:
        return opened(proxy.port)

    def test_a_reply_dropped_after_the_write_was_applied_is_unknown_and_then_recognised(self, backend, proxy, witness):
        """Whatever the server says first is what is dropped, and that may be about the connection: then the write never
        got through, and is tried with another key."""
        memory, recognised = backend.read([], timeout=TIMEOUT).memory, 0

        for number in range(60):
            key = f"name/{number}"
            # Read first: a client that has lost its connection says of a write that it was never sent.
            eventually(lambda key=key: backend.read([key], timeout=TIMEOUT).memory)
            proxy.drop_reply()
            with pytest.raises(BackendUnavailable) as told:
                backend.swap([Write(key, ABSENT, b"mine")], memory, timeout=TIMEOUT)
            (again,) = eventually(lambda key=key: backend.swap([Write(key, ABSENT, b"mine")], memory, timeout=TIMEOUT))
            there = witness.read([key], timeout=TIMEOUT).seen[key]

            assert there.value == b"mine"
            if isinstance(again, Conflict):
                assert isinstance(told.value, OutcomeUnknown), "it was called never sent, and was applied"
                assert again.seen == there
                recognised += 1
            if recognised == 10:
                break
        assert recognised == 10

    @pytest.mark.parametrize("towards", Towards)
    def test_a_connection_cut_at_any_byte_of_a_swap_gives_no_wrong_answer_then_or_after(
        self, backend, proxy, witness, towards
    ):
        memory = backend.read([], timeout=TIMEOUT).memory
        length = max(self.length_of_a_swap(backend, proxy, memory, towards, number) for number in range(3))
        told = set()

        for count in range(length + 2):
            key = f"name/{count:05}"
            eventually(lambda: backend.read([], timeout=TIMEOUT).memory)
            proxy.cut_after(count, towards)
            told.add(self.look_at_a_swap(backend, proxy, witness, memory, key))

        assert OutcomeUnknown in told, "nothing was cut"

    @staticmethod
    def length_of_a_swap(backend, proxy, memory, towards, number) -> int:
        before = proxy.carried(towards)
        backend.swap([Write(f"name/{number:05}s", ABSENT, b"mine")], memory, timeout=TIMEOUT)
        return proxy.carried(towards) - before

    @staticmethod
    def look_at_a_swap(backend, proxy, witness, memory, key) -> type:
        """One swap that may be cut, and the next two calls; what the first was told."""
        try:
            (answer,) = backend.swap([Write(key, ABSENT, b"mine")], memory, timeout=TIMEOUT)
            told = type(answer)
        except BackendUnavailable as error:
            answer, told = None, type(error)
        proxy.mend()
        (other,) = eventually(lambda: attempt(backend, Write(f"{key}-next", ABSENT, key.encode()), memory))
        seen = eventually(lambda: backend.read([key, f"{key}-next"], timeout=TIMEOUT)).seen
        there = witness.read([key, f"{key}-next"], timeout=TIMEOUT).seen

        assert there[key].value in (b"mine", None)
        assert seen[f"{key}-next"] == there[f"{key}-next"] == Seen(key.encode(), other.stamp)
        assert told in (Swapped, OutcomeUnknown, BackendUnavailable)
        if told is Swapped:
            assert seen[key] == there[key] == Seen(b"mine", answer.stamp)
        if told is BackendUnavailable:
            assert there[key].value is None, "said never to have been sent"
        return told

    def test_a_black_hole_ends_every_call_in_time_and_all_goes_on_after_it(self, backend, proxy, witness):
        view = backend.read([], timeout=TIMEOUT)

        with proxy.black_hole():
            for number in range(3):
                for call in (
                    lambda: backend.read(["name/a"], timeout=SHORT),
                    lambda number=number: backend.swap(
                        [Write(f"name/{number}", ABSENT, b"x")], view.memory, timeout=SHORT
                    ),
                ):
                    began = time.monotonic()
                    with pytest.raises(BackendUnavailable):
                        call()
                    assert time.monotonic() - began < SHORT + 2.0
            lost = witness.read([f"name/{number}" for number in range(3)], timeout=TIMEOUT).seen.values()
        after = eventually(lambda: backend.read([], timeout=TIMEOUT))

        assert all(seen.value is None for seen in lost)
        assert after.memory == view.memory

    def test_a_slow_network_is_no_fault(self, backend, proxy, witness):
        woken = threading.Event()

        with proxy.slow(0.02, piece=2000):
            memory = eventually(lambda: backend.read([], timeout=TIMEOUT).memory)
            stop = backend.watch(["name/a"], lambda _: woken.set())
            answers = backend.swap(
                [Write(f"name/{number}", ABSENT, b"x" * 100) for number in range(50)], memory, timeout=TIMEOUT
            )
            assert woken.wait(PATIENCE), "the watch stands"
            woken.clear()
            witness.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)

            assert all(isinstance(answer, Swapped) for answer in answers)
            assert woken.wait(PATIENCE)
            assert len(list(backend.scan("name/", timeout=TIMEOUT))) == 51
            stop()

    def test_a_refused_connection_was_never_sent_and_all_goes_on_when_none_is_refused(self, opened, proxy, witness):
        memory = witness.read([], timeout=TIMEOUT).memory
        backend = opened(proxy.port)

        with proxy.refusing(), pytest.raises(BackendUnavailable) as raised:
            backend.swap([Write("name/a", ABSENT, b"x")], memory, timeout=1.0)
        lost = witness.read(["name/a"], timeout=TIMEOUT).seen["name/a"].value
        (answer,) = eventually(lambda: attempt(backend, Write("name/a", ABSENT, b"x"), memory))

        assert not isinstance(raised.value, OutcomeUnknown)
        assert lost is None
        assert isinstance(answer, Swapped)

    def test_a_watch_outlives_every_cut(self, backend, proxy, witness):
        woken = threading.Event()
        memory = witness.read([], timeout=TIMEOUT).memory
        backend.watch(["name/a"], lambda _: woken.set())
        assert woken.wait(PATIENCE)
        stamp = ABSENT

        for _ in range(5):
            woken.clear()
            proxy.cut()
            assert woken.wait(PATIENCE), "it stands again"
            woken.clear()
            (answer,) = witness.swap([Write("name/a", stamp, b"x")], memory, timeout=TIMEOUT)
            stamp = answer.stamp
            assert woken.wait(PATIENCE)

    def test_a_leader_in_a_black_hole_has_lost_its_lease_before_another_takes_it(self, opened, proxy, port, namespace):
        with (
            leaderlock.connect(opened(proxy.port), ttl=TTL, longest=TTL, namespace=namespace) as cut_off,
            leaderlock.connect(opened(port), ttl=TTL, longest=TTL, namespace=namespace) as other,
        ):
            old = eventually(lambda: campaign(cut_off))
            with proxy.black_hole():
                new = eventually(lambda: campaign(other))
                overlapped = old.is_held and new.is_held
                is_held = new.is_held

            assert not overlapped
            assert is_held
            assert new.token > old.token

    def test_a_leader_whose_connections_are_cut_again_and_again_keeps_its_lease(self, opened, proxy, namespace):
        with leaderlock.connect(opened(proxy.port), ttl=2 * TTL, longest=2 * TTL, namespace=namespace) as client:
            lease = eventually(lambda: campaign(client))
            until = time.monotonic() + 4 * TTL
            for count in itertools.count():
                if time.monotonic() > until or not lease.is_held:
                    break
                proxy.cut_after(50 * count % 400, Towards.CLIENT if count % 2 else Towards.SERVER)
                threading.Event().wait(0.5)
            proxy.mend()

            assert lease.is_held


def attempt(backend: Backend, write: Write, memory: str):
    """The answer to a write that surely is, or surely is not, done; nothing to be seen of one that may be."""
    answers = backend.swap([write], memory, timeout=TIMEOUT)
    (answer,) = answers
    if isinstance(answer, Conflict) and answer.seen.value == write.value:
        return [Swapped(answer.seen.stamp)]
    return answers


def campaign(client):
    try:
        return client.election("job").campaign(timeout=PATIENCE)
    except LeaderLockError:
        return None
