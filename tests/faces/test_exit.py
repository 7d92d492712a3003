"""The end of the process: names are freed without ``close()``, in bounded time, whatever the store does."""

from __future__ import annotations

import sys
import time

import pytest

from leaderlock import Ending, connect

HEAD = """
import sys, threading
from leaderlock import connect, only_on_leader
from leaderlock.testing import Fault, FaultyBackend, MemoryBackend
"""

no_threads_at_exit = pytest.mark.xfail(
    (3, 12) <= sys.version_info < (3, 12, 3),
    reason="these Pythons start no thread once the main thread has ended (python/cpython#113964)",
    strict=True,
)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/store"


@pytest.fixture
def is_free(url):
    """Whether the name can be had at once: its session was ended, not left to die."""

    def look(name="a"):
        with connect(url) as client:
            return client.election(name).leader() is None

    return look


@pytest.mark.parametrize(
    "end",
    [
        "pass",
        "sys.exit(3)",
        "raise KeyError",
        "lease.on_lost(print)",
        "threading.Thread(target=lambda: lease.wait_lost(0.2)).start()",
    ],
)
def test_exit_frees_names_without_close(run_program, url, is_free, end):
    done = run_program(f"{HEAD}client = connect({url!r})\nlease = client.election('a').campaign()\n{end}")

    assert is_free(), done.stderr
    assert "ResourceWarning" not in done.stderr


def test_exit_frees_names_though_other_threads_open_clients_meanwhile(run_program, url, is_free):
    """As if a thread did, between any two of the first functions that are called at the end."""
    done = run_program(f"""{HEAD}
client = connect({url!r})
lease = client.election("a").campaign()
opened = []
def open_another(frame, event, _):
    if event == "call" and len(opened) < 50 and (opened or frame.f_code.co_name == "_close_all"):
        opened.append(connect("memory:"))
sys.setprofile(open_another)
""")

    assert is_free()
    assert done.stderr == ""


AT_WORK = """
import traceback
def is_in(function):
    stacks = map(traceback.walk_stack, sys._current_frames().values())
    return any(frame.f_code.co_name == function for stack in stacks for frame, _ in stack)
def at_work(work, function, **options):
    threading.Thread(target=work, **options).start()
    while not is_in(function):
        pass
"""


@pytest.mark.parametrize(
    ("work", "function"),
    [
        ("only_on_leader('a', client=client, otherwise='wait')(print)", "wait_elected"),
        ("client.election('a').campaign", "attend"),
        ("lambda: client.campaign_all(['a', 'b'])", "wait_for"),
        ("lambda: [None for _ in iter(only_on_leader('a', client=client)(print), 0)]", "_seek"),
    ],
)
def test_a_daemon_thread_that_is_at_work_at_the_end_goes_without_a_word(run_program, url, work, function):
    """As Python's own daemon threads do; web servers end like this at each deployment."""
    with connect(url) as other, other.election("a"):
        done = run_program(f"{HEAD}{AT_WORK}client = connect({url!r})\nat_work({work}, {function!r}, daemon=True)")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_who_is_no_daemon_thread_is_told_at_the_end_that_the_client_is_closed(run_program, url):
    done = run_program(
        f"""{HEAD}
import atexit
atexit.unregister(leaderlock._client._close_all)
atexit.register(lambda: client.election("a").campaign())
atexit.register(leaderlock._client._close_all)
client = connect({url!r})
""".replace("import atexit", "import atexit, leaderlock")
    )

    assert "UsageError: this client is closed" in done.stderr


def test_sys_exit_inside_a_body_resigns(run_program, url, is_free):
    done = run_program(f"{HEAD}\nwith connect({url!r}) as client, client.election('a'):\n    sys.exit(3)")

    assert (done.returncode, done.stderr) == (3, "")
    assert is_free()


@pytest.mark.parametrize("handler", ["lambda *_: sys.exit(0)", "signal.default_int_handler"])
def test_sigterm_with_a_handler_that_exits_resigns(run_program, url, is_free, handler):
    run_program(f"""{HEAD}
import os, signal, time
signal.signal(signal.SIGTERM, {handler})
with connect({url!r}) as client, client.election("a"):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
""")

    assert is_free()


@pytest.mark.parametrize(
    ("handler", "how"),
    [("signal.default_int_handler", Ending.INTERRUPTED), ("lambda *_: sys.exit(0)", Ending.OK)],
    ids=["like Ctrl-C", "exits with 0: as if the job were done"],
)
def test_sigterm_within_a_tick_is_recorded_as_its_handler_says(run_program, url, handler, how):
    run_program(f"""{HEAD}
import os, signal, time
signal.signal(signal.SIGTERM, {handler})
with connect({url!r}) as client, client.tick("* * * * *", name="job", runs="at-least-once"):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
""")

    with connect(url) as client:
        assert [outcome.how for outcome in client.job("job").history] == [how]


def test_exit_frees_what_a_guarded_function_leads(run_program, url, is_free):
    done = run_program(f"{HEAD}\n@only_on_leader('a')\ndef job(): print('ran')\njob()", LEADERLOCK_URL=url)

    assert (done.stdout, done.stderr) == ("ran\n", "")
    assert is_free()


@no_threads_at_exit
def test_exit_with_a_silent_store_is_bounded(run_program):
    """Half a ttl for the store, and no thread that must be waited for."""
    program = f"""{HEAD}
backend = FaultyBackend(MemoryBackend())
backend.close = lambda: None  # it does not even let go of the calls under way
client = connect(backend, ttl=4)
lease = client.election("a").campaign()
backend.inject(Fault.HANG, op="any", times=None)
"""
    started = time.monotonic()
    done = run_program(program)

    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - started < 2 * 2 + 3


@no_threads_at_exit
def test_exit_with_a_callback_that_never_returns_is_bounded(run_program):
    program = f"""{HEAD}
client = connect(MemoryBackend(), ttl=4)
client.election("a").campaign().on_lost(lambda _: threading.Event().wait())
"""
    started = time.monotonic()
    done = run_program(program)

    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - started < 2 + 3


def test_exit_on_loss_ends_the_process_with_76(run_program):
    program = f"""{HEAD}
backend = FaultyBackend(MemoryBackend())
client = connect(backend, ttl=1)
@only_on_leader("a", client=client, on_loss="exit")
def job():
    backend.inject(Fault.NEVER_SENT, op="any", times=None)
    threading.Event().wait()
job()
"""
    done = run_program(program)

    assert done.returncode == 76
    assert "was lost (store unreachable): this process ends" in done.stderr


def test_exit_on_loss_does_not_wait_for_a_log_that_hangs(run_program):
    program = f"""{HEAD}
import logging, time
class Hung(logging.Handler):
    def emit(self, record): time.sleep(3600)
logging.getLogger("leaderlock").addHandler(Hung())
client = connect(MemoryBackend(), ttl=1)
@only_on_leader("a", client=client, on_loss="exit")
def job():
    client.resign("a", now=True)
    threading.Event().wait()
job()
"""
    started = time.monotonic()

    assert run_program(program).returncode == 76
    assert time.monotonic() - started < 6


def test_exit_while_another_thread_campaigns_is_bounded(run_program, url):
    program = f"""{HEAD}
holder, client = connect({url!r}), connect({url!r})
lease = holder.election("a").campaign()
threading.Thread(target=client.election("a").campaign, daemon=True).start()
"""
    started = time.monotonic()
    run_program(program)

    assert time.monotonic() - started < 8
