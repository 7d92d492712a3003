"""A disk on which nothing can be synced for a while, and what a power cut then leaves, under one process, which is the
only one to use the file."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

SHIM = Path(__file__).with_name("syncshim.c")
SWAPS = """
import os, sys
from pathlib import Path
from leaderlock import ABSENT, OutcomeUnknown, Write
from leaderlock_sqlite import open_backend

bad_disk = Path(os.environ["LEADERLOCK_BAD_DISK"])
backend = open_backend(f"sqlite:///{sys.argv[1]}", namespace="n")
memory = backend.read([], timeout=5).memory
[kept] = backend.swap([Write("name/a", ABSENT, b"kept")], memory, timeout=5)

bad_disk.touch()
try:
    backend.swap([Write("name/a", kept.stamp, b"not on the disk")], memory, timeout=5)
except OutcomeUnknown:
    print(backend.read(["name/a"], timeout=5).seen["name/a"].value)

bad_disk.unlink()
print(*backend.swap([Write("name/a", kept.stamp, b"kept again")], memory, timeout=5))
sys.stdout.flush()
os._exit(0)  # as kill -9 does: nothing tidies up
"""
TERMS = """
import os, sys
from pathlib import Path
from leaderlock import BackendUnavailable, CampaignTimeout, connect

bad_disk = Path(os.environ["LEADERLOCK_BAD_DISK"])
with connect(f"sqlite:///{sys.argv[1]}") as client:
    first, other = client.election("first").campaign(), client.election("other").campaign()

    bad_disk.touch()
    print("released:", first.resign(timeout=0.5))
    print("released with a note:", other.resign(timeout=0.5, note=b"so far"))
    try:
        client.election("third").campaign(timeout=0.5)
    except (BackendUnavailable, CampaignTimeout):
        print("elected: no")

    bad_disk.unlink()
    print("tokens rise:", client.election("first").campaign(timeout=10).token > first.token)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to build the bad disk with")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, SHIM], check=True)
    return library


@pytest.fixture
def on_bad_disk(shim, tmp_path):
    """Runs a program on ``leader.db``; what it printed, line by line."""
    environment = os.environ | {"LD_PRELOAD": str(shim), "LEADERLOCK_BAD_DISK": str(tmp_path / "bad")}

    def run(program):
        command = [sys.executable, "-c", program, tmp_path / "leader.db"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def values_after_a_power_cut(path):
    """What the registers then hold: see the shim."""
    for file in path, path.with_name("leader.db-wal"):
        disk = file.with_name(file.name + ".disk")
        file.write_bytes(disk.read_bytes() if disk.exists() else b"")
    path.with_name("leader.db-shm").unlink()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return dict(database.execute("SELECT key, CAST(value AS BLOB) FROM registers"))


def test_a_commit_that_was_not_synced_is_not_shown_to_whoever_asks_what_became_of_it(on_bad_disk):
    # Shown, it would be taken for acknowledged: it is the caller's own write, on the same memory.
    shown, after = on_bad_disk(SWAPS)

    assert shown == "b'kept'"
    assert after.startswith("Swapped(")


def test_what_was_acknowledged_after_a_sync_that_failed_outlives_a_power_cut(on_bad_disk, tmp_path):
    on_bad_disk(SWAPS)

    assert values_after_a_power_cut(tmp_path / "leader.db") == {"name/a": b"kept again"}


def test_nothing_is_answered_that_the_disk_does_not_have_not_even_a_release(on_bad_disk):
    # What stands in the log behind a commit that nobody waited for may go with it at a power cut (ADR 0023).
    assert on_bad_disk(TERMS) == ["released: False", "released with a note: False", "elected: no", "tokens rise: True"]
