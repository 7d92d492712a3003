"""What a Redis backend remembers of its server, whichever of its threads learns it."""

import threading
from contextlib import closing

import pytest

from leaderlock.backend import View

pytest.importorskip("redis")

from leaderlock_redis import open_backend


class Late(View):
    """An answer that another thread's, which says more, overtakes while it is noted."""

    other: threading.Thread

    @property
    def floor(self):
        self.other.start()
        self.other.join(0.2)
        return 7


def test_a_floor_that_one_thread_has_seen_is_not_forgotten_for_a_lower_one_of_another(monkeypatch):
    with closing(open_backend("redis://127.0.0.1:1", namespace="n")) as backend:
        late = Late({}, 7, "memory")
        late.other = threading.Thread(target=lambda: backend.read((), timeout=1))
        answers = [View({}, 9, "memory"), late]
        monkeypatch.setattr(backend, "_read", lambda *_, **__: answers.pop())

        backend.read((), timeout=1)
        late.other.join()

        assert backend._highest == 9


def test_a_floor_that_was_seen_is_not_forgotten_for_a_lower_one_that_comes_later(monkeypatch):
    with closing(open_backend("redis://127.0.0.1:1", namespace="n")) as backend:
        answers = [View({}, 7, "memory"), View({}, 9, "memory")]
        monkeypatch.setattr(backend, "_read", lambda *_, **__: answers.pop())

        backend.read((), timeout=1)
        backend.read((), timeout=1)

        assert backend._highest == 9
