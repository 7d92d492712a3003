"""Forks: the child holds nothing, touches nothing, says so, and can begin anew; the parent goes on."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no fork")

HEAD = """
import os, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads: that is what is tested
from leaderlock import LeaseLost, UsageError, connect, current, only_on_leader

client = connect(sys.argv[1], ttl=3)
election = client.election("a")

def in_child(work):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback; traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    deadline = time.monotonic() + 20
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, status
            return
        assert time.monotonic() < deadline, "the child hangs"
        time.sleep(0.01)

def raises(error, work):
    try:
        work()
    except error as caught:
        return caught
    raise AssertionError(f"no {error}")
"""


@pytest.fixture
def run(run_program, tmp_path):
    def go(body):
        done = run_program(HEAD + body, f"sqlite:///{tmp_path}/store")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    return go


def test_a_child_holds_nothing_and_every_method_of_its_parent_s_lease_says_so(run):
    run("""
lease = election.campaign()
def child():
    assert not lease.is_held
    assert lease.lost_reason.value == "forked"
    assert lease.wait_lost().value == "forked"
    assert raises(LeaseLost, lease.check).reason == "forked"
    assert raises(LeaseLost, lambda: lease.save_note(b"x")).reason == "forked"
    assert raises(LeaseLost, lambda: lease.ensure(1)).reason == "forked"
    assert "parent" in str(raises(UsageError, lease.resign))
    assert "parent" in str(raises(UsageError, lambda: lease.on_lost(print)))
in_child(child)
lease.check()
lease.save_note(b"the parent goes on")
assert lease.resign()
""")


def test_a_child_is_not_shown_that_its_parent_s_lease_leads(run):
    run("""
lease = election.campaign()
def child():
    assert lease.state == "lost", lease.state
    assert "leading" not in repr(lease), lease
in_child(child)
assert lease.state == "leading"
""")


def test_leaving_the_body_in_a_child_does_not_resign_the_parent_s_lease(run):
    run("""
def child():
    def body():
        with_lease.__exit__(None, None, None)
    assert raises(LeaseLost, body).reason == "forked"
    client.close()
with_lease = election
lease = with_lease.__enter__()
in_child(child)
lease.check()
assert election.leader().token == lease.token
with_lease.__exit__(None, None, None)
""")


def test_a_child_campaigns_with_a_session_and_a_pid_of_its_own(run):
    run("""
lease = election.campaign()
def child():
    mine = client.election("b").campaign(timeout=5)
    assert mine.holder.pid == os.getpid()
    term = client.election("b").leader()
    assert term.holder.pid == os.getpid()
    assert term.session.id != client.election("a").leader().session.id
    assert client.election("a").leader().holder.pid == os.getppid()
    time.sleep(3.5)  # more than a ttl: the child renews for itself
    mine.check()
    client.close()
in_child(child)
lease.check()
""")


def test_a_child_can_lead_what_its_parent_resigned(run):
    run("""
token = election.campaign().token
def child():
    assert election.campaign(timeout=10).token > token
    client.close()
client.resign("a", now=True)
in_child(child)
""")


@pytest.mark.slow
def test_a_fork_while_other_threads_hold_every_lock_does_not_hang_the_child(run):
    run("""
over = threading.Event()
def hammer(number):
    mine = client.election(f"t{number}")
    while not over.is_set():
        with mine as lease:
            lease.save_note(b"x")
threads = [threading.Thread(target=hammer, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
def child():
    with client.election("child", timeout=10) as lease:
        lease.check()
    client.close()
for _ in range(25):
    in_child(child)
over.set()
for thread in threads:
    thread.join()
""")


def test_a_guarded_function_in_a_child_campaigns_anew(run):
    run("""
job = only_on_leader("a", client=client)(lambda: current().token)
token = job()
assert token
def child():
    assert job() is None  # the parent leads
    other = only_on_leader("b", client=client, otherwise="raise")(lambda: "ran")
    assert other() == "ran"
    client.close()
in_child(child)
assert job() == token
""")


def test_a_pool_of_forked_workers_shares_a_client_object_and_elects_one_at_a_time(run):
    run("""
import multiprocessing
def work(_):
    with client.election("pool", timeout=30) as lease:
        begun = time.clock_gettime(time.CLOCK_BOOTTIME)
        lease.check()
        return lease.token, begun, time.clock_gettime(time.CLOCK_BOOTTIME), os.getpid()
with election as lease:
    with multiprocessing.get_context("fork").Pool(4) as pool:
        terms = sorted(pool.map(work, range(20), chunksize=1))
    lease.check()
assert len({token for token, *_ in terms}) == 20
assert all(end <= begun for (_, _, end, _), (_, begun, _, _) in zip(terms, terms[1:]))
""")
