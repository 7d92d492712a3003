"""Races: many threads and many clients, and what must still be true of every register."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pytest

from leaderlock.backend import ABSENT, Answer, Backend, Conflict, Seen, Stamp, Swapped, Write
from leaderlock.testing.contract._hooks import TIMEOUT, Hooks, Opener, look, memory_of, put, together

THREADS = 8
ROUNDS = 20
KEY = "name/contested"


@dataclass(frozen=True, slots=True)
class Link:
    """One acknowledged write of a chain: its id, and the id of what it replaced."""

    write: bytes
    replaced: bytes


def link_on(backend: Backend, number: int) -> list[Link]:
    """Write ``ROUNDS`` times, each time over what was last seen; what was acknowledged."""
    memory, seen, links = memory_of(backend), look(backend, KEY), list[Link]()
    while len(links) < ROUNDS:
        replaced = (seen.value or b"origin").split()[0]
        write = b"%d-%d" % (number, len(links))
        value = write + b" replaced " + replaced
        (answer,) = backend.swap([Write(KEY, seen.stamp, value)], memory, timeout=TIMEOUT)
        if isinstance(answer, Swapped):
            links.append(Link(write, replaced))
            seen = Seen(value, answer.stamp)
        else:
            seen = answer.seen
    return links


def chain_back(from_write: bytes, links: Sequence[Link]) -> list[bytes]:
    """The ids from ``from_write`` back to the origin, as long as each link is there."""
    by_write = {link.write: link.replaced for link in links}
    chain = [from_write]
    while chain[-1] in by_write and len(chain) <= len(links):
        chain.append(by_write[chain[-1]])
    return chain


def write_over(backends: Sequence[Backend], expected: Stamp, memory: str, number: int) -> Answer:
    """Writer ``number``'s one attempt over the stamp that all of them expect."""
    backend = backends[number % len(backends)]
    (answer,) = backend.swap([Write(KEY, expected, b"%d" % number)], memory, timeout=TIMEOUT)
    return answer


def applied(answers: Sequence[Answer]) -> list[Swapped]:
    """The same answers, all of which must be of writes that were applied."""
    done = [answer for answer in answers if isinstance(answer, Swapped)]
    assert len(done) == len(answers)
    return done


class Racing(Hooks):
    @pytest.mark.parametrize("clients", [1, 4], ids=["one client", "four clients"])
    def test_of_many_writers_over_one_stamp_exactly_one_wins(self, open_backend: Opener, clients: int) -> None:
        backends = [open_backend() for _ in range(clients)]
        memory, seen = memory_of(backends[0]), Seen(None, ABSENT)

        for _ in range(ROUNDS):
            answers = together(THREADS, partial(write_over, backends, seen.stamp, memory))
            winners = [number for number, answer in enumerate(answers) if isinstance(answer, Swapped)]

            assert len(winners) == 1
            seen = look(backends[winners[0] % clients], KEY)
            assert seen == Seen(b"%d" % winners[0], applied([answers[winners[0]]])[0].stamp)
            assert all(answer == Conflict(seen) for answer in answers if isinstance(answer, Conflict))

    @pytest.mark.parametrize("clients", [1, 4], ids=["one client", "four clients"])
    def test_acknowledged_writes_form_one_chain(self, open_backend: Opener, clients: int) -> None:
        backends = [open_backend() for _ in range(clients)]

        links = [
            link
            for some in together(THREADS, lambda number: link_on(backends[number % clients], number))
            for link in some
        ]

        last = (look(backends[0], KEY).value or b"").split()[0]
        chain = chain_back(last, links)
        assert chain[-1] == b"origin"
        assert len(chain) - 1 == len(links) == THREADS * ROUNDS
        assert len({link.replaced for link in links}) == len(links)

    def test_the_writes_of_a_batch_become_visible_in_their_order(self, backend: Backend) -> None:
        memory, is_done = memory_of(backend), threading.Event()

        def write() -> int:
            first, second = Swapped(ABSENT), Swapped(ABSENT)
            try:
                for turn in range(ROUNDS * 2):
                    value = b"%d" % turn
                    writes = [Write("session/a", first.stamp, value), Write("name/a", second.stamp, value)]
                    first, second = applied(backend.swap(writes, memory, timeout=TIMEOUT))
            finally:
                is_done.set()
            return 0

        def count_inversions() -> int:
            inversions = 0
            while not is_done.is_set():
                second = int(look(backend, "name/a").value or -1)
                first = int(look(backend, "session/a").value or -1)
                inversions += first < second
            return inversions

        inversions = together(2, lambda number: (write, count_inversions)[number]())

        assert sum(inversions) == 0

    def test_every_thread_gets_the_answers_to_its_own_questions(self, open_backend: Opener) -> None:
        backend = open_backend()

        def work(number: int) -> bool:
            key, stamp, was_right = f"name/{number}", ABSENT, True
            for turn in range(ROUNDS):
                value = b"%d %d" % (number, turn)
                stamp = put(backend, key, value, stamp)
                found = dict(backend.scan(key, timeout=TIMEOUT))
                was_right = was_right and look(backend, key) == found[key] == Seen(value, stamp)
            return was_right

        assert all(together(THREADS, work))
