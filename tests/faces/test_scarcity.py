"""Threads and memory that run out under a lease: it is kept or lost with the news, and nobody waits for ever."""

from __future__ import annotations

import threading

import pytest

from leaderlock import BackendUnavailable, LeaderLockError, LossReason
from leaderlock._protocol.events import Lane


@pytest.fixture
def threads(monkeypatch):
    """While it has threads to give, they start; ``are_scarce`` says whether it has none."""

    class Threads:
        are_scarce = False
        refused = 0

    started = threading.Thread.start
    threads = Threads()

    def start(thread):
        if threads.are_scarce and thread.name.startswith("leaderlock"):
            threads.refused += 1
            raise RuntimeError("can't start new thread")
        started(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    return threads


def test_a_lease_whose_renewal_finds_no_thread_is_kept_if_one_can_be_had_in_time(client, clock, threads, eventually):
    lease = client.election("a").campaign()
    threads.are_scarce = True

    clock.advance(5)
    eventually(lambda: "jeopardy" in repr(lease))
    threads.are_scarce = False
    eventually(lambda: clock.advance(0.01) or lease.remaining > 10)  # until the next attempt is due

    assert lease.lost_reason is None


def test_a_lease_for_which_no_thread_can_be_had_is_lost_at_its_deadline_and_who_waits_hears(
    client, clock, threads, in_background, eventually
):
    lease = client.election("a").campaign()
    heard = []
    lease.on_lost(heard.append)
    waiting = in_background(lease.wait_lost)
    threads.are_scarce = True

    clock.advance(5)
    eventually(lambda: threads.refused)
    clock.advance(10)

    assert not lease.is_held
    eventually(lambda: waiting)
    assert waiting == [lease.lost_reason]
    eventually(lambda: heard == [lease])


def test_what_finds_no_thread_beside_the_event_loop_is_not_done_and_may_be_asked_again(aio_client, threads, in_loop):
    asked = []

    async def main():
        threads.are_scarce = True
        with pytest.raises(BackendUnavailable, match="can't start new thread"):
            await aio_client._access.off(asked.append, "first")
        threads.are_scarce = False
        await aio_client._access.off(asked.append, "second")
        await aio_client.close()

    in_loop(main)

    assert asked == ["second"]


def test_who_waits_and_could_not_watch_watches_as_soon_as_that_can_be(
    client, backend, rival, clock, in_background, eventually, monkeypatch
):
    theirs = rival.election("a").campaign()
    tried = []

    def refuse(keys, _):
        tried.extend(keys)
        raise OSError("too many open files")

    with monkeypatch.context() as scarce:
        scarce.setattr(backend, "watch", refuse)
        winning = in_background(client.election("a").campaign)
        eventually(lambda: "name/a" in tried)
    clock.advance(7)  # to its next look at who leads
    eventually(lambda: "name/a" in client._engine._watches._stops)

    theirs.resign()

    eventually(lambda: winning)
    assert winning[0].is_held


def short_of_memory(method):
    """The method, as a process finds it that has no memory left for its first call."""
    calls = []

    def call(*arguments, **options):
        calls.append(arguments)
        if len(calls) == 1:
            raise MemoryError
        return method(*arguments, **options)

    return call


@pytest.mark.parametrize("where", ["the engine's thread", "a lane", "the end of all leases"])
def test_who_leads_or_waits_hears_of_it_where_memory_runs_out_and_may_go_on(
    where, client, rival, clock, in_background, eventually, monkeypatch
):
    lease = client.election("a").campaign()
    rival.election("b").campaign()
    winning = in_background(client.election("b").campaign)
    losing = in_background(lease.wait_lost)
    engine = client._engine
    eventually(lambda: len(engine._attendance))
    match where:
        case "the engine's thread":
            monkeypatch.setattr(engine._clockwork._timers, "due", short_of_memory(engine._clockwork._timers.due))
        case "a lane":
            lane = engine._lanes[Lane.SESSION]
            monkeypatch.setattr(lane, "_next", short_of_memory(lane._next))
        case _:
            monkeypatch.setattr(engine._steps, "_step", short_of_memory(engine._steps._step))
            monkeypatch.setattr(engine._steps, "_collapse", short_of_memory(engine._steps._collapse))

    clock.advance(5)
    eventually(lambda: winning and losing)

    assert not lease.is_held
    assert losing == [LossReason.FAILED]
    assert isinstance(winning[0], LeaderLockError)
    assert client.election("c").campaign().is_held


NO_GUARDIAN = """
import errno, os, signal, sys

def fork():
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

os.fork = fork
from leaderlock.cli import main
code = main(["run", "a", "--", "echo", "ran"])
assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())
sys.exit(code)
"""


def test_a_command_for_which_no_guardian_can_be_forked_is_not_run_and_that_is_told(run_program, tmp_path):
    ended = run_program(NO_GUARDIAN, LEADERLOCK_URL=f"sqlite:///{tmp_path}/a.db")

    why = "no process can be started to guard the command: Resource temporarily unavailable"
    assert (ended.returncode, ended.stdout, ended.stderr) == (70, "", f"leaderlock: {why}\n")
