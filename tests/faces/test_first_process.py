"""``leaderlock run`` as the first process of a container, to which falls what nobody else there does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="process namespaces")

APART = ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child"]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def lead(cli):
    """Somebody else leads."""
    leader = cli.start("run", "x", "--", "sh", "-c", "echo up; exec sleep 60")
    assert leader.stdout.readline() == "up\n"
    return leader


class Container:
    """A process namespace in which ``leaderlock`` is process 1."""

    def __init__(self, cli, *words: object) -> None:
        self.outside = subprocess.Popen(
            [*APART, sys.executable, "-m", "leaderlock", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "LEADERLOCK_URL": cli.url},
        )
        assert self.outside.stdout is not None
        self.told = self.outside.stdout

    @property
    def first(self) -> int:
        """Its process 1, as it is numbered outside."""
        [pid] = children(self.outside.pid)
        return pid

    def leave_an_orphan(self) -> None:
        """As a shell does that ``docker exec`` has run."""
        enter = ["nsenter", "--target", str(self.first), "--pid", "--mount"]
        subprocess.run([*enter, "sh", "-c", "sleep 0.01 & exit 0"], check=True)


@pytest.fixture
def contained(cli) -> Iterator[object]:
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no right to mount /proc in a namespace of its own")
    started: list[Container] = []

    def start(*words: object) -> Container:
        started.append(Container(cli, *words))
        return started[-1]

    yield start
    for container in started:
        container.outside.kill()
        container.outside.wait()
        container.told.close()


def test_the_exit_code_is_the_commands(contained):
    one = contained("run", "x", "--", "sh", "-c", "exit 7")

    assert one.outside.wait(30) == 7


@pytest.mark.parametrize(
    ("command", "code"),
    [("trap 'exit 3' TERM; echo up; while :; do sleep 0.05; done", 3), ("echo up; exec sleep 60", 143)],
)
def test_the_command_is_sent_what_the_container_is_sent(contained, command, code):
    one = contained("run", "x", "--", "sh", "-c", command)
    assert one.told.readline() == "up\n"

    os.kill(one.first, signal.SIGTERM)

    assert one.outside.wait(30) == code


def test_a_candidate_that_waits_withdraws_at_once(contained, cli):
    leader = lead(cli)
    one = contained("run", "x", "--", "true")
    assert "waiting for 'x'" in one.told.readline()

    os.kill(one.first, signal.SIGTERM)

    assert one.outside.wait(30) == 143
    assert leader.poll() is None


def test_what_the_command_leaves_behind_is_ended_and_buried(contained):
    script = "sleep 60 & (setsid sleep 60 &); for n in 1 2 3; do (sleep 0.01 &); done; sleep 0.3; ps -eo stat=; exit 4"
    one = contained("run", "x", "--grace", 1, "--ttl", 3, "--", "sh", "-c", script)

    assert "Z" not in one.told.read()
    assert one.outside.wait(30) == 4


@pytest.mark.parametrize("leads", [True, False])
def test_what_others_leave_behind_is_buried(contained, cli, eventually, leads):
    if not leads:
        lead(cli)
    one = contained("run", "x", "--", "sh", "-c", "echo up; exec sleep 60")
    assert ("up" if leads else "waiting") in one.told.readline()

    for _ in range(3):
        one.leave_an_orphan()

    eventually(lambda: len(children(one.first)) == 1)  # the guardian
    os.kill(one.first, signal.SIGTERM)
    assert one.outside.wait(30) == 143
