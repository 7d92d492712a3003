"""The bell and who listens to it, alone: what it does of itself when the file is deleted, and when it sees nothing."""

import os
import time
from contextlib import closing

import pytest

from leaderlock.errors import BackendUnavailable
from leaderlock_sqlite import _bell, open_backend

TIMEOUT = 5.0
PATIENCE = 10.0


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "leader.db"
    with closing(open_backend(f"sqlite:///{path}", namespace="n")) as backend:
        backend.read([], timeout=TIMEOUT)  # lays it
    return path


@pytest.fixture
def watcher(path, monkeypatch):
    """One whose waits a test makes itself; nothing is heard but the bell, for as long as a test waits."""
    monkeypatch.setattr(_bell, "_LOOK_EVERY", 2 * PATIENCE)
    watcher = _bell.Watcher(_bell.Bell(path), None, 0)
    watcher._inotify = _bell._new_inotify()
    yield watcher
    watcher._ending.close()
    os.close(watcher._inotify)


@pytest.mark.skipif(not _bell.has_inotify(), reason="this system has no inotify")
def test_a_bell_that_was_deleted_is_made_anew_and_heard(watcher, path):
    began = time.monotonic()
    watcher._wait()  # begins to listen, and does not wait for what was rung before
    os.unlink(f"{path}-bell")
    watcher._wait()
    watcher._wait()  # begins anew
    _bell.Bell(path).ring()
    watcher._wait()

    assert watcher._listening
    assert time.monotonic() - began < PATIENCE


def test_a_watcher_that_sees_nothing_wakes_everybody_once_and_again_after_it_has_seen(path):
    found = _bell.Changes(1, "memory", ["name/a"])
    answers = [BackendUnavailable("away"), OSError("away"), found, BackendUnavailable("away")]

    def look(stamp, memory, *, timeout):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watcher = _bell.Watcher(_bell.Bell(path), look, 0)

    assert [watcher._news()[0] for _ in range(4)] == [None, (), ["name/a"], None]
