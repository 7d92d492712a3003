"""The file fence among processes, some of which are killed."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from leaderlock.errors import StaleToken
from leaderlock.fences.file import FencedFile

INCREMENTS = """
import sys
from leaderlock.errors import StaleToken
from leaderlock.fences.file import FencedFile

folder, rounds = sys.argv[1], int(sys.argv[2])
tokens, shared = FencedFile(folder + "/tokens", timeout=60), FencedFile(folder + "/shared", timeout=60)
done = 0
while done < rounds:
    token = int(tokens.update(lambda old: b"%d" % (int(old or 0) + 1), token=1))
    try:
        shared.update(lambda old: (old or b"") + b"%d\\n" % token, token=token)
    except StaleToken:
        continue
    done += 1
"""

FOREVER = """
import sys
from leaderlock.fences.file import FencedFile

file = FencedFile(sys.argv[1])
token = file.highest
print("ready", flush=True)
while True:
    token += 1
    file.write(b"%d\\n" % token * 1000, token=token)
"""

WITHOUT_A_PAUSE = """
import sys
from leaderlock.fences.file import FencedFile

file = FencedFile(sys.argv[1])
file.write(b"theirs", token=7)
print("ready", flush=True)
while True:
    file.write(b"theirs", token=7)
"""

FORK = """
import os, sys
from leaderlock.fences.file import FencedFile

file = FencedFile(sys.argv[1])

def change(old):
    if os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
    return b"changed"

file.update(change, token=1)
print("changed", flush=True)
sys.stdin.read()
"""

CRASH = """
import os, sys
from leaderlock.fences.file import FencedFile

left = int(sys.argv[2])

def counted(call):
    def counting(*args, **options):
        global left
        left -= 1
        if left == 0:
            os._exit(9)
        return call(*args, **options)
    return counting

file = FencedFile(sys.argv[1])
for name in ("open", "replace", "fsync", "unlink", "fchmod", "fchown", "stat", "fstat", "close"):
    setattr(os, name, counted(getattr(os, name)))
file.write(b"new", token=2)
os._exit(0)
"""


def program(text: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", text, *map(str, arguments)], stdout=subprocess.PIPE)


def test_eight_processes_lose_no_update_and_tokens_only_rise(tmp_path: Path):
    workers = [program(INCREMENTS, tmp_path, 20) for _ in range(8)]

    for worker in workers:
        worker.communicate()

    assert [worker.returncode for worker in workers] == [0] * 8
    tokens = [int(line) for line in (FencedFile(tmp_path / "shared").read() or b"").split()]
    assert len(tokens) == 160
    assert all(earlier < later for earlier, later in itertools.pairwise(tokens))


def test_a_process_that_writes_without_a_pause_does_not_keep_others_out(tmp_path: Path):
    file = FencedFile(tmp_path / "file", timeout=4)
    with program(WITHOUT_A_PAUSE, file.path) as writing:
        try:
            assert writing.stdout is not None
            assert writing.stdout.readline() == b"ready\n"

            for _ in range(15):
                time.sleep(0.03)  # chaos: comes at any moment of the other's
                file.write(b"ours", token=7)  # FenceBusy, if it has to wait for longer
        finally:
            writing.kill()


def test_a_child_forked_during_a_write_does_not_keep_the_file_locked(tmp_path: Path):
    file = FencedFile(tmp_path / "file", timeout=0.05)
    command = [sys.executable, "-c", FORK, file.path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writing:
        assert writing.stdout is not None
        assert writing.stdin is not None
        assert writing.stdout.readline() == b"changed\n"

        file.write(b"after it", token=1)

        writing.stdin.close()


def test_threads_exclude_each_other_as_processes_do(tmp_path: Path):
    file = FencedFile(tmp_path / "count", timeout=60)

    def count() -> None:
        for _ in range(20):
            file.update(lambda old: b"%d" % (int(old or 0) + 1), token=1)

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert file.read() == b"120"


@pytest.mark.parametrize("seed", range(30))
def test_a_writer_killed_at_any_moment_leaves_a_whole_file_under_its_watermark(tmp_path: Path, seed: int):
    moment = random.Random(seed)
    file = FencedFile(tmp_path / "data", timeout=5)

    for _ in range(2):
        writer = program(FOREVER, file.path)
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(moment.uniform(0.0, 0.03))
        writer.kill()
        writer.communicate()

        numbers = set((file.read() or b"0").split())
        assert len(numbers) == 1
        assert int(numbers.pop()) <= file.highest
        file.stamp(max(1, file.highest))  # the lock died with its holder


def test_a_crash_between_any_two_steps_admits_nothing_stale(tmp_path: Path):
    for step in range(1, 100):
        file = FencedFile(tmp_path / f"data{step}")
        file.write(b"old", token=1)
        writer = program(CRASH, file.path, step)
        writer.communicate()

        if writer.returncode == 0:
            assert step > 20, "hardly anything was interrupted"
            return
        assert writer.returncode == 9
        assert (file.read(), file.highest) in {(b"old", 1), (b"old", 2), (b"new", 2)}
        file.write(b"newer", token=3)
        with pytest.raises(StaleToken):
            file.write(b"stale", token=2)
    pytest.fail("the write never came to its end")
