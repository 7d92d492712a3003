"""How the command line is called: options in any order, usage errors with words, help, and a page that has it all."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pytest

import leaderlock
from leaderlock import connect
from leaderlock.cli import _options

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")


def parsers() -> dict[str, _options.Parser]:
    return dict(_options._parser(set(_options.COMMANDS))[1])


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]


@pytest.mark.parametrize("command", _options.COMMANDS)
def test_every_command_and_option_is_on_the_page(command):
    section = re.search(rf"^## {command}\n(.*?)(?=^## |\Z)", PAGE, flags=re.M | re.S)
    common = re.search(r"^## Options of all commands\n(.*?)(?=^## )", PAGE, flags=re.M | re.S)

    assert section, f"docs/cli.md has no section for {command}"
    for option in options_of(parsers()[command]):
        assert f"`{option}" in section[1] + common[1], f"docs/cli.md does not mention {command} {option}"


def test_every_exit_code_is_on_the_page():
    from leaderlock.cli._talk import Exit

    for code in Exit:
        assert f"\n| {code.value} |" in PAGE


@pytest.mark.parametrize("command", _options.COMMANDS)
def test_every_command_has_help_with_examples(cli, command):
    told = cli(command, "--help")

    assert told.returncode == 0
    assert f"leaderlock {command}" in told.stdout.partition("examples:")[2]
    assert told.stderr == ""


def test_help_and_version_need_no_store(cli):
    assert "commands:" in cli("--help", LEADERLOCK_URL="").stdout
    assert cli("--version", LEADERLOCK_URL="").stdout == f"leaderlock {leaderlock.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "--namespace", "n", "status", "x"],
        ["status", "--json", "--namespace", "n", "x"],
        ["status", "x", "--json", "--namespace", "n"],
        ["--json", "status", "--namespace=n", "x"],
    ],
)
def test_common_options_stand_anywhere(cli, words):
    assert json.loads(cli(*words).stdout)["name"] == "x"


def test_what_stands_behind_the_dashes_is_the_commands(cli):
    ended = cli("run", "x", "--", "echo", "--json", "--", "-h")

    assert (ended.stdout, ended.stderr) == ("--json -- -h\n", "")


@pytest.mark.parametrize(
    ("words", "words_of_help"),
    [
        ([], "COMMAND"),
        (["dance"], "invalid choice: 'dance'"),
        (["run"], "NAME"),
        (["run", "x"], "leaderlock run [options] NAME -- COMMAND"),
        (["run", "x", "--"], "leaderlock run [options] NAME -- COMMAND"),
        (["run", "x", "sh", "-c", "exit 3"], "a command to run stands behind --"),
        (["run", "--", "true"], "NAME"),
        (["run", "a//b", "--", "true"], "'.' or '..' parts between slashes"),
        (["run", "", "--", "true"], "must not be empty"),
        (["run", "x", "--ttl", "0.01", "--", "true"], "between 0.1 s and 86400 s"),
        (["run", "x", "--ttl", "soon", "--", "true"], "'soon' is not a number of seconds"),
        (["run", "x", "--ttl", "60", "--", "true"], "longest=60"),
        (["run", "x", "--timeout", "-1", "--", "true"], "'-1' is not a number of seconds"),
        (["run", "x", "--ttl", "10", "--grace", "6", "--", "true"], "Use at most 5 s, or --ttl 12"),
        (["run", "x", "--url", "file.db", "--", "true"], "sqlite:///file.db"),
        (["run", "x", "--url", "carrier-pigeon:x", "--", "true"], "no driver for 'carrier-pigeon'"),
        (["run", "x", "--namespace", "a/b", "--", "true"], "must not have slashes"),
        (["run", "x", "--namespace", "", "--", "true"], "argument --namespace: it is empty"),
        (["run", "x", "--label", "", "--", "true"], "argument --label: it is empty"),
        (["doctor", ""], "argument URL: it is empty"),
        (["doctor", "sqlite:///a.db", "--url", "sqlite:///b.db"], "two stores are named"),
        (["status", "--url", "sqlite:///not-there.db\n"], "begins or ends with white space"),
        (["history", "x", "--namespace", "a/b"], "must not have slashes"),
        (["resign", "x", "--ttl", "60"], "longest=60"),
        (["status", "--namespace="], "argument --namespace: it is empty"),
        (["status", "--url", ""], "argument --url: it is empty"),
        (["status", "x", "--", "true"], "nothing to run here"),
        (["cron", "x", "* * * * *"], "leaderlock cron [options] NAME [SCHEDULE] -- COMMAND"),
        (["cron", "*/5 * * * *", "--", "true"], 'leaderlock cron NAME "*/5 * * * *" -- true'),
        (["cron", "--now", "@every 40s", "--", "true"], "'@every 40s' is a SCHEDULE, and NAME is missing"),
        (["cron", "@daily", "-v", "--", "true"], "'@daily' is a SCHEDULE, and NAME is missing"),
        (["cron", "x", "", "--", "true"], "argument SCHEDULE: it is empty"),
        (["cron", "x", "--zone", "", "--", "true"], "argument --zone: it is empty"),
        (["cron", "x", "* * * * *", "echo"], "a command to run stands behind --"),
        (["cron", "x", "0 0 31 2 *", "--", "true"], "no month that is named has such a day"),
        (["cron", "x", "0 0 3 * * *", "--", "true"], "seconds come first or last"),
        (["cron", "x", "@every 0s", "--", "true"], "an interval of 0 s"),
        (["cron", "x", "--zone", "Mars/Olympus", "--", "true"], "such as 'Europe/Berlin'"),
        (["cron", "x", "--retries", "2", "--", "true"], "say --at-least-once too"),
        (["cron", "x", "--retries", "-2", "--at-least-once", "--", "true"], "'-2' is not a number of times"),
        (["cron", "x", "--", ""], "the command to run is empty"),
        (["run", "x", "--", "", "argument"], "the command to run is empty"),
        (["cron", "x", "--tolerance", "1h", "--", "true"], "'1h' is not a number of seconds"),
        (["cron", "x", "--ttl", "10", "--grace", "6", "--", "true"], "Use at most 5 s"),
        (["status", "--tt", "3"], "--tt"),
        (["run", "--tmeout", "3", "x", "--", "true"], "unrecognized arguments: --tmeout\n"),
        (["resign"], "NAME"),
    ],
)
def test_wrong_usage_is_64_with_words(cli, words, words_of_help):
    ended = cli(*words)

    assert (ended.returncode, ended.stdout) == (64, "")
    assert words_of_help in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("words", [["run", "x", "--", "true"], ["status"], ["resign", "x"], ["init"], ["watch", "x"]])
def test_no_store_is_an_error_that_names_the_choices(cli, words):
    ended = cli(*words, LEADERLOCK_URL="")

    assert ended.returncode == 64
    assert all(choice in ended.stderr for choice in ("LEADERLOCK_URL", "sqlite:", "redis://", "zk://", "etcd://"))


def test_json_tells_errors_too(cli):
    ended = cli("--json", "status", "--url", "sqlite:////no/such/folder/x.db")

    [told] = map(json.loads, ended.stderr.splitlines())
    assert told["leaderlock"] == "error"
    assert told["exit_code"] == ended.returncode == 69


@pytest.mark.parametrize(
    "words",
    [["--json", "status", "--bogus"], ["run", "--json", "x"], ["cron", "x", "--json", "--zone", "", "--", "true"]],
)
def test_json_tells_of_wrong_usage_too(cli, words):
    ended = cli(*words)

    [told] = map(json.loads, ended.stderr.splitlines())
    assert (ended.returncode, ended.stdout) == (64, "")
    assert (told["leaderlock"], told["kind"], told["exit_code"]) == ("error", "Usage", 64)
    assert told["message"]


def test_json_behind_the_dashes_is_the_commands_own(cli):
    ended = cli("status", "--", "--json")

    assert ended.returncode == 64
    assert ended.stderr.startswith("usage: ")


def test_a_mistake_of_the_callers_is_wrong_usage(cli):
    with connect(cli.url) as client, client.election("x") as lease:
        lease.save_note(b"my own")

    ended = cli("pause", "x")

    assert ended.returncode == 64
    assert "cannot be paused" in ended.stderr


@pytest.mark.parametrize("words", [["run", "x", "--", "true"], ["status"], ["doctor"], ["cron", "x", "--", "true"]])
def test_a_store_in_memory_elects_nobody_on_a_command_line(cli, words):
    ended = cli(*words, LEADERLOCK_URL="memory:")

    assert ended.returncode == 64
    assert "memory: store is this very process's" in ended.stderr


def test_the_traits_of_a_store_in_memory_are_shown(cli):
    assert cli("backends", "--url", "memory:").returncode == 0
