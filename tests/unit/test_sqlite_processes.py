"""Many processes on one file: no write is lost, nobody waits beyond the time-out, the dead leave nothing behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from contextlib import closing, contextmanager

import pytest

from leaderlock.backend import ABSENT, Conflict, Seen, Swapped, Write
from leaderlock.errors import BackendUnavailable, OutcomeUnknown, UsageError
from leaderlock_sqlite import _pool, open_backend

TIMEOUT = 20.0
KEY = "name/counter"

PRELUDE = """
import sys
from leaderlock.backend import ABSENT, Conflict, Swapped, Write
from leaderlock_sqlite import open_backend
backend = open_backend(sys.argv[1], namespace="n")
def put(key, change):
    while True:
        view = backend.read([key], timeout=20)
        seen = view.seen[key]
        (answer,) = backend.swap([Write(key, seen.stamp, change(seen.value))], view.memory, timeout=20)
        if isinstance(answer, Swapped):
            return
"""


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/leader.db"


@pytest.fixture
def backend(url):
    with closing(open_backend(url, namespace="n")) as opened:
        yield opened


@contextmanager
def program(url, body):
    """Another process that runs ``body`` with a backend of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", PRELUDE + body, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def forked(work):
    """What ``work`` returns in a forked child, as a number below 256."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that is the test
        child = os.fork()
    if child == 0:
        result = 255
        try:
            result = work()
        finally:
            os._exit(result)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def look(backend, key=KEY):
    return backend.read([key], timeout=TIMEOUT).seen[key]


def test_a_process_that_writes_without_a_pause_does_not_keep_others_from_their_turn(backend, url):
    """Its lock is free for moments only; SQLite's own waiting, which is by longer and longer sleeps, misses them."""
    body = """
import threading
def work(key):
    while True:
        put(key, lambda value: b"x")
for number in range(3):
    threading.Thread(target=work, args=(f"k{number}",), daemon=True).start()
print("writing", flush=True)
sys.stdin.read()
"""
    view = backend.read([KEY], timeout=TIMEOUT)
    stamp = view.seen[KEY].stamp
    with program(url, body) as writing:
        assert writing.stdout.readline() == "writing\n"
        until = time.monotonic() + 4

        while time.monotonic() < until:
            (answer,) = backend.swap([Write(KEY, stamp, b"y")], view.memory, timeout=0.7)
            stamp = answer.stamp
            time.sleep(0.02)  # chaos: comes at any moment of the others'


def test_eight_processes_lose_no_increment(backend, url):
    body = f"for _ in range(50): put({KEY!r}, lambda value: str(int(value or 0) + 1).encode())"

    starts = [program(url, body) for _ in range(8)]
    processes = [start.__enter__() for start in starts]
    codes = [process.wait(60) for process in processes]
    for start in starts:
        start.__exit__(None, None, None)

    assert codes == [0] * 8
    assert look(backend).value == b"400"


def test_a_lock_held_elsewhere_for_longer_than_the_timeout_is_unavailable_and_never_sent(backend, url):
    view = backend.read([KEY], timeout=TIMEOUT)
    body = """
import sqlite3
shell = sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"), isolation_level=None)
shell.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""

    with program(url, body) as process:
        assert process.stdout.readline() == "locked\n"
        began = time.monotonic()
        with pytest.raises(BackendUnavailable, match="longer than the time-out") as raised:
            backend.swap([Write(KEY, ABSENT, b"x")], view.memory, timeout=0.5)
        took = time.monotonic() - began
        seen_meanwhile = look(backend)
    backend.swap([Write(KEY, ABSENT, b"x")], view.memory, timeout=TIMEOUT)

    assert not isinstance(raised.value, OutcomeUnknown)
    assert 0.3 < took < 2.0
    assert seen_meanwhile == Seen(None, ABSENT)
    assert look(backend).value == b"x"


@pytest.mark.parametrize("_round", range(4))
def test_a_process_killed_while_it_writes_loses_nothing_it_was_told_and_damages_nothing(backend, url, tmp_path, _round):
    body = """
number = 0
while True:
    number += 1
    put("name/mine", lambda value: str(number).encode())
    print(number, flush=True)
"""

    with program(url, body) as process:
        for _ in range(20):
            process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        acknowledged = [line for line in process.stdout if line.endswith("\n")]
    found = look(backend, "name/mine")

    with closing(sqlite3.connect(tmp_path / "leader.db")) as shell:
        assert shell.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    # The last one may have been applied and not yet told.
    last = int(acknowledged[-1]) if acknowledged else 20
    assert int(found.value) in (last, last + 1)


def test_a_forked_child_is_refused_and_the_parent_goes_on(backend):
    view = backend.read([KEY], timeout=TIMEOUT)

    def use_it():
        try:
            backend.read([KEY], timeout=TIMEOUT)
        except UsageError as error:
            return 1 if "forked" in str(error) else 2
        return 3

    answer = forked(use_it)
    backend.swap([Write(KEY, ABSENT, b"x")], view.memory, timeout=TIMEOUT)

    assert answer == 1
    assert look(backend).value == b"x"


def test_a_fork_tells_every_pool_though_another_thread_opens_one_meanwhile(tmp_path):
    path = tmp_path / "leader.db"
    ours, told, others = _pool.Pool(path), [], []

    def open_another(frame, event, argument):  # before every line, as another thread may
        others.append(_pool.Pool(path))
        return open_another

    before = sys.gettrace()
    sys.settrace(open_another)
    try:
        _pool._each_pool(told.append)()
    finally:
        sys.settrace(before)

    assert ours in told


def test_a_child_may_open_the_file_anew_and_loses_nothing_when_the_parent_closes(url):
    parent = open_backend(url, namespace="n")
    memory = parent.read([KEY], timeout=TIMEOUT).memory
    told, tell = os.pipe()
    asked, ask = os.pipe()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            own = open_backend(url, namespace="n")
            own.read([KEY], timeout=TIMEOUT)
            os.write(tell, b"1")
            os.read(asked, 1)
            own.swap([Write(KEY, ABSENT, b"child's")], memory, timeout=TIMEOUT)
            os.write(tell, b"2")
            os.read(asked, 1)
        finally:
            os._exit(0)
    # Were the parent's connection open across the fork, SQLite in the child would believe in locks that it has not,
    # and the parent's close would take away the log that the child writes to.
    os.read(told, 1)
    parent.close()
    os.write(ask, b"1")
    os.read(told, 1)
    with closing(open_backend(url, namespace="n")) as third:
        found = look(third)
    os.write(ask, b"2")
    os.waitpid(child, 0)
    for descriptor in (told, tell, asked, ask):
        os.close(descriptor)

    assert found.value == b"child's"


def test_a_child_forked_in_the_middle_of_a_call_may_not_open_the_file(backend, url):
    backend.read([KEY], timeout=TIMEOUT)

    def open_it():
        try:
            open_backend(url, namespace="n").read([KEY], timeout=TIMEOUT)
        except UsageError as error:
            return 1 if "under way" in str(error) else 2
        return 3

    with backend._snapshot(time.monotonic() + TIMEOUT):
        answer = forked(open_it)

    assert answer == 1
    assert look(backend) == Seen(None, ABSENT)


def test_an_interrupt_in_the_middle_of_a_swap_leaves_no_lock_and_no_half(backend, url, monkeypatch):
    view = backend.read([KEY], timeout=TIMEOUT)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backend, "_commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            backend.swap([Write(KEY, ABSENT, b"half")], view.memory, timeout=TIMEOUT)
    with closing(open_backend(url, namespace="n")) as other:
        (answer,) = other.swap([Write(KEY, ABSENT, b"whole")], view.memory, timeout=1.0)
    (conflict,) = backend.swap([Write(KEY, ABSENT, b"late")], view.memory, timeout=1.0)

    assert conflict == Conflict(Seen(b"whole", answer.stamp))


def test_a_transaction_that_memory_runs_out_under_twice_keeps_nobody_else_from_writing(url, monkeypatch):
    """Ctrl-C may come as no memory does here: in a transaction, and again while that is ended."""

    def no_memory(*_, **__):
        raise MemoryError

    with closing(open_backend(url, namespace="n")) as backend, closing(open_backend(url, namespace="n")) as other:
        memory = backend.read(["name/a"], timeout=TIMEOUT).memory
        pool = backend._pool
        returns = iter([no_memory, pool.give_back])
        with monkeypatch.context() as scarce:
            scarce.setattr("leaderlock_sqlite._backend.save_mark", no_memory)
            scarce.setattr(pool, "give_back", lambda lent, keep: next(returns)(lent, keep=keep))
            with pytest.raises(MemoryError):
                backend.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)

        (answer,) = other.swap([Write("name/a", ABSENT, b"y")], memory, timeout=1.0)

        assert isinstance(answer, Swapped)
        assert (pool._used, pool._lent) == (set(), 0)
