"""The gate behind the HTTP fence: whom it lets in beside whom, and what is on the disk after each step."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from leaderlock.errors import StaleToken
from leaderlock.fences import MAX_TOKEN, FenceBusy, WatermarkLost, check_refuses_stale
from leaderlock.fences.gate import Gate
from tests.fences.disk import steps_of
from tests.servers.loopback import until

CRASH = """
import os, sys
from leaderlock.fences.gate import Gate

left = int(sys.argv[2])

def counted(call):
    def counting(*args, **options):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return call(*args, **options)
    return counting

gate = Gate(sys.argv[1])
for name in ("open", "write", "replace", "fsync", "unlink", "fchmod", "fchown", "stat", "fstat", "close"):
    setattr(os, name, counted(getattr(os, name)))
gate.stamp(int(sys.argv[3]))
os._exit(0)
"""

FORK = """
import os, sys
from leaderlock.fences.gate import Gate

gate = Gate(sys.argv[1])
with gate.admitted(1):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
print("left", flush=True)
sys.stdin.read()
"""


FORK_AND_LEAVE = """
import os, sys
from leaderlock.fences.gate import Gate

gate = Gate(sys.argv[1])
with gate.admitted(1):
    if child := os.fork():
        os.waitpid(child, 0)
        print("the child has left", flush=True)
        sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "watermark"


@pytest.fixture
def gate(path: Path) -> Gate:
    return Gate(path)


@pytest.fixture
def impatient(path: Path) -> Gate:
    return Gate(path, timeout=0.02)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


def door(path: Path) -> Path:
    return path.with_name(f".{path.name}.fence-door")


def somebody_waits(path: Path) -> bool:
    """Whether somebody stands in the door, which is there a moment before it is locked."""
    try:
        with open(door(path), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


def test_a_gate_that_never_admitted_anybody_admits_the_first_token(gate):
    assert gate.highest == 0

    with gate.admitted(7):
        assert gate.highest == 7


def test_a_stale_token_is_refused_and_changes_nothing(gate):
    gate.stamp(8)

    with pytest.raises(StaleToken, match="refused token 7") as caught, gate.admitted(7):
        pytest.fail("was let in")

    assert (caught.value.token, caught.value.highest, gate.highest) == (7, 8, 8)


def test_work_under_one_token_runs_side_by_side(gate, impatient):
    with gate.admitted(3), impatient.admitted(3), impatient.admitted(3):
        impatient.stamp(3)


def test_a_higher_token_waits_for_work_under_a_lower_one_and_then_sees_it_done(gate, threads, path):
    done = []
    with gate.admitted(1):
        seen = threads.submit(lambda: (gate.stamp(2), list(done)))
        until(lambda: somebody_waits(path), "it waits")
        done.append("work")
        assert gate.highest == 1

    assert seen.result(5) == (None, ["work"])


def test_whoever_waits_too_long_is_told_and_nothing_was_admitted(gate, impatient, path):
    with gate.admitted(1):
        with pytest.raises(FenceBusy, match=r"0\.02 s") as caught:
            impatient.stamp(2)
        assert isinstance(caught.value, TimeoutError)
        assert gate.highest == 1
        assert not door(path).exists()
        impatient.stamp(1)


def test_newcomers_under_the_old_token_wait_behind_who_waits_and_are_refused_then(gate, impatient, threads, path):
    with gate.admitted(1):
        new = threads.submit(gate.stamp, 2)
        until(lambda: somebody_waits(path), "the new leader waits")
        with pytest.raises(FenceBusy):
            impatient.stamp(1)
        old = threads.submit(gate.stamp, 1)

    new.result(5)
    assert isinstance(old.exception(5), StaleToken)


def test_a_stale_token_is_refused_at_once_even_while_others_wait(gate, impatient, threads, path):
    with gate.admitted(2):
        new = threads.submit(gate.stamp, 3)
        until(lambda: somebody_waits(path), "the new leader waits")

        with pytest.raises(StaleToken):
            impatient.stamp(1)
    new.result(5)


def test_of_two_that_wait_the_lower_is_refused_if_the_higher_comes_first(gate, threads, path):
    with gate.admitted(1):
        higher = threads.submit(gate.stamp, 3)
        until(lambda: somebody_waits(path), "the higher waits")
        lower = threads.submit(gate.stamp, 2)

    higher.result(5)
    assert isinstance(lower.exception(5), StaleToken)


def test_a_leader_whose_work_goes_on_keeps_none_of_its_own_out(gate, threads, path):
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with gate.admitted(2):
            entered.set()
            leave.wait(30)

    try:
        with gate.admitted(1):
            first, second = threads.submit(work), threads.submit(gate.stamp, 2)
            until(lambda: somebody_waits(path), "they wait")
        second.result(5)
        assert entered.wait(5)
    finally:
        leave.set()
    first.result(5)


def test_work_that_fails_lets_the_next_one_in(gate, impatient):
    with pytest.raises(ZeroDivisionError), gate.admitted(1):
        _ = 1 // 0

    impatient.stamp(2)


def test_a_door_whose_holder_died_is_removed(gate, path):
    gate.stamp(1)
    door(path).touch()

    gate.stamp(1)

    assert not door(path).exists()


def test_a_door_that_was_tidied_away_lets_nobody_lower_the_watermark(gate, path):
    with gate.admitted(1):
        raising = gate._raising(2, until=time.monotonic() + 60)
        next(raising)
        door(path).unlink()
    gate.stamp(3)

    with pytest.raises(StaleToken):
        next(raising)

    assert gate.highest == 3


def test_an_admission_may_be_entered_again(gate, impatient):
    admission = gate.admitted(1)

    with admission, admission:
        pass
    with admission, pytest.raises(FenceBusy):
        impatient.stamp(2)
    impatient.stamp(2)


@pytest.mark.parametrize("token", ["7", b"7", 7.0, True, None])
def test_what_is_no_int_is_no_token(gate, token):
    for use in (gate.admitted, gate.stamp, gate.adopt):
        with pytest.raises(TypeError, match=r"lease\.token"):
            use(token)

    assert gate.highest == 0


@pytest.mark.parametrize("token", [0, -1, MAX_TOKEN + 1])
def test_a_token_out_of_range_is_refused(gate, token):
    with pytest.raises(ValueError, match=r"2\*\*53"):
        gate.stamp(token)


def test_the_ready_test_passes_on_this_fence(gate):
    check_refuses_stale(gate.stamp)


# -- the watermark


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content.replace(b"12", b"11"),
        lambda content: b"\0" * len(content),
    ],
)
def test_a_damaged_watermark_never_counts_as_zero(gate, path, damage):
    gate.stamp(12)
    path.write_bytes(damage(path.read_bytes()))

    for use in (lambda: gate.stamp(13), lambda: gate.highest):
        with pytest.raises(WatermarkLost, match=r"damaged.*adopt\(token\)"):
            use()
    gate.adopt(12)

    with pytest.raises(StaleToken):
        gate.stamp(11)


def test_a_deleted_watermark_never_counts_as_zero(gate, path):
    gate.stamp(12)
    path.unlink()

    with pytest.raises(WatermarkLost, match="deleted"):
        gate.stamp(1)
    gate.adopt(12)

    assert gate.highest == 12


def test_adopting_never_lowers_a_watermark(gate):
    gate.stamp(12)

    with pytest.raises(StaleToken):
        gate.adopt(11)

    assert gate.highest == 12


def test_adopting_waits_for_who_is_at_work(gate, impatient, path):
    with gate.admitted(12):
        path.unlink()
        with pytest.raises(FenceBusy):
            impatient.adopt(13)


def test_the_watermark_is_on_the_disk_before_the_work_begins(gate, path, monkeypatch):
    steps = steps_of(monkeypatch)

    for token in (1, 2):
        with gate.admitted(token):
            steps.append("work")

    stored = ["sync file", "show watermark", "sync folder"]
    assert steps == [*stored, "sync file", "work", *stored, "work"]  # the first time it is marked that there was one


@pytest.mark.parametrize("call", [Gate.stamp, Gate.adopt])
def test_a_watermark_that_may_not_be_on_the_disk_is_synced_before_its_token_is_admitted_again(
    gate, path, monkeypatch, call
):
    # Whoever raised it failed to sync the folder, and to mark that there was one; or died before.
    fsync, synced = os.fsync, []

    def sync(descriptor: int, *, is_bad: bool = False) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        if is_folder and is_bad:
            raise OSError(5, "Input/output error")
        synced.append("folder" if is_folder else "file")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", partial(sync, is_bad=True))
    with pytest.raises(OSError, match="Input/output"):
        call(gate, 3)
    assert gate.highest == 3
    monkeypatch.setattr(os, "fsync", sync)
    synced.clear()

    call(gate, 3)
    gate.stamp(3)  # what is known to be on the disk is not synced each time

    assert synced == ["folder", "file"]
    path.unlink()
    with pytest.raises(WatermarkLost):
        gate.stamp(3)


def test_a_door_that_cannot_be_removed_is_shut_to_nobody_while_the_error_is_kept(gate, impatient, monkeypatch):
    def fails(path: str) -> None:
        raise OSError(5, "Input/output error", path)

    with monkeypatch.context() as disk:
        disk.setattr(os, "unlink", fails)
        with pytest.raises(OSError, match="Input/output") as kept:
            gate.stamp(1)

    impatient.stamp(2)  # FenceBusy, if what the error's traceback holds were still locked
    assert kept.value.errno == 5


def test_a_full_disk_admits_nothing_and_shuts_nobody_out(gate, path, monkeypatch):
    gate.stamp(1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"), gate.admitted(2):
            pytest.fail("was let in")

    assert gate.highest == 1
    assert {entry.name for entry in path.parent.iterdir()} == {"watermark", ".watermark.fence-lock"}
    gate.stamp(1)


@pytest.mark.parametrize("before", [0, 1])
def test_a_crash_between_any_two_steps_admits_nothing_stale_and_loses_nothing(tmp_path, before):
    for step in range(1, 100):
        gate = Gate(tmp_path / f"watermark{step}", timeout=1)
        if before:
            gate.stamp(before)
        done = subprocess.run([sys.executable, "-c", CRASH, gate.path, str(step), "2"], check=False)

        assert gate.highest in {before, 2}
        gate.stamp(3)
        with pytest.raises(StaleToken):
            gate.stamp(2)
        if done.returncode == 0:
            assert step > 12, "hardly anything was interrupted"
            return
        assert done.returncode == 9
    pytest.fail("it never came to its end")


def test_a_child_forked_during_the_work_does_not_prolong_it(gate, impatient):
    program = subprocess.Popen([sys.executable, "-c", FORK, gate.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with program:
        program.stdout.readline()

        impatient.stamp(2)

        program.stdin.close()


def test_a_forked_child_that_leaves_the_block_does_not_end_its_parents_work(gate, impatient):
    command = [sys.executable, "-c", FORK_AND_LEAVE, gate.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout.readline() == b"the child has left\n"

        with pytest.raises(FenceBusy):
            impatient.stamp(2)

        program.stdin.close()
    impatient.stamp(2)


def test_a_symbolic_link_leads_to_one_gate(tmp_path, gate, path):
    link = tmp_path / "link"
    link.symlink_to(path)

    Gate(link).stamp(5)

    assert (link.is_symlink(), gate.highest) == (True, 5)


@pytest.mark.parametrize(("name", "error"), [("", ValueError), (b"x", TypeError), (7, TypeError), (None, TypeError)])
def test_a_path_that_names_nothing_is_refused(name, error):
    with pytest.raises(error, match="a watermark"):
        Gate(name)


def test_a_path_in_no_folder_or_of_a_folder_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="is no folder: make it first"):
        Gate(tmp_path / "missing" / "watermark")
    with pytest.raises(ValueError, match="is a folder"):
        Gate(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("timeout", "error"), [("1", TypeError), (True, TypeError), (-1, ValueError)])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(path, timeout, error):
    with pytest.raises(error, match="timeout"):
        Gate(path, timeout=timeout)


# -- coroutines


def test_coroutines_wait_without_stopping_the_event_loop(gate):
    async def scenario() -> list[str]:
        said = []

        async def new_leader() -> None:
            async with gate.admitted(2):
                said.append("new leader")

        with gate.admitted(1):
            waiting = asyncio.create_task(new_leader())
            for _ in range(20):
                await asyncio.sleep(0.005)
            said.append("loop went on")
        await asyncio.wait_for(waiting, 5)
        return said

    assert asyncio.run(scenario()) == ["loop went on", "new leader"]


def test_a_slow_disk_does_not_stop_the_event_loop(gate, monkeypatch):
    syncing, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        syncing.set()
        go_on.wait(10)
        fsync(descriptor)

    async def scenario() -> None:
        async def stamp() -> None:
            async with gate.admitted(1):
                pass

        stamping = asyncio.create_task(stamp())
        while not syncing.is_set():
            await asyncio.sleep(0.001)
        assert gate.highest == 0
        go_on.set()
        await stamping

    monkeypatch.setattr(os, "fsync", slow)
    asyncio.run(scenario())


@pytest.mark.parametrize("place", ["for the lock", "behind the door", "for the door"])
def test_a_wait_that_is_cancelled_leaves_nothing_open_and_nobody_out(gate, impatient, path, place):
    async def scenario() -> None:
        async def enter(token: int) -> None:
            async with gate.admitted(token):
                pytest.fail("was let in")

        waiting = asyncio.create_task(enter(1 if place == "behind the door" else 2))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    with gate.admitted(1), ExitStack() as others:
        if place != "for the lock":
            held = others.enter_context(open(door(path), "wb"))
            fcntl.flock(held, fcntl.LOCK_EX)
        before = descriptors()
        asyncio.run(scenario())
        assert descriptors() == before
    impatient.stamp(2)


def test_a_cancelled_task_keeps_its_lock_until_the_disk_has_answered(gate, impatient, monkeypatch):
    syncing, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        syncing.set()
        go_on.wait(10)
        fsync(descriptor)

    async def scenario() -> None:
        async def enter() -> None:
            async with gate.admitted(1):
                pytest.fail("was let in")

        entering = asyncio.create_task(enter())
        while not syncing.is_set():
            await asyncio.sleep(0.001)
        entering.cancel()
        await asyncio.sleep(0.01)
        entering.cancel()
        with pytest.raises(FenceBusy):
            await asyncio.to_thread(impatient.stamp, 2)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await entering

    before = descriptors()
    monkeypatch.setattr(os, "fsync", slow)
    asyncio.run(scenario())

    assert descriptors() == before
    impatient.stamp(1)


def test_coroutines_that_compete_never_work_beside_another_leader(gate, path):
    at_work: list[int] = []

    async def work(token: int) -> bool:
        try:
            async with gate.admitted(token):
                at_work.append(token)
                await asyncio.sleep(0.001)
                assert len(set(at_work)) == 1
                at_work.remove(token)
        except StaleToken:
            return False
        return True

    async def scenario() -> list[bool]:
        return await asyncio.gather(*(work(1 + number // 5) for number in range(40)))

    admitted = asyncio.run(scenario())

    assert admitted[-5:] == [True] * 5
