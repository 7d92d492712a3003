"""The guardian with real processes: whatever happens to the wrapper, the command is gone before its deadline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

PRELUDE = """
import json, os, signal, sys, threading, time
from leaderlock.cli import guardian
from leaderlock._clock import SteadyClock
from leaderlock._protocol.clocks import Deadline

clock = SteadyClock()
env = dict(os.environ)
log = env.get("LOG", "")

def after(seconds):
    return Deadline.after(clock.now(), seconds)

def say(**facts):
    os.write(1, json.dumps(facts).encode() + b"\\n")

def told(outcome):
    say(why=outcome.why.value, code=outcome.exit_code, detail=outcome.detail)

def witness(*kinds):
    return [sys.executable, "-ISc", env["WITNESS"], log, *kinds]

def seen(*kinds):
    while not all(os.path.exists(log + "." + kind) for kind in kinds):
        assert keeper.wait(0.01) is None

keeper = guardian.start()
"""

WITNESS = """
import os, signal, sys, time
log, name, *kinds = sys.argv[1:]
if "deaf" in kinds:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
if "answers" in kinds:
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(5))
if "daemon" in kinds:
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
file = os.open(log + "." + name, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while True:
    os.write(file, b"%.6f\\n" % time.clock_gettime(time.CLOCK_BOOTTIME))
    time.sleep(0.005)
"""


class Wrapper:
    """A program that holds a guardian, and what it says on stdout, a JSON object a line."""

    def __init__(self, log: Path, body: str, *, fd: int | None = None, terminal: int | None = None) -> None:
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + body],
            stdin=subprocess.PIPE if terminal is None else terminal,
            stdout=subprocess.PIPE,
            start_new_session=terminal is not None,
            env=os.environ | {"LOG": str(log), "WITNESS": WITNESS},
            pass_fds=() if fd is None else (fd,),
        )
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout

    def heard(self) -> dict[str, object]:
        line = self.stdout.readline()
        assert line, "the wrapper ended without a word"
        return json.loads(line)

    def last_seen(self) -> float:
        """When any of the witnesses was last alive, on the boot clock."""
        logs = list(self.log.parent.glob(self.log.name + ".*"))
        assert logs
        return max(float(log.read_bytes().splitlines()[-1]) for log in logs)

    def witnesses(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.process.pid:
                try:
                    if os.fsencode(self.log) in (entry / "cmdline").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    pass
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.stdin is not None:
            self.stdin.close()
        self.stdout.close()
        until(lambda: not self.witnesses())


@pytest.fixture
def wrapper(tmp_path: Path) -> Iterator[Callable[..., Wrapper]]:
    wrappers: list[Wrapper] = []

    def run(body: str, **options: int) -> Wrapper:
        wrappers.append(Wrapper(tmp_path / f"log{len(wrappers)}", body, **options))
        return wrappers[-1]

    yield run
    for each in wrappers:
        each.close()


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit, "waited for half a minute in vain"
        time.sleep(0.005)


def state(pid: int) -> str:
    """The process's state letter, or nothing when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


ONE = "keeper.spawn({argv}, env=env, deadline=after(60), grace=1)\ntold(keeper.wait())\nkeeper.close()"
FAMILY = """
script = '"$@" orphan deaf & "$@" daemon deaf daemon & exec "$@" main deaf'
deadline = after({seconds})
keeper.spawn(["sh", "-c", script, "sh", *witness()], env=env, deadline=deadline, grace=0.5)
seen("orphan", "daemon", "main")
say(deadline=deadline.boot, guardian=keeper.pid, child=keeper.child)
"""


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_an_exit_code_passes_through_and_a_signal_counts_from_128(wrapper, script, code):
    heard = wrapper(ONE.format(argv=["sh", "-c", script])).heard()

    assert (heard["why"], heard["code"]) == ("exited", code)


def test_a_command_that_cannot_be_started_is_told_apart(wrapper, tmp_path):
    data = tmp_path / "data"
    data.write_text("no program")

    missing = wrapper(ONE.format(argv=["no-such-command-anywhere"])).heard()
    refused = wrapper(ONE.format(argv=[str(data)])).heard()

    assert (missing["why"], missing["code"]) == ("not started", 127)
    assert (refused["why"], refused["code"]) == ("not started", 126)
    assert "no-such-command-anywhere" in missing["detail"]


def test_stdin_reaches_the_command(wrapper):
    run = wrapper(ONE.format(argv=["sh", "-c", 'read line; test "$line" = hello && exit 9']))

    run.stdin.write(b"hello\n")
    run.stdin.flush()

    assert run.heard()["code"] == 9


def test_the_command_gets_default_signals_its_own_session_and_no_foreign_files(wrapper):
    # The shell tells what it was given; a Python would already have set up its own signals. The two that the C library
    # keeps for itself (32 and 33) cannot be reset by anybody, and some callers, make among them, ignore them.
    script = """
        while read -r key value rest; do
            case $key in
                SigIgn:|SigBlk:) [ $((0x$value & ~0x180000000)) = 0 ] || exit 11;;
                NSsid:) [ "$value" = "$$" ] || exit 12;;
            esac
        done < /proc/$$/status
        [ -e /proc/$$/fd/0 ] || exit 13
        [ -e /proc/$$/fd/$1 ] && exit 14
        exit 0
    """
    reading, writing = os.pipe()

    run = wrapper(ONE.format(argv=["sh", "-c", script, "sh", str(writing)]), fd=writing)
    os.close(writing)
    os.close(reading)

    assert run.heard()["code"] == 0


def test_arguments_and_environment_of_any_bytes_and_size_pass(wrapper):
    run = wrapper("""
env["ODD"] = os.fsdecode(b"\\xff\\n")
env |= {"LONG%d" % i: "x" * 100_000 for i in range(10)}
keeper.spawn(["sh", "-c", 'test "$ODD" = "$1" && test ${#LONG9} = 100000', "sh", env["ODD"]], env=env,
             deadline=after(60), grace=1)
told(keeper.wait())
""")

    assert run.heard()["code"] == 0


def test_a_family_that_ignores_term_is_gone_before_the_deadline(wrapper):
    run = wrapper(FAMILY.format(seconds=3) + "told(keeper.wait())")

    deadline = run.heard()["deadline"]
    heard = run.heard()

    assert (heard["why"], heard["code"]) == ("deadline", 137)
    assert not run.witnesses()
    assert deadline - 0.5 < run.last_seen() < deadline


def test_killing_the_wrapper_ends_the_family_and_the_guardian(wrapper):
    run = wrapper(FAMILY.format(seconds=60) + "keeper.wait()")
    facts = run.heard()

    run.process.kill()
    until(lambda: not run.witnesses())
    until(lambda: not state(facts["guardian"]))

    assert run.last_seen() < facts["deadline"] - 30


def test_a_stopped_wrapper_does_not_prolong_the_command_and_is_told_later(wrapper):
    run = wrapper(FAMILY.format(seconds=3) + "told(keeper.wait())")
    facts = run.heard()

    run.process.send_signal(signal.SIGSTOP)
    until(lambda: not run.witnesses())
    run.process.send_signal(signal.SIGCONT)

    assert run.last_seen() < facts["deadline"]
    assert run.heard()["why"] == "deadline"


def test_killing_the_guardian_lets_nobody_live(wrapper):
    run = wrapper(FAMILY.format(seconds=60) + "told(keeper.wait())")
    facts = run.heard()

    os.kill(facts["guardian"], signal.SIGKILL)

    heard = run.heard()
    assert (heard["why"], heard["code"]) == ("guardian lost", 137)
    assert not run.witnesses()


def test_a_stopped_guardian_neither_blocks_the_wrapper_nor_saves_the_command(wrapper):
    run = wrapper(
        FAMILY.format(seconds=60)
        + """
os.kill(keeper.pid, signal.SIGSTOP)
for _ in range(20_000):
    keeper.extend(deadline)
for _ in range(20_000):
    keeper.forward(signal.SIGWINCH)
deadline = after(1)
keeper.extend(deadline)
say(deadline=deadline.boot)
told(keeper.wait())
"""
    )
    run.heard()
    deadline = run.heard()["deadline"]

    assert run.heard()["why"] == "guardian lost"
    assert not run.witnesses()
    assert run.last_seen() < deadline


def test_a_guardian_that_lagged_behind_hears_the_newest_deadline(wrapper):
    run = wrapper("""
keeper.spawn(witness("main"), env=env, deadline=after(60), grace=0.5)
seen("main")
os.kill(keeper.pid, signal.SIGSTOP)
for _ in range(20_000):
    keeper.extend(after(60))
newest = after(3)
keeper.extend(newest)
os.kill(keeper.pid, signal.SIGCONT)
told(keeper.wait())
say(in_time=newest.is_ahead(clock.now()))
""")

    assert run.heard()["why"] == "deadline"
    assert run.heard()["in_time"]


def test_renewals_from_another_thread_keep_the_command_alive(wrapper):
    run = wrapper("""
first = after(1.5)
keeper.spawn(["sleep", "3"], env=env, deadline=first, grace=0.2)
over = threading.Event()
def renew():
    while not over.wait(0.1):
        keeper.extend(after(1.5))
thread = threading.Thread(target=renew)
thread.start()
outcome = keeper.wait()
over.set()
thread.join()
assert not first.is_ahead(clock.now())
told(outcome)
""")

    assert run.heard()["why"] == "exited"


def test_a_signal_is_forwarded_from_a_signal_handler(wrapper):
    run = wrapper("""
for number in guardian.FORWARDED:
    signal.signal(number, lambda number, _: keeper.forward(number))
keeper.spawn(witness("main", "answers"), env=env, deadline=after(60), grace=1)
seen("main")
say(ready=True)
told(keeper.wait())
""")
    run.heard()

    run.process.send_signal(signal.SIGUSR1)

    assert run.heard()["code"] == 5


def test_the_command_reads_the_terminal_and_gets_ctrl_c_through_the_wrapper(wrapper):
    ours, theirs = os.openpty()
    run = wrapper(
        """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, lambda number, _: keeper.forward(number))
script = 'read line; [ "$line" = hello ] && touch "$LOG.read"; read line'
keeper.spawn(["sh", "-c", script], env=env, deadline=after(60), grace=1)
seen("read")
say(read=True)
told(keeper.wait())
""",
        terminal=theirs,
    )
    os.close(theirs)

    os.write(ours, b"hello\n")
    assert run.heard()["read"]
    os.write(ours, b"\x03")

    assert run.heard()["code"] == 128 + signal.SIGINT
    os.close(ours)


def test_a_command_is_not_started_after_its_deadline(wrapper):
    run = wrapper("""
os.kill(keeper.pid, signal.SIGSTOP)
deadline = after(0.2)
keeper.spawn(["touch", log + ".ran"], env=env, deadline=deadline, grace=0.1)
while deadline.is_ahead(clock.now()):
    pass
os.kill(keeper.pid, signal.SIGCONT)
told(keeper.wait())
""")

    assert run.heard()["why"] in {"deadline", "guardian lost"}  # whichever of the two is the first to act
    assert not run.log.with_name(run.log.name + ".ran").exists()


def test_the_guardian_survives_the_signals_that_end_a_wrapper(wrapper):
    run = wrapper("""
keeper.spawn(["sh", "-c", "read line; exit 4"], env=env, deadline=after(60), grace=1)
while keeper.child is None:
    keeper.wait(0.01)
say(guardian=keeper.pid)
told(keeper.wait())
""")
    guardian = run.heard()["guardian"]

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGUSR1):
        os.kill(guardian, number)
    run.stdin.write(b"\n")
    run.stdin.flush()

    assert run.heard() == {"why": "exited", "code": 4, "detail": ""}


def test_an_end_asked_for_is_gentle_first_and_can_be_hastened(wrapper):
    run = wrapper("""
keeper.spawn(witness("main"), env=env, deadline=after(60), grace=1)
seen("main")
keeper.end(30)
told(keeper.wait())
keeper.spawn(witness("second", "deaf"), env=env, deadline=after(60), grace=1)
seen("second")
keeper.end(30)
assert keeper.wait(0.2) is None
keeper.end(0)
told(keeper.wait())
""")

    assert run.heard() == {"why": "asked", "code": 143, "detail": ""}
    assert run.heard() == {"why": "asked", "code": 137, "detail": ""}


def test_a_stopped_command_acts_on_its_term(wrapper):
    run = wrapper("""
keeper.spawn(witness("main"), env=env, deadline=after(60), grace=1)
seen("main")
os.kill(keeper.child, signal.SIGSTOP)
keeper.end(30)
told(keeper.wait())
""")

    assert run.heard()["code"] == 143


def test_a_command_that_ends_takes_what_it_left_running_with_it(wrapper):
    run = wrapper("""
script = '"$@" polite daemon & "$@" deaf deaf & while ! [ -e $LOG.deaf -a -e $LOG.polite ]; do sleep 0.01; done; exit 3'
keeper.spawn(["sh", "-c", script, "sh", *witness()], env=env, deadline=after(60), grace=0.3)
told(keeper.wait())
""")

    assert run.heard() == {"why": "exited", "code": 3, "detail": ""}
    assert not run.witnesses()


def test_one_guardian_runs_one_command_after_another_and_leaves_no_zombie(wrapper):
    run = wrapper("""
for code in range(20):
    keeper.spawn(["sh", "-c", "(exit 1) & (exit 2) & exit %d" % code], env=env, deadline=after(60), grace=1)
    assert keeper.wait().exit_code == code
children = open("/proc/%d/task/%d/children" % (keeper.pid, keeper.pid)).read()
keeper.close()
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    say(children=children, gone=True)
""")

    assert run.heard() == {"children": "", "gone": True}


def test_closing_kills_at_once(wrapper):
    run = wrapper(FAMILY.format(seconds=60) + "keeper.close()\nsay(closed=True)\nsys.stdin.read()")
    facts = run.heard()

    assert run.heard()["closed"]
    assert not run.witnesses()
    assert not state(facts["guardian"])


def test_misuse_is_refused_in_words(wrapper):
    run = wrapper("""
from leaderlock.errors import UsageError
words = []
def refused(call, *args, **options):
    try:
        call(*args, **options)
    except (UsageError, ValueError) as error:
        words.append(str(error))
refused(keeper.wait)
refused(keeper.spawn, ["true"], env=env, deadline=after(5), grace=5)
keeper.spawn(["sleep", "60"], env=env, deadline=after(60), grace=1)
refused(keeper.spawn, ["true"], env=env, deadline=after(60), grace=1)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
refused(guardian.start)
keeper.close()
refused(keeper.spawn, ["true"], env=env, deadline=after(60), grace=1)
say(words=words)
os._exit(0)
""")

    spawn_first, too_long, twice, threads, closed = run.heard()["words"]
    assert "spawn()" in spawn_first
    assert "grace (5 s)" in too_long
    assert "running already" in twice
    assert "thread" in threads
    assert "gone" in closed
