"""Under gevent, whose greenlets take the place of threads: what works, in programs and in gunicorn's workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from leaderlock import connect
from tests.servers import stores
from tests.servers.loopback import free_ports

PATCH = "from gevent import monkey; monkey.patch_all()\n"
IMPORT = "import os, sys; from leaderlock import Client, UsageError, connect\n"
QUIET = 'import logging; logging.getLogger("kazoo").setLevel(logging.ERROR)\n'
HANDOVER = """
import threading, time
begun = time.monotonic()
with connect(sys.argv[1], ttl=4, longest=4) as client, connect(sys.argv[1], ttl=4, longest=4) as other:
    lease = client.election("a").campaign(timeout=30)
    terms = []
    waiting = threading.Thread(target=lambda: terms.append(other.election("a").campaign(timeout=30)))
    waiting.start()
    time.sleep(6)  # for longer than a ttl, so that it must have been renewed
    lease.check()
    assert not terms, terms
    lease.resign()
    waiting.join(10)
    assert terms[0].token > lease.token, terms
"""


def run(program: str, url: str) -> None:
    command = [sys.executable, "-c", program, url]
    # Of its own, as servers in containers are others' as well.
    environment = os.environ | {"LEADERLOCK_NAMESPACE": f"gevent-{os.urandom(4).hex()}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/leader.db"


@pytest.mark.slow
@pytest.mark.parametrize("store", ["redis", "zookeeper", "etcd"])
def test_a_greenlet_leads_while_another_waits_and_takes_over(store, tmp_path):
    with getattr(stores, store)(tmp_path) as server:
        run(PATCH + QUIET + IMPORT + HANDOVER, server.url)


def test_kazoo_may_be_patched_after_one_half_of_it_was_imported(tmp_path):
    with stores.zookeeper(tmp_path) as server:
        leads = """
with connect(sys.argv[1]) as client, client.election("a", timeout=30) as lease:
    lease.check()
"""

        run("import kazoo.handlers.threading\n" + IMPORT + PATCH + QUIET + leads, server.url)


@pytest.mark.slow
def test_a_program_may_patch_after_it_has_imported(url):
    run(IMPORT + PATCH + HANDOVER, url)


def test_a_client_that_was_opened_before_the_patches_says_so_instead_of_freezing_the_process(url):
    run(
        f"""
{IMPORT}
client = connect(sys.argv[1])
{PATCH}
try:
    client.election("a").campaign(timeout=5)
except UsageError as error:
    assert "before connect()" in str(error), error
else:
    raise AssertionError("no error")
client.close()
""",
        url,
    )


def test_half_of_the_patches_is_refused(url):
    run(
        f"""
from gevent import monkey; monkey.patch_all(thread=False)
{IMPORT}
try:
    connect(sys.argv[1])
except UsageError as error:
    assert "thread=False and queue=False" in str(error), error
else:
    raise AssertionError("no error")
""",
        url,
    )


def test_a_forked_child_whose_parent_leads_on_is_told_of_no_loss(url):
    run(
        f"""
{PATCH}{IMPORT}
import time
client = connect(sys.argv[1], ttl=2)
lease = client.election("a").campaign(timeout=30)
lease.on_lost(lambda lease: print("lost", file=sys.stderr))
pid = os.fork()
if pid == 0:
    time.sleep(3)  # a parent's greenlet that ran on here would find its lease expired
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
lease.check()
assert lease.resign()
client.close()
""",
        url,
    )


# -- gunicorn

APP = """
import os, threading, time
from leaderlock import connect, current, only_on_leader

client = connect(os.environ["STORE"], ttl=2)

@only_on_leader("job", client=client)
def job():
    with open(os.environ["RUNS"], "a") as runs:
        runs.write(f"{os.getpid()} {current().token}\\n")

def keep_running():
    while True:
        job()
        time.sleep(0.05)

def application(environ, start_response):
    start_response("200 OK", [])
    return [b"here"]
"""
HOOKS = """
def post_worker_init(worker):
    import threading, application
    threading.Thread(target=application.keep_running, daemon=True).start()
"""


class Runs:
    """What the workers wrote: which of them ran, and under which token."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[tuple[int, int]]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [(int(pid), int(token)) for pid, token in map(str.split, lines)]

    def until(self, is_enough: Callable[[list[tuple[int, int]]], bool]) -> list[tuple[int, int]]:
        deadline = time.monotonic() + 40
        while not is_enough(runs := self.all()):
            assert time.monotonic() < deadline, f"it did not come to that: {runs[-5:]}"
            time.sleep(0.05)
        return runs


@contextmanager
def gunicorn(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Runs]]:
    (folder / "application.py").write_text(APP)
    (folder / "hooks.py").write_text(HOOKS)
    place = f"127.0.0.1:{free_ports(1)[0]}"
    command = f"-m gunicorn application --workers 3 --bind {place} --config hooks.py --no-control-socket"
    environment = os.environ | {"STORE": f"sqlite:///{folder}/leader.db", "RUNS": str(folder / "runs")}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, *command.split(), *options],
            cwd=folder,
            env=environment,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield server, Runs(folder / "runs")
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["--worker-class gevent", "--worker-class gevent --preload", "--threads 2 --preload"]
)
def test_one_of_gunicorn_s_workers_leads_another_after_its_death_and_nobody_after_the_end(options, tmp_path):
    with gunicorn(tmp_path, *options.split()) as (server, runs):
        leader, token = runs.until(lambda all_: len(all_) > 20)[-1]
        os.kill(leader, signal.SIGKILL)
        runs.until(lambda all_: all_[-1][0] != leader)
        server.terminate()
        server.wait(30)

    told = runs.all()
    assert {pid for pid, its in told if its == token} == {leader}
    assert [its for _, its in told] == sorted(its for _, its in told)
    assert "Traceback" not in (tmp_path / "log").read_text()
    with connect(f"sqlite:///{tmp_path}/leader.db", ttl=2) as client:
        assert client.election("job").leader() is None
