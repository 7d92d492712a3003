"""``leaderlock doctor``: as people and programs call it."""

from __future__ import annotations

import json
import sys

import pytest

from leaderlock import ABSENT, Write


@pytest.fixture
def leader(cli):
    """A process that leads ``x`` until it is ended."""
    ready = "import signal; print('up', flush=True); signal.pause()"
    process = cli.start("run", "x", "--ttl", "6", "--label", "the boss", "--", sys.executable, "-c", ready)
    assert process.stdout.readline() == "up\n"
    return process


def only_layer(told):
    """Where these tests run in a container, its layer is warned of, and rightly."""
    return {one["code"] for one in told["findings"] if one["level"] in ("warning", "error")} <= {"container-layer"}


def test_it_says_who_is_there_and_what_holds(cli, leader):
    ended = cli("doctor")
    told = json.loads(cli("doctor", "--json").stdout)

    assert "store       sqlite, durability disk, namespace default" in ended.stdout
    assert "the boss on " in ended.stdout
    assert "leads 1" in ended.stdout
    assert "except among processes that open another file" in ended.stdout
    assert [f"  P{number}" in ended.stdout for number in range(1, 6)] == [True] * 5
    assert only_layer(told)
    assert ended.returncode == (1 if told["level"] == "warning" else 0)
    assert told["census"]["programs"][0]["leads"] == 1
    assert told["settled"] == {"longest": 30.0, "durability": "disk"}


def test_the_url_may_stand_alone(cli, tmp_path):
    told = json.loads(cli("doctor", f"sqlite:///{tmp_path}/other.db", "--json").stdout)

    assert f"{tmp_path}/other.db" in " ".join(one["text"] for one in told["findings"])


def test_a_warning_is_exit_code_one(cli, open_client):
    backend = open_client(cli.url)._engine.backend
    memory = backend.read(["name/odd"], timeout=5).memory
    backend.swap([Write("name/odd", ABSENT, b"not ours")], memory, timeout=5)

    ended = cli("doctor")

    assert ended.returncode == 1
    assert "name/odd" in ended.stdout


def test_what_cannot_be_opened_is_exit_code_69_and_told_all_the_same(cli, tmp_path):
    ended = cli("doctor", f"sqlite:///{tmp_path}/nowhere/x.db")
    told = json.loads(cli("doctor", f"sqlite:///{tmp_path}/nowhere/x.db", "--json").stdout)

    assert ended.returncode == 69
    assert "there is no directory" in ended.stdout
    assert (told["level"], told["findings"][0]["code"]) == ("error", "refused")


def test_other_terms_are_exit_code_69(cli):
    cli("init")

    ended = cli("doctor", "--longest", "60")

    assert ended.returncode == 69
    assert "terms-differ" in ended.stdout


def test_no_store_is_wrong_usage(cli):
    ended = cli("doctor", LEADERLOCK_URL="")

    assert ended.returncode == 64
    assert "no store is given" in ended.stderr


def test_status_says_what_waits_to_be_cleaned(cli, leader):
    cli("run", "other", "--", "true")

    told, quiet = cli("status"), cli("status", "--json")

    assert "to be cleaned away: 1 name" in told.stderr
    assert json.loads(quiet.stderr)["names"] == 1
