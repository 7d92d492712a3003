"""The demo shows what it claims, and leaves nothing behind; the examples run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leaderlock import connect

EXAMPLES = Path(__file__).parents[2] / "examples"


def workers(folder: Path) -> list[int]:
    """The processes that were told to use a file in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.fsencode(f"sqlite:///{folder}") in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def test_everything_the_demo_claims_was_seen(cli, tmp_path):
    ended = cli("demo", "--json", TMPDIR=str(tmp_path))

    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert len(told["verdicts"]) == 8
    assert all(told["verdicts"].values())
    assert not list(tmp_path.iterdir())


def test_the_demo_can_be_read(cli, tmp_path):
    ended = cli("demo", "--ttl", "1", TMPDIR=str(tmp_path))

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "is killed with -9" in ended.stdout
    assert "is_held is False" in ended.stdout
    assert ended.stdout.count("  seen  ") == 8
    assert "\x1b" not in ended.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_interrupted_ends_its_workers(cli, tmp_path, eventually, number, code):
    demo = cli.start("demo", TMPDIR=str(tmp_path))
    while " leads with token" not in demo.stdout.readline():
        pass

    demo.send_signal(number)

    assert demo.wait(30) == code
    assert not workers(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_the_demo_s_workers_import_from_where_a_bundled_demo_was_imported(tmp_path):
    program = "import sys; sys.path.append('only/here'); from leaderlock.cli import main; sys.exit(main(['demo']))"
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        while " leads with token" not in (line := demo.stdout.readline()):
            assert line

        paths = [Path(f"/proc/{worker}/environ").read_bytes() for worker in workers(tmp_path)]
        demo.terminate()

    assert len(paths) == 3
    assert all(b":only/here" in path for path in paths)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_demo_that_is_killed_takes_its_workers_along(cli, tmp_path, eventually):
    demo = cli.start("demo", TMPDIR=str(tmp_path))
    while " leads with token" not in demo.stdout.readline():
        pass

    demo.kill()

    eventually(lambda: not workers(tmp_path))


@pytest.mark.parametrize("words", [["--url", "sqlite:"], ["--ttl", "11"], ["--ttl", "0.1"]])
def test_what_the_demo_cannot_do_is_wrong_usage(cli, words):
    assert cli("demo", *words).returncode == 64


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_example_scheduler_gives_the_name_back(cli, tmp_path, end):
    command = [sys.executable, "-u", str(EXAMPLES / "scheduler.py"), str(tmp_path / "journal.txt")]
    environment = {**os.environ, "LEADERLOCK_URL": cli.url}
    program = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    polled = [line for line in (program.stdout.readline() for _ in range(2)) if "polls" in line]

    program.send_signal(end)
    program.communicate(timeout=30)

    with connect(cli.url) as client:
        left = client.election("scheduler").leader()
    assert len(polled) == 1
    assert left is None, "the name was not given back"
    assert program.returncode == 0


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_example_worker_counts_on_where_another_stopped(cli, tmp_path, end):
    command = [sys.executable, "-u", str(EXAMPLES / "worker.py"), str(tmp_path / "counter.txt")]
    environment = {**os.environ, "LEADERLOCK_URL": cli.url}
    first = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    counted = [line for line in (first.stdout.readline() for _ in range(2)) if "counts 1," in line]
    first.send_signal(end)
    first.communicate(timeout=30)
    with connect(cli.url) as client:
        left = client.election("counter").leader()
    second = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    went_on = [line for line in (second.stdout.readline() for _ in range(2)) if "counts 2," in line]
    second.send_signal(end)
    second.communicate(timeout=30)

    assert (len(counted), len(went_on)) == (1, 1)
    assert left is None, "the name was not given back"
    assert (first.returncode, second.returncode) == (0, 0)
