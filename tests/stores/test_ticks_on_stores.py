"""Ticks on every store, with real processes: each tick once, on one host; a killed runner's is taken over.

``LEADERLOCK_CRON_TICKS=30`` also starts five `leaderlock cron` at the same second that often, which takes a minute a
store; without it, twice.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from leaderlock import Ending, StaleToken, connect
from leaderlock.fences.file import FencedFile
from leaderlock.testing import ManualClock
from tests.servers.etcd import EtcdServer
from tests.servers.redis import RedisServer
from tests.servers.zookeeper import Server, free_ports

HOSTS = 5
TICKS = 30
INTERVAL = 0.25
LINES = int(os.environ.get("LEADERLOCK_CRON_TICKS", "2"))
ROOT = Path(__file__).parents[2]

_names = (f"job-{number}" for number in itertools.count())


@pytest.fixture(scope="module", params=["sqlite", "redis", "zookeeper", "etcd"])
def url(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        match request.param:
            case "redis":
                address = stack.enter_context(RedisServer(folder).running()).url
            case "zookeeper":
                server = Server(folder / "data", free_ports(1)[0])
                stack.callback(server.kill)
                server.start()
                address = f"zk://{server.address}"
            case "etcd":
                server = EtcdServer(folder)
                stack.callback(server.kill)
                server.start()
                address = f"etcd://127.0.0.1:{server.port}"
            case _:
                address = f"sqlite:///{folder}/leader.db"
        with connect(address) as client:
            client.init()  # nobody leads here yet: Redis need not wait for those who might
        yield address


@pytest.fixture
def start():
    """Start a process; none outlives its test."""
    started = []

    def start_one(*words: object, **options: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *map(str, words)]
        started.append(subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, **options))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def lines(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def until(is_true, within: float = 40.0) -> None:
    deadline = time.monotonic() + within
    while not is_true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@pytest.mark.slow
def test_thirty_ticks_on_five_hosts_are_each_run_once(url, start, tmp_path):
    name, log = next(_names), tmp_path / "log"
    hosts = [start("tests.stores.cron_host", url, name, INTERVAL, TICKS, log) for _ in range(HOSTS)]

    said = [host.communicate(timeout=90)[0].split("\n")[:-1] for host in hosts]

    assert [host.returncode for host in hosts] == [0] * HOSTS
    ran = Counter(tick for tick, *_ in lines(log))
    assert set(ran.values()) == {1}
    assert len(ran) >= TICKS
    assert sum(words.count("ran") for words in said) == len(ran)
    tokens = [int(token) for _, token, *_ in lines(log)]
    assert tokens == sorted(set(tokens))


@pytest.mark.slow
def test_five_crontab_lines_at_the_same_second_run_once(url, start, tmp_path):
    name, log = next(_names), tmp_path / "log"
    command = ["--", "sh", "-c", f"echo $LEADERLOCK_TICK $LEADERLOCK_TOKEN >> {log}"]
    for _ in range(LINES):
        # As cron does: at the same second. Half of four is for a machine that starts five programs slowly.
        time.sleep(4.0 - time.time() % 4.0)
        crons = [start("leaderlock", "cron", name, "@every 4s", "--url", url, *command) for _ in range(HOSTS)]
        assert [cron.wait(60) for cron in crons] == [0] * HOSTS

    ran = Counter(tick for tick, *_ in lines(log))

    assert set(ran.values()) == {1}
    assert len(ran) >= LINES


@pytest.mark.slow
def test_a_runner_killed_with_9_is_taken_over_and_a_fence_refuses_the_dead_one(url, start, tmp_path):
    name, log, report = next(_names), tmp_path / "log", FencedFile(tmp_path / "report")
    with connect(url, ttl=1) as client:
        runner = start("tests.stores.killed_host", url, name, log)
        until(lambda: lines(log))
        [[tick, dead, _, _]] = lines(log)
        report.stamp(int(dead))
        standby = start("tests.stores.killed_host", url, name, log)
        runner.kill()
        killed = time.monotonic()
        until(lambda: len(lines(log)) == 2)
        took = time.monotonic() - killed
        assert standby.wait(30) == 0

        [_, [again, token, attempt, _]] = lines(log)
        assert (again, attempt) == (tick, "2")
        assert int(token) > int(dead)
        assert took < 8, "a ttl, and what a loaded machine adds"
        report.write(b"by the second", token=int(token))
        with pytest.raises(StaleToken):
            report.write(b"by the dead one", token=int(dead))
        assert [outcome.how for outcome in client.job(name).history] == [Ending.DIED, Ending.OK]


def test_a_clock_that_is_wrong_by_the_stores_own_is_warned_of(url, caplog):
    """Redis' floor is its clock; the others' is none, and must not be taken for one."""
    clock = ManualClock(wall=time.time() + 120.0)
    with connect(url, clock=clock) as client:
        client.tick(60.0, name=next(_names)).run(lambda: None)

    told = [record.message for record in caplog.records if "the store's" in record.message]
    if url.startswith("redis"):
        [text] = told
        assert "clock is 120." in text or "clock is 119." in text
        assert "ahead of the store's" in text
        assert "tolerance" in text
    else:
        assert told == []


def test_a_store_to_which_nobody_wrote_for_a_while_is_not_taken_for_a_clock_that_is_slow(url, caplog):
    """What a read brings of Redis' clock is the moment of the last write, by whomever."""
    with connect(url) as client:
        client.tick(60.0, name=next(_names)).run(lambda: None)
    time.sleep(1.0)  # longer than the tolerance below

    with connect(url) as client:
        assert client.tick(0.5, name=next(_names)).run(lambda: None)

    assert [record.message for record in caplog.records if "the store's" in record.message] == []
