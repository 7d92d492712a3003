"""``leaderlock cron`` with real processes: once for each tick, silent elsewhere, and loud where something failed."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from leaderlock.cli._zone import local_zone

FAR = "@every 10000d"
"""A schedule whose nearest tick is, within its tolerance, not now: 2024 and 2052 are years away."""

DAY = ("@every 1d", "--tolerance", "43200")
"""A schedule of which every moment belongs to a tick, and (but for noon) to the same one during a test."""


def count(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def appending(log: Path, *more: str) -> list[str]:
    return ["--", "sh", "-c", f"echo $LEADERLOCK_TICK $LEADERLOCK_ATTEMPT $LEADERLOCK_TOKEN >> {log}; {';'.join(more)}"]


def until(is_true, within: float = 30.0) -> None:
    deadline = time.monotonic() + within
    while not is_true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


def events(stderr: str) -> dict[str, dict[str, object]]:
    return {event["leaderlock"]: event for event in map(json.loads, stderr.splitlines())}


def test_a_tick_is_run_once_and_skipped_in_silence(cli, tmp_path):
    log = tmp_path / "log"

    ended = [cli("cron", "job", *DAY, *appending(log)) for _ in range(3)]

    assert [(one.returncode, one.stdout, one.stderr) for one in ended] == [(0, "", "")] * 3
    assert count(log) == 1
    tick, attempt, token = log.read_text().split()
    assert tick.endswith("T00:00:00+00:00")
    assert attempt == "1"
    assert int(token) > 0


def test_it_says_why_when_it_is_asked(cli):
    cli("cron", "job", *DAY, "--label", "first", "--", "true")

    assert "is not run here: done (first (" in cli("cron", "job", *DAY, "-v", "--", "true").stderr
    told = events(cli("cron", "job", *DAY, "--json", "--", "true").stderr)
    assert told["skipped"]["reason"] == "done"


def test_json_tells_of_a_tick_what_the_page_promises(cli):
    told = events(cli("cron", "job", *DAY, "--json", "--", "true").stderr)

    common = {"leaderlock", "name", "token", "tick", "attempt"}
    assert told["elected"].keys() == common
    assert told["ended"].keys() == common | {"how", "reason", "exit_code", "waited", "ran"}
    assert told["elected"]["attempt"] == told["ended"]["attempt"] == 1
    assert 0 <= told["ended"]["waited"] < 60


def test_without_a_schedule_a_tick_is_a_minute(cli, tmp_path):
    log = tmp_path / "log"

    cli("cron", "job", *appending(log))

    assert log.read_text().split()[0][16:] == ":00+00:00"


def test_the_commands_own_exit_code_is_passed_on(cli):
    assert cli("cron", "job", *DAY, "--", "sh", "-c", "exit 3").returncode == 3
    assert cli("cron", "other", *DAY, "--", "/no/such/command").returncode == 127
    history = json.loads(cli("history", "job", "--json").stdout)
    assert [(run["how"], run["attempt"]) for run in history["history"]] == [("failed", 1)]


def test_a_name_that_only_looks_like_a_schedule_is_a_name(cli, tmp_path):
    assert cli("cron", "once a day", *appending(tmp_path / "log")).returncode == 0
    assert cli("cron", "@daily", *DAY, *appending(tmp_path / "log")).returncode == 0  # odd, but NAME and SCHEDULE
    assert count(tmp_path / "log") == 2


def test_a_host_without_the_command_leaves_the_tick_to_the_others(cli, tmp_path):
    log, plain = tmp_path / "log", tmp_path / "plain"
    plain.write_text("text")

    missing = cli("cron", "job", *DAY, "--", "no-such-program-anywhere")
    unfit = cli("cron", "job", *DAY, "--json", "--", str(plain))
    elsewhere = cli("cron", "job", *DAY, *appending(log))

    assert (missing.returncode, unfit.returncode, elsewhere.returncode) == (127, 126, 0)
    assert "no-such-program-anywhere: command not found" in missing.stderr
    assert events(unfit.stderr)["error"]["exit_code"] == 126
    assert log.read_text().split()[1] == "1"


def test_what_fails_is_run_again_and_told(cli, tmp_path):
    log = tmp_path / "log"
    ended = cli("cron", "job", *DAY, "--at-least-once", "--retries", "1", *appending(log, "exit 4"))

    assert ended.returncode == 4
    assert "is run again in" in ended.stderr
    assert [line.split()[1] for line in log.read_text().splitlines()] == ["1", "2"]


def test_a_command_that_runs_for_too_long_is_ended_with_124(cli):
    began = time.monotonic()
    ended = cli("cron", "job", *DAY, "--max-run", "0.3", "--grace", "0.3", "--", "sleep", "60")

    assert ended.returncode == 124
    assert "more than 0.3 s" in ended.stderr
    assert time.monotonic() - began < 30
    assert json.loads(cli("history", "job", "--json").stdout)["history"][0]["how"] == "too long"


def test_a_start_near_no_tick_is_a_mistake_in_the_line(cli, tmp_path):
    ended = cli("cron", "job", FAR, *appending(tmp_path / "log"))

    assert ended.returncode == 64
    assert "is near enough to now" in ended.stderr
    assert "--zone" in ended.stderr
    assert count(tmp_path / "log") == 0


def test_a_missed_tick_is_run_where_that_is_asked_for(cli, tmp_path):
    log = tmp_path / "log"

    assert cli("cron", "job", FAR, "--misfire", "run", *appending(log)).returncode == 0

    assert log.read_text().startswith("2024-10-04T00:00:00")


def test_by_hand_it_runs_whatever_the_schedule_says(cli, tmp_path):
    log = tmp_path / "log"

    for _ in range(2):
        assert cli("cron", "job", "--now", *appending(log)).returncode == 0
    assert cli("cron", "job", *DAY, *appending(log)).returncode == 0

    assert count(log) == 3


def test_by_hand_it_does_not_run_beside_itself(cli):
    running = cli.start("cron", "job", *DAY, "--", "sh", "-c", "echo begun; sleep 60")
    assert running.stdout.readline() == "begun\n"

    ended = cli("cron", "job", "--now", "--", "true")

    assert ended.returncode == 75
    assert "overlap" in ended.stderr
    assert cli("cron", "job", *DAY, "--", "true").returncode == 0


def test_a_paused_job_is_not_run(cli, tmp_path):
    log = tmp_path / "log"

    assert cli("pause", "job").stdout == "job: is paused\n"
    assert cli("pause", "job").stdout == "job: was paused already\n"
    assert cli("cron", "job", *DAY, *appending(log)).returncode == 0
    assert count(log) == 0
    assert "paused by" in cli("status", "job").stdout
    assert cli("resume", "job").stdout == "job: goes on\n"
    assert json.loads(cli("resume", "job", "--json").stdout) == {"name": "job", "changed": False, "known": False}
    assert cli("cron", "job", *DAY, *appending(log)).returncode == 0
    assert count(log) == 1


@pytest.mark.parametrize(
    ("variables", "who"),
    [
        ({"SUDO_USER": "anna", "LOGNAME": "root"}, "anna"),
        ({"SUDO_USER": "", "LOGNAME": "bert"}, "bert"),
        ({"SUDO_USER": "a\x1bb" + "n" * 300}, "a?bnnn"),
    ],
)
def test_a_job_is_paused_by_a_person(cli, variables, who):
    cli("pause", "job", **variables)

    assert f"paused by {who}" in cli("status", "job").stdout


def test_pausing_a_name_that_no_job_has_is_doubted(cli):
    first = cli("pause", "repotr")
    told = json.loads(cli("pause", "repotr", "--json").stdout)
    cli("cron", "report", *DAY, "--", "true")
    known = cli("pause", "report", "--json")

    assert (first.returncode, first.stdout) == (0, "repotr: is paused\n")
    assert "no job of the name 'repotr' has run here yet: is it spelled right?" in first.stderr
    assert told == {"name": "repotr", "changed": False, "known": False}
    assert (json.loads(known.stdout), known.stderr) == ({"name": "report", "changed": True, "known": True}, "")


def test_a_name_that_run_leads_is_no_jobs(cli):
    running = cli.start("run", "job", "--", "sh", "-c", "echo begun; sleep 60")
    running.stdout.readline()

    for words in (("cron", "job", *DAY, "--", "true"), ("pause", "job")):
        ended = cli(*words)

        assert ended.returncode == 64
        assert "it is led by something that is no job" in ended.stderr


def test_a_job_that_runs_cannot_be_paused_in_no_time(cli):
    running = cli.start("cron", "job", *DAY, "--", "sh", "-c", "echo begun; sleep 60")
    running.stdout.readline()

    assert cli("pause", "job", "--timeout", "0.3").returncode == 75


def test_who_waits_to_pause_a_job_that_runs_is_told_so(cli):
    running = cli.start("cron", "job", *DAY, "--", "sh", "-c", "echo begun; sleep 60")
    running.stdout.readline()

    shown = cli("pause", "job", "--timeout", "0.3").stderr

    assert "waiting for 'job': somebody else leads" in shown
    assert shown.count("sh (") == 2
    assert "'job' was not paused: not elected for 'job' within 0.3 s" in shown


def test_who_waits_to_resume_a_job_that_runs_is_told_so(cli):
    cli("pause", "job")
    running = cli.start("cron", "job", *DAY, "--now", "--", "sh", "-c", "echo begun; sleep 60")
    running.stdout.readline()

    told = events(cli("resume", "job", "--timeout", "0.3", "--json").stderr)

    assert "somebody else leads" in told["waiting"]["why"]
    assert told["error"]["message"].startswith("'job' was not resumed: ")


def test_history_and_status_tell_of_it(cli):
    assert cli("history", "job").stdout == ""
    assert json.loads(cli("history", "job", "--json").stdout) is None
    cli("cron", "job", *DAY, "--label", "me", "--", "true")

    table = cli("history", "job").stdout.splitlines()
    assert table[0].split()[:2] == ["TICK", "STARTED"]
    assert " ok " in table[1]
    assert "me (" in table[1]
    shown = cli("status", "job").stdout
    assert "@every 86400s" in shown
    assert "next" in shown
    assert "next tick" in cli("status").stdout
    assert json.loads(cli("status", "job", "--json").stdout)["job"]["next"].endswith("+00:00")


def test_a_store_that_cannot_be_used_is_told(cli):
    ended = cli("cron", "job", *DAY, "--url", "sqlite:////no/such/folder/x.db", "--", "true")

    assert ended.returncode == 69
    assert ended.stderr


def test_an_outage_is_not_mailed_by_who_is_quiet(cli):
    away = ("--url", "etcd://127.0.0.1:1", "--ttl", "0.5")

    loud = cli("cron", "job", *DAY, *away, "--", "true")
    quiet = cli("cron", "job", *DAY, *away, "--quiet", "--", "true")
    refused = cli("cron", "job", *DAY, "--url", "sqlite:////no/such/folder/x.db", "--quiet", "--", "true")

    assert (loud.returncode, quiet.returncode, refused.returncode) == (69, 69, 69)
    assert (loud.stderr != "", quiet.stderr, refused.stderr != "") == (True, "", True)


def test_by_hand_and_quiet_it_does_not_say_who_runs_it(cli):
    running = cli.start("cron", "job", *DAY, "--", "sh", "-c", "echo begun; sleep 60")
    assert running.stdout.readline() == "begun\n"

    ended = cli("cron", "job", "--now", "--quiet", "--", "true")

    assert (ended.returncode, ended.stderr) == (75, "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the guardian's group in /proc")
@pytest.mark.slow
def test_a_runner_killed_with_9_is_taken_over_under_a_higher_token_and_its_late_write_refused(cli, tmp_path):
    """A standby takes the tick over inside its window; what the dead one's command still writes, a fence refuses."""
    log, report = tmp_path / "log", tmp_path / "report"
    late = (
        "import os, sys, time, signal\n"
        "from leaderlock import StaleToken\n"
        "from leaderlock.fences.file import FencedFile\n"
        "token = int(os.environ['LEADERLOCK_TOKEN'])\n"
        "report = FencedFile(sys.argv[2])\n"
        "report.stamp(token)\n"
        "with open(sys.argv[1], 'a') as log: print(token, os.environ['LEADERLOCK_ATTEMPT'], file=log, flush=True)\n"
        "if os.environ['LEADERLOCK_ATTEMPT'] == '1': time.sleep(600)\n"
        "report.write(b'by %d' % token, token=token)\n"
    )
    line = ["cron", "job", *DAY, "--at-least-once", "--ttl", "2", "--", sys.executable, "-c", late, log, report]
    first = cli.start(*line)
    until(lambda: count(log) == 1)
    second = cli.start("cron", "-v", *line[1:])
    assert "waiting for 'job'" in second.stderr.readline()
    assert count(log) == 1
    os.kill(first.pid, signal.SIGKILL)
    killed = time.monotonic()

    assert second.wait(30) == 0

    assert time.monotonic() - killed < 10
    tokens = [int(text.split()[0]) for text in log.read_text().splitlines()]
    assert [text.split()[1] for text in log.read_text().splitlines()] == ["1", "2"]
    assert tokens[0] < tokens[1]
    from leaderlock import StaleToken
    from leaderlock.fences.file import FencedFile

    with pytest.raises(StaleToken):
        FencedFile(report).write(b"by the dead one", token=tokens[0])
    assert FencedFile(report).read() == b"by %d" % tokens[1]
    history = json.loads(cli("history", "job", "--json").stdout)["history"]
    assert [run["how"] for run in history] == ["died", "ok"]


@pytest.mark.slow
def test_a_runner_that_is_told_to_end_leaves_the_tick_to_who_stands_by(cli, tmp_path):
    log = tmp_path / "log"
    line = ["cron", "job", *DAY, "--at-least-once", *appending(log, "[ $LEADERLOCK_ATTEMPT = 2 ] || sleep 60")]
    first = cli.start(*line)
    until(lambda: count(log) == 1)
    second = cli.start(*line)
    first.terminate()

    assert first.wait(30) == 143
    assert second.wait(30) == 0
    assert count(log) == 2


def test_ctrl_c_while_it_stands_by_withdraws_it(cli):
    running = cli.start("cron", "job", *DAY, "--at-least-once", "--", "sh", "-c", "echo begun; sleep 60")
    running.stdout.readline()
    waiting = cli.start("cron", "job", *DAY, "--at-least-once", "-v", "--", "true")
    assert "waiting for 'job': somebody else leads" in waiting.stderr.readline()
    waiting.send_signal(signal.SIGINT)

    assert waiting.wait(30) == 130


@pytest.mark.parametrize(
    ("variables", "zone"),
    [
        ({"TZ": "Asia/Tokyo"}, "Asia/Tokyo"),
        ({"TZ": ":Asia/Tokyo"}, "Asia/Tokyo"),
        ({"TZ": "/usr/share/zoneinfo/Asia/Tokyo"}, "Asia/Tokyo"),
        ({"CRON_TZ": "Europe/Berlin", "TZ": "Asia/Tokyo"}, "Europe/Berlin"),
    ],
)
def test_the_time_zone_is_that_of_the_hosts_cron(monkeypatch, variables, zone):
    monkeypatch.delenv("CRON_TZ", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert local_zone() == zone


@pytest.mark.parametrize("prefix", ["", ":"])
def test_a_path_is_as_good_as_a_name_for_the_time_zone(monkeypatch, tmp_path, prefix):
    for name in ("CRON_TZ", "TZ"):
        monkeypatch.delenv(name, raising=False)
    systems = local_zone()
    link = tmp_path / "localtime"
    link.symlink_to("/usr/share/zoneinfo/Asia/Tokyo")

    monkeypatch.setenv("TZ", f"{prefix}/etc/localtime")
    assert local_zone() == systems
    monkeypatch.setenv("TZ", f"{prefix}{link}")
    assert local_zone() == "Asia/Tokyo"


@pytest.mark.parametrize("value", ["<+03>-3", "CET-1CEST,M3.5.0,M10.5.0/3", "Mars/Olympus", ":/etc/hostname"])
def test_a_variable_that_names_no_time_zone_is_told_and_never_passed_over(cli, value):
    ended = cli("cron", "job", "* * * * *", "--", "true", TZ=value)

    assert ended.returncode == 64
    assert f"TZ={value!r} names no time zone" in ended.stderr
    assert "--zone" in ended.stderr
    assert cli("cron", "job", "* * * * *", "--zone", "Asia/Tokyo", "--", "true", TZ=value).returncode == 0


def test_without_variables_the_time_zone_is_the_systems(monkeypatch):
    from zoneinfo import ZoneInfo

    for name in ("CRON_TZ", "TZ"):
        monkeypatch.delenv(name, raising=False)

    assert ZoneInfo(local_zone())


def test_a_line_that_was_done_elsewhere_imports_nothing_heavy(run_program, tmp_path):
    heavy = ("asyncio", "importlib.metadata", "shutil", "secrets", "ssl", "tenacity", "leaderlock.cli.status")
    ended = run_program(
        "import sys; from leaderlock.cli import main\n"
        "line = ['cron', '--url', sys.argv[1], 'x', '@every 1d', '--tolerance', '43200', '--', 'true']\n"
        "code = main(line)\n"
        "print(code, *(name for name in sys.argv[2:] if name in sys.modules))",
        f"sqlite:///{tmp_path}/x.db",
        *heavy,
    )

    assert ended.stdout.split() == ["0"], ended.stderr


# -- how it is written


@pytest.mark.parametrize(
    "words",
    [
        ("job", "--tolerance", "43200", "@every 1d"),
        ("--tolerance", "43200", "job", "-v", "@every 1d"),
        ("-v", "job", "@every 1d", "--tolerance", "43200"),
    ],
)
def test_options_may_stand_between_the_name_and_its_schedule(cli, tmp_path, words):
    ended = cli("cron", *words, *appending(tmp_path / "log"))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "log").read_text().split()[0].endswith("T00:00:00+00:00")


@pytest.mark.parametrize("words", [("0", "3", "*", "*", "*"), ("@every", "90s"), ("--now", "0", "3", "*", "*", "*")])
def test_a_schedule_that_was_not_quoted_gets_a_hint(cli, words):
    ended = cli("cron", "job", *words, "--", "true")

    assert ended.returncode == 64
    assert "SCHEDULE is one word, so quote it" in ended.stderr
    assert f"not: {' '.join(word for word in words if word[0] != '-')}" in ended.stderr


def test_an_empty_schedule_behind_an_option_is_an_error(cli):
    ended = cli("cron", "job", "--now", "", "--", "true")

    assert ended.returncode == 64
    assert "argument SCHEDULE: it is empty" in ended.stderr


def test_a_command_whose_name_is_no_label_is_run_under_as_much_of_it_as_can_be(cli, tmp_path):
    program = tmp_path / ("long\x1b" + "n" * 240)
    program.write_text("#!/bin/sh\ntrue\n")
    program.chmod(0o755)

    ended = cli("cron", "job", *DAY, "--", str(program))

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "long?nnn" in cli("history", "job").stdout
