"""``status``, ``watch``, ``resign``, ``init`` and ``backends``: what people see and do from outside."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import datetime

import pytest

from leaderlock import ABSENT, Holder, Write, connect
from leaderlock import _connect as connecting


@pytest.fixture
def leader(cli):
    """A process that leads ``x`` until it is ended."""
    ready = "import os, signal; print(os.environ['LEADERLOCK_TOKEN'], flush=True); signal.pause()"
    process = cli.start("run", "x", "--ttl", "6", "--label", "the boss", "--", sys.executable, "-c", ready)
    process.token = int(process.stdout.readline())
    return process


def test_status_shows_who_leads(cli, leader):
    text = cli("status", "x").stdout
    told = json.loads(cli("status", "x", "--json").stdout)

    assert f"the boss ({os.uname().nodename}, pid {leader.pid})" in text
    assert "if it does not move" in text
    assert "settled" in text
    assert told["leader"]["pid"] == leader.pid
    assert told["leader"]["token"] == told["last_token"] == leader.token
    assert 0 <= told["moved_ago"] < 60
    assert 0 <= told["free_in"] <= 6.1
    assert told["settled"] is True
    assert [stint["how"] for stint in told["history"]] == ["leads"]


def test_status_without_a_name_lists_them(cli, leader):
    cli("run", "other", "--", "true")

    lines = cli("status").stdout.splitlines()
    told = json.loads(cli("status", "--json").stdout)

    assert [line.split()[0] for line in lines] == ["other", "x"]
    assert "nobody leads" in lines[0]
    assert f"pid {leader.pid}" in lines[1]
    assert [one["name"] for one in told] == ["other", "x"]


def test_status_of_nothing(cli):
    ended = cli("status")

    assert (ended.returncode, ended.stdout) == (0, "")
    assert "nobody has led anything there" in ended.stderr
    assert json.loads(cli("status", "--json").stdout) == []
    assert "nobody yet" in cli("status", "never").stdout


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["status"], ""),
        (["status", "--json"], "[]\n"),
        (["status", "x"], "x\n  leader    nobody yet\n"),
        (["history", "x"], ""),
        (["history", "x", "--json"], "null\n"),
        (["resign", "x"], "x: nobody leads\n"),
    ],
)
def test_looking_at_a_sqlite_file_that_is_not_there_does_not_make_one(cli, words, shown):
    ended = cli(*words)

    assert (ended.returncode, ended.stdout) == (0, shown)
    assert f"there is no store at {cli.folder}/cli.db yet" in ended.stderr
    assert list(cli.folder.iterdir()) == []


def test_doctor_says_that_it_made_the_file(cli):
    assert f"there is no store at {cli.folder}/cli.db yet" in cli("doctor").stderr
    assert "there is no store" not in cli("doctor").stderr


def test_a_name_that_cannot_be_read_does_not_hide_the_others(cli, open_client):
    cli("run", "fine", "--", "true")
    backend = open_client(cli.url)._engine.backend
    memory = backend.read(["name/odd"], timeout=5).memory
    backend.swap([Write("name/odd", ABSENT, b"not ours")], memory, timeout=5)

    ended = cli("status")

    assert ended.returncode == 69
    assert "fine" in ended.stdout
    assert "'odd'" in ended.stderr


def test_looking_opens_no_session(cli, leader, open_client):
    def sessions() -> set[str]:
        backend = client._engine.backend
        return {key for key, _ in backend.scan("session/", timeout=5)}

    client = open_client(cli.url)
    before = sessions()

    cli("status")
    cli("status", "x")
    cli("status", "x", "--json")

    assert sessions() == before


def test_watch_tells_every_change(cli, leader):
    watch = cli.start("watch", "x", "--json")
    first = json.loads(watch.stdout.readline())
    leader.terminate()
    second = json.loads(watch.stdout.readline())
    watch.terminate()

    assert first["leader"]["token"] == leader.token
    assert second["leader"] is None


def test_watch_is_interrupted_in_silence(cli):
    watch = cli.start("watch", "x")
    assert watch.stdout.readline() == "nobody leads\n"

    watch.send_signal(2)

    assert watch.wait(30) == 130
    assert watch.stderr.read() == ""


def test_resign_ends_the_term(cli, leader):
    ended = cli("resign", "x", "--json")

    assert (ended.returncode, json.loads(ended.stdout)) == (0, {"name": "x", "was_led": True, "now": False})
    assert leader.wait(30) == 76
    assert json.loads(cli("status", "x", "--json").stdout)["leader"] is None


def test_who_waits_for_a_resignation_is_told_for_whose(cli, leader):
    ended = cli("resign", "x")

    assert ended.stdout == "x: that term is over\n"
    assert "waiting: 'x' is led by the boss (" in ended.stderr
    assert str(leader.token) in ended.stderr


def test_resign_of_a_name_that_nobody_leads_is_no_error(cli):
    ended = cli("resign", "x")

    assert (ended.returncode, ended.stdout) == (0, "x: nobody leads\n")


def test_resign_gives_up_waiting_and_says_that_the_request_stands(cli):
    deaf = "trap '' TERM; echo up; while :; do sleep 0.1; done"
    leader = cli.start("run", "x", "--ttl", "20", "--grace", "10", "--", "sh", "-c", deaf)
    assert leader.stdout.readline() == "up\n"

    ended = cli("resign", "x", "--timeout", "0.2")

    assert (ended.returncode, ended.stdout) == (75, "")
    assert "it may still act" in ended.stderr


def test_resign_now_says_what_it_breaks(cli, leader):
    ended = cli("resign", "x", "--now")

    assert ended.returncode == 0
    assert "two may act" in ended.stderr
    assert leader.wait(30) == 76


def test_init_settles_once(cli):
    first, second = cli("init", "--json"), cli("init")

    assert json.loads(first.stdout) == {"namespace": "default", "settled_now": True}
    assert (second.returncode, second.stdout) == (0, "default: was settled already\n")


def test_init_refuses_other_terms_unless_forced(cli):
    cli("init")

    refused, forced = cli("init", "--longest", "60"), cli("init", "--longest", "60", "--force")

    assert refused.returncode == 69
    assert "--force" in refused.stderr
    assert forced.returncode == 0


def test_backends_lists_drivers_and_traits(cli):
    text = cli("backends").stdout
    told = json.loads(cli("backends", "--json").stdout)

    assert "sqlite:" in text
    assert "durability" in text
    assert "sqlite" in [driver["scheme"] for driver in told["drivers"]]
    assert told["traits"]["store"] == "sqlite"
    assert json.loads(cli("backends", "--json", LEADERLOCK_URL="").stdout)["traits"] is None


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_are_for_terminals_that_did_not_decline(cli, environment, coloured):
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm", "LEADERLOCK_URL": cli.url, **environment}
    env.pop("NO_COLOR", None) if coloured else None
    subprocess.run([sys.executable, "-m", "leaderlock", "status", "x"], stdout=theirs, env=env, check=True, timeout=60)
    os.close(theirs)

    shown = os.read(ours, 65536).decode()

    os.close(ours)
    assert ("\x1b[" in shown) == coloured


def test_a_reader_that_goes_away_is_no_error(cli):
    line = f'"{sys.executable}" -m leaderlock status x | true; "{sys.executable}" -m leaderlock status | head -0'

    env = {**os.environ, "LEADERLOCK_URL": cli.url}
    ended = subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True, timeout=60, check=False)

    assert "Traceback" not in ended.stderr
    assert "Exception" not in ended.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["backends"], ["status", "--json"], ["watch", "x"]])
def test_what_cannot_be_written_is_told_in_a_line(cli, words, unbuffered):
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "leaderlock", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=os.environ | {"LEADERLOCK_URL": cli.url, "PYTHONUNBUFFERED": unbuffered},
            check=False,
        )

    assert ended.returncode == 74
    *_, line = ended.stderr.splitlines()
    assert "cannot write to stdout: No space left on device" in line


@pytest.mark.parametrize(
    "words", [["status"], ["status", "x", "--json"], ["backends"], ["--version"], ["run", "--help"]]
)
def test_a_stdout_that_is_closed_or_full_is_74_without_a_traceback(cli, words):
    cli("run", "x", "--", "true")
    leaderlock = [sys.executable, "-m", "leaderlock", *words]

    for redirection in (">&-", ">/dev/full"):
        ended = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", *leaderlock],
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            env=os.environ | {"LEADERLOCK_URL": cli.url},
            check=False,
        )

        assert (ended.returncode, "cannot write to stdout" in ended.stderr) == (74, True)
        assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "b\\xfccher-\\u2603"), ("utf-8", "bücher-\N{SNOWMAN}")])
def test_what_stdout_cannot_encode_is_shown_escaped(cli, encoding, shown):
    cli("run", "bücher-\N{SNOWMAN}", "--", "true")

    ended = cli("status", PYTHONIOENCODING=encoding)
    helped = cli("--help", PYTHONIOENCODING=encoding)

    assert (ended.returncode, ended.stdout.split()[0]) == (0, shown)
    assert (helped.returncode, helped.stderr) == (0, "")


def test_a_strangers_label_cannot_move_the_cursor(cli, monkeypatch):
    holder = Holder("host\x1b[2J", 7, "program", "label\r\x07\udcff")
    monkeypatch.setattr(connecting, "_this_process", lambda label: holder)
    with connect(cli.url) as client, client.election("x"):
        shown = [cli(*words).stdout for words in (["status"], ["status", "x"], ["doctor"])]
        watching = cli.start("watch", "x")
        shown.append(watching.stdout.readline())
        watching.terminate()
        refused = cli("run", "x", "--no-wait", "--", "true")

    for text in (*shown, refused.stderr):
        assert "\\r\\x07" in text
        assert not set("\x1b\r\x07") & set(text)


def test_watch_ends_when_its_reader_has_gone(cli):
    watch = cli.start("watch", "x")
    assert watch.stdout.readline() == "nobody leads\n"

    watch.stdout.close()

    assert watch.wait(4) == 0  # before it looks again of its own accord
    assert watch.stderr.read() == ""


def test_json_tells_moments_in_one_way_everywhere(cli, leader):
    watch = cli.start("watch", "x", "--json")
    seen = json.loads(watch.stdout.readline())["leader"]
    watch.terminate()
    told = json.loads(cli("status", "x", "--json").stdout)

    assert seen["since"] == told["leader"]["since"]
    for told_of, moment in (
        (seen, "since"),
        (told["leader"], "since"),
        (told["leader"], "renewed_at"),
        (told["history"][0], "since"),
    ):
        assert datetime.fromisoformat(told_of[f"{moment}_iso"]).timestamp() == pytest.approx(told_of[moment], abs=1e-3)
    assert told["history"][0]["until_iso"] is told["history"][0]["until"] is None
