"""``leaderlock run`` with real processes: a command runs under a lease, and never beyond it."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

WITNESS = """
import os, signal, sys, time
log, *kinds = sys.argv[1:]
if "deaf" in kinds:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
if "slow" in kinds:  # asked to end, it works on for a while
    signal.signal(signal.SIGTERM, lambda *_: globals().update(until=time.monotonic() + 0.5))
if "answers" in kinds:
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(5))
    signal.signal(signal.SIGINT, lambda *_: os._exit(6))
token = os.environ["LEADERLOCK_TOKEN"]
file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
until = time.monotonic() + 0.2 if "brief" in kinds else float("inf")
while time.monotonic() < until:
    os.write(file, f"{token} {time.clock_gettime(time.CLOCK_BOOTTIME):.6f}\\n".encode())
    time.sleep(0.005)
"""


class Witness:
    """A command that says every few milliseconds that it is alive, and under which token."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def command(self, *kinds: str) -> list[str]:
        return ["--", sys.executable, "-ISc", WITNESS, str(self.log), *kinds]

    def lives(self) -> dict[int, tuple[float, float]]:
        """When each token's command was first and last seen alive, on the boot clock."""
        seen: dict[int, tuple[float, float]] = {}
        for line in self.log.read_text().splitlines() if self.log.exists() else ():
            token, at = line.split()
            first, _ = seen.get(int(token), (float(at), 0.0))
            seen[int(token)] = (first, float(at))
        return seen

    def processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and os.fsencode(self.log) in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                pass
        return [pid for pid in found if WITNESS.encode() in _argv(pid)[2:4]]


def _argv(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def guardian_of(pid: int) -> int:
    """The one child of a wrapper."""
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


@pytest.fixture
def witness(cli, tmp_path, eventually):
    one = Witness(tmp_path / "witness.log")
    yield one
    cli.close()
    eventually(lambda: not one.processes(), within=40)


# -- the command


@pytest.mark.parametrize(
    ("script", "code"), [("true", 0), ("exit 3", 3), ("exit 75", 75), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_the_exit_code_is_the_commands(cli, script, code):
    assert cli("run", "x", "--", "sh", "-c", script).returncode == code


def test_a_command_that_is_not_there_is_127(cli):
    ended = cli("run", "x", "--", "no-such-program-anywhere")

    assert ended.returncode == 127
    assert "no-such-program-anywhere: command not found" in ended.stderr


def test_a_command_that_cannot_be_executed_is_126(cli, tmp_path):
    (tmp_path / "plain").write_text("text")

    for word in (str(tmp_path / "plain"), str(tmp_path)):
        ended = cli("run", "x", "--", word)

        assert ended.returncode == 126
        assert f"{word}: cannot execute: Permission denied" in ended.stderr


def test_a_command_that_is_not_there_campaigns_for_nothing(cli, witness, eventually):
    cli.start("run", "x", *witness.command())
    eventually(witness.lives)

    ended = cli("run", "x", "--", "no-such-program-anywhere")

    assert ended.returncode == 127
    assert "waiting" not in ended.stderr


def test_a_command_is_found_where_exec_finds_it(cli, tmp_path):
    for folder, mode in (("first", 0o644), ("second", 0o755)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text("#!/bin/sh\nexit 3\n")
        (tmp_path / folder / "tool").chmod(mode)
    (tmp_path / "tool").mkdir()
    first, second = tmp_path / "first", tmp_path / "second"

    assert cli("run", "x", "--", "tool", PATH=f"/no/such:{tmp_path}:{first}:{second}").returncode == 3
    assert cli("run", "x", "--", "tool", PATH=f"/no/such:{first}").returncode == 126
    assert cli("run", "x", "--", "tool", PATH=str(tmp_path)).returncode == 126
    assert cli("run", "x", "--", "tool", PATH="/no/such").returncode == 127


@pytest.mark.parametrize("word", ["{folder}/made-elsewhere", "made-elsewhere"])
def test_a_script_whose_interpreter_is_not_there_is_not_called_missing(cli, tmp_path, word):
    script = tmp_path / "made-elsewhere"
    script.write_text("#!/bin/sh\r\necho\r\n")  # as some editors save it
    script.chmod(0o755)

    ended = cli("run", "x", "--", word.format(folder=tmp_path), PATH=f"{tmp_path}:{os.environ['PATH']}")

    assert ended.returncode == 126
    assert "made-elsewhere: cannot execute: what it is to be run with (its line #!) is not there" in ended.stderr


def test_stdout_belongs_to_the_command_and_success_is_silent(cli):
    ended = cli("run", "x", "--", "echo", "--ttl", "a  b")

    assert (ended.stdout, ended.stderr, ended.returncode) == ("--ttl a  b\n", "", 0)


def test_the_command_has_stdin_stdout_and_stderr_and_no_other_files(cli):
    theirs = "import os; print(*(n for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}')), sep=',')"
    script = f"exec 5</dev/null; exec {sys.executable} -m leaderlock run --url {cli.url} x -- {sys.executable} -ISc"

    ended = subprocess.run(["sh", "-c", f'{script} "$0"', theirs], capture_output=True, text=True, check=True)

    assert ended.stdout == "\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("given", ["", "C"])
def test_the_command_has_the_locale_that_leaderlock_was_given_and_not_python_s_own(cli, given):
    shown = cli("run", "x", "--", "env", LC_ALL="", LANG="", LC_CTYPE=given).stdout.splitlines()

    assert f"LC_CTYPE={given}" in shown


def test_the_command_finds_its_lease_in_its_environment(cli, tmp_path):
    before = boot()
    url = f"sqlite:///{tmp_path}/other.db"
    ended = cli("run", "--namespace", "blue", "x/y", "--url", url, "--ttl", "6", "--", "env")

    found = dict(line.split("=", 1) for line in ended.stdout.splitlines() if line.startswith("LEADERLOCK_"))
    status = json.loads(cli("status", "x/y", "--json", "--url", url, "--namespace", "blue").stdout)
    assert found["LEADERLOCK_TOKEN"] == str(status["last_token"])
    assert (found["LEADERLOCK_NAME"], found["LEADERLOCK_NAMESPACE"]) == ("x/y", "blue")
    assert found["LEADERLOCK_URL"] == url
    assert before < float(found["LEADERLOCK_DEADLINE"]) < boot() + 6


def test_leaderlock_in_the_command_uses_the_same_store_and_namespace(cli):
    inner = 'exec "$0" -m leaderlock status "$LEADERLOCK_NAME" --json'

    ended = cli("run", "--namespace", "blue", "x", "--", "sh", "-c", inner, sys.executable)

    assert json.loads(ended.stdout)["leader"]["label"] == "sh"


def test_json_tells_every_event_on_stderr(cli):
    ended = cli("run", "--json", "x", "--", "sh", "-c", "echo data; exit 3")

    elected, summary = map(json.loads, ended.stderr.splitlines())
    assert elected["leaderlock"] == "elected"
    assert summary["leaderlock"] == "ended"
    assert summary | {"name": "x", "token": elected["token"], "how": "exited", "exit_code": 3} == summary
    assert summary["waited"] >= 0
    assert summary["ran"] >= 0
    assert ended.stdout == "data\n"


def test_a_closed_stderr_does_not_disturb_the_command(cli):
    line = f'"{sys.executable}" -m leaderlock run {{}} x -- echo done 2>&-'

    for option in ("--json", "--label y"):
        assert cli("run", "outer", "--", "sh", "-c", line.format(option)).stdout == "done\n"


def test_everything_closed_does_not_disturb_the_command(cli, tmp_path):
    line = f'"{sys.executable}" -m leaderlock run x -- touch "$0" <&- >&- 2>&-'

    assert cli("run", "outer", "--", "sh", "-c", line, str(tmp_path / "done")).returncode == 0
    assert (tmp_path / "done").exists()


# -- signals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 5), (signal.SIGINT, 6), (signal.SIGTERM, 143)])
def test_signals_are_the_commands_once_it_runs(cli, witness, eventually, number, code):
    run = cli.start("run", "x", *witness.command("answers"))
    eventually(witness.lives)

    run.send_signal(number)

    assert run.wait(30) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_election_withdraws(cli, witness, eventually, number, code):
    leader = cli.start("run", "x", *witness.command())
    eventually(witness.lives)
    waiting = cli.start("run", "x", "--", "echo", "never")
    assert "waiting for 'x'" in waiting.stderr.readline()

    waiting.send_signal(number)

    assert waiting.wait(30) == code
    assert waiting.stdout.read() == ""
    leader.terminate()
    assert leader.wait(30) == 143
    assert json.loads(cli("status", "x", "--json").stdout)["leader"] is None


# -- waiting, and not


def test_who_does_not_wait_is_told_who_leads(cli, witness, eventually):
    leader = cli.start("run", "x", *witness.command())
    eventually(witness.lives)

    ended = cli("run", "x", "--no-wait", "--", "echo", "never")

    assert (ended.returncode, ended.stdout) == (75, "")
    assert f"pid {leader.pid}" in ended.stderr
    assert cli("run", "x", "--no-wait", "--quiet", "--", "echo", "never").stderr == ""


def test_who_does_not_wait_outlives_a_leader_that_died(cli, witness, eventually):
    leader = cli.start("run", "x", "--ttl", "2", *witness.command())
    eventually(witness.lives)
    [old] = witness.lives()
    guardian = guardian_of(leader.pid)
    os.kill(guardian, signal.SIGSTOP)
    leader.kill()
    os.kill(guardian, signal.SIGKILL)
    leader.wait()

    codes = []
    eventually(lambda: codes.append(cli("run", "x", "--no-wait", *witness.command("brief")).returncode) or 0 in codes)

    assert set(codes) <= {0, 75}
    assert max(witness.lives()) > old


def test_not_elected_in_time_is_75(cli, witness, eventually):
    cli.start("run", "x", *witness.command())
    eventually(witness.lives)

    ended = cli("run", "x", "--timeout", "0.5", "--", "echo", "never")

    assert (ended.returncode, ended.stdout) == (75, "")
    assert "not elected for 'x' within 0.5 s" in ended.stderr


def test_whoever_waits_is_told_why_at_once_and_then_leads(cli, witness, eventually):
    leader = cli.start("run", "x", *witness.command())
    eventually(witness.lives)
    waiting = cli.start("run", "x", "--", "echo", "mine")
    told = waiting.stderr.readline()
    assert told.startswith("leaderlock: waiting for 'x': somebody else leads, ")
    assert f"pid {leader.pid})" in told

    leader.terminate()

    assert waiting.stdout.readline() == "mine\n"
    assert waiting.wait(30) == 0
    assert waiting.stderr.read().startswith("leaderlock: leads 'x' now, with token")


def test_two_never_run_at_once(cli, witness):
    runs = [cli.start("run", "x", *witness.command("brief")) for _ in range(5)]

    assert [run.wait(60) for run in runs] == [0] * 5

    lives = sorted(witness.lives().items())
    assert len(lives) == 5
    for (_, (_, last)), (_, (first, _)) in itertools.pairwise(lives):
        assert last < first  # in the order of their tokens


# -- the end of a lease


def test_a_deaf_command_is_ended_when_its_lease_is_taken_away(cli, witness, eventually):
    run = cli.start("run", "x", "--ttl", "3", *witness.command("deaf"))
    eventually(witness.lives)

    cli("resign", "x", "--now")
    taken_at = boot()

    assert run.wait(30) == 76
    [(_, last)] = witness.lives().values()
    assert last < taken_at + 3  # it looks within ttl/3, and nothing was renewed after that
    assert not witness.processes()
    assert "was lost (" in run.stderr.read()


@pytest.mark.parametrize("kind", ["slow", "deaf"])
def test_a_name_that_is_asked_for_is_given_when_the_command_has_ended(cli, witness, eventually, kind):
    first = cli.start("run", "x", "--ttl", "3", *witness.command(kind))
    eventually(witness.lives)
    second = cli.start("run", "x", "--ttl", "3", *witness.command("brief"))
    assert "waiting" in second.stderr.readline()

    resigned = cli("resign", "x")

    assert (resigned.returncode, first.wait(30), second.wait(30)) == (0, 76, 0)
    (_, (_, last)), (_, (start, _)) = sorted(witness.lives().items())
    assert last < start
    assert "was lost (yielded)" in first.stderr.read()
    history = json.loads(cli("status", "x", "--json").stdout)["history"]
    assert [stint["how"] for stint in history] == ["yielded", "resigned"]


def test_a_wrapper_that_is_killed_takes_its_command_along_and_another_takes_over(cli, witness, eventually):
    first = cli.start("run", "x", "--ttl", "3", *witness.command("deaf"))
    eventually(witness.lives)
    second = cli.start("run", "x", "--ttl", "3", *witness.command("brief"))
    assert "waiting" in second.stderr.readline()

    killed_at = boot()
    first.kill()

    assert second.wait(30) == 0
    (_, (_, last)), (_, (start, _)) = sorted(witness.lives().items())
    assert last < killed_at + 3
    assert last < start


def test_a_wrapper_that_is_stopped_loses_its_command_and_says_so_when_it_runs_again(cli, witness, eventually):
    first = cli.start("run", "x", "--ttl", "3", *witness.command("deaf"))
    eventually(witness.lives)
    second = cli.start("run", "x", "--ttl", "3", *witness.command("brief"))
    assert "waiting" in second.stderr.readline()

    stopped_at = boot()
    first.send_signal(signal.SIGSTOP)
    second_code = second.wait(30)
    first.send_signal(signal.SIGCONT)

    assert (second_code, first.wait(30)) == (0, 76)
    (_, (_, last)), (_, (start, _)) = sorted(witness.lives().items())
    assert last < stopped_at + 3
    assert last < start


def test_a_command_whose_guardian_is_killed_is_killed_too(cli, witness, eventually):
    run = cli.start("run", "x", *witness.command("deaf"))
    eventually(witness.lives)

    os.kill(guardian_of(run.pid), signal.SIGKILL)

    assert run.wait(30) == 70
    assert not witness.processes()
    assert "guardian" in run.stderr.read()


def test_restart_campaigns_again_after_a_loss_with_a_new_token(cli, witness, eventually):
    run = cli.start("run", "--restart", "x", "--ttl", "3", *witness.command())
    eventually(witness.lives)

    cli("resign", "x", "--now")

    eventually(lambda: len(witness.lives()) == 2, within=40)
    run.terminate()
    assert run.wait(30) == 143
    (_, (_, last)), (_, (start, _)) = sorted(witness.lives().items())
    assert last < start


def test_restart_does_not_repeat_a_command_that_ended_by_itself(cli):
    ended = cli("run", "--restart", "x", "--", "sh", "-c", "echo once; exit 76")

    assert (ended.returncode, ended.stdout) == (76, "once\n")


@pytest.mark.parametrize(("number", "runs_again"), [(signal.SIGTERM, False), (signal.SIGHUP, True)])
def test_restart_does_not_follow_a_loss_after_the_command_was_told_to_end(cli, number, runs_again):
    """HUP may tell a daemon to read its settings anew; the others tell it to go, however long that takes it."""
    script = "trap 'echo heard' TERM HUP; echo begins; while :; do sleep 0.05; done"
    run = cli.start("run", "--restart", "x", "--ttl", "3", "--", "sh", "-c", script)
    assert run.stdout.readline() == "begins\n"
    run.send_signal(number)
    assert run.stdout.readline() == "heard\n"

    cli("resign", "x", "--now")

    if runs_again:
        assert "begins\n" in iter(run.stdout.readline, "")
    else:
        assert run.wait(30) == 76
        assert "begins" not in run.stdout.read()


# -- the store


def test_a_store_that_cannot_be_used_is_69(cli):
    ended = cli("run", "--url", "sqlite:////no/such/folder/x.db", "x", "--timeout", "1", "--", "echo", "never")

    assert (ended.returncode, ended.stdout) == (69, "")


@pytest.mark.parametrize("how", [["--timeout", "2"], ["--no-wait"]])
def test_a_store_that_does_not_answer_in_time_is_69(cli, tmp_path, how):
    cli("run", "x", "--", "true")
    locked = sqlite3.connect(tmp_path / "cli.db", isolation_level=None)
    locked.execute("BEGIN EXCLUSIVE")

    ended = cli("run", "x", *how, "--ttl", "2", "--", "echo", "never")

    locked.close()
    assert (ended.returncode, ended.stdout) == (69, "")
    assert "does not answer" in ended.stderr


def test_a_command_is_ended_in_time_when_the_store_stops_answering(cli, witness, eventually, tmp_path):
    run = cli.start("run", "x", "--ttl", "3", *witness.command("deaf"))
    eventually(witness.lives)
    locked = sqlite3.connect(tmp_path / "cli.db", isolation_level=None, timeout=10)
    locked.execute("BEGIN EXCLUSIVE")
    locked_at = boot()

    code = run.wait(30)

    locked.close()
    assert code == 76
    [(_, last)] = witness.lives().values()
    assert last < locked_at + 3


@pytest.mark.parametrize("words", [("run", "x"), ("cron", "x", "@every 1d", "--tolerance", "43200")])
def test_a_parent_that_ignores_sigchld_does_not_hide_the_exit_code(cli, words):
    ended = subprocess.run(
        [
            "sh",
            "-c",
            "trap '' CHLD; exec \"$@\"",
            "sh",
            sys.executable,
            "-m",
            "leaderlock",
            *words,
            "--",
            "sh",
            "-c",
            "exit 4",
        ],
        env={**os.environ, "LEADERLOCK_URL": cli.url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (4, "")
