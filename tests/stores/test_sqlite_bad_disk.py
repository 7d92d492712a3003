"""A disk on which nothing can be synced for a while, and one that loses what was not, under one process, which is the
only one to use the file."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from leaderlock import connect

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
"""

RELEASES = """
import os, sys
from pathlib import Path
from leaderlock import BackendUnavailable, CampaignTimeout, connect

bad_disk = Path(os.environ["LEADERLOCK_BAD_DISK"])
with connect(f"sqlite:///{sys.argv[1]}") as client:
    first, other = client.election("first").campaign(), client.election("other").campaign()

    bad_disk.touch()
    print("released:", first.resign(timeout=2))
    print("released with a note:", other.resign(timeout=0.5, note=b"so far"))
    try:
        client.election("first").campaign(timeout=0.5)
    except (BackendUnavailable, CampaignTimeout):
        print("elected: no")

    bad_disk.unlink()
    print("tokens rise:", client.election("first").campaign(timeout=10).token > first.token)
"""
LATER = """
import os, sys
from pathlib import Path
from leaderlock import ABSENT, BackendUnavailable, OutcomeUnknown, Write
from leaderlock_sqlite import open_backend

bad_disk = Path(os.environ["LEADERLOCK_BAD_DISK"])
backend = open_backend(f"sqlite:///{sys.argv[1]}", namespace="n")
memory = backend.read([], timeout=5).memory
def swap(name, stamp, value, **options):
    return backend.swap([Write(name, stamp, value, **options)], memory, timeout=0.5)[0].stamp

before = swap("name/a", ABSENT, b"before")
bad_disk.touch()
swap("name/b", ABSENT, b"given up", durable=False)
for value in b"unknown", b"never sent":
    try:
        swap("name/a", before, value)
    except OutcomeUnknown:
        pass
    except BackendUnavailable as error:
        print(error)
        print(backend.read(["name/a"], timeout=5).seen["name/a"].value)

bad_disk.unlink()
swap("name/a", before, b"later")
print(backend.read(["name/a"], timeout=5).seen["name/a"].value)
sys.stdout.flush()
os._exit(0)  # as kill -9 does: nothing tidies up
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


def test_a_commit_that_was_not_synced_is_not_shown_to_whoever_asks_what_became_of_it(on_bad_disk):
    # Shown, it would be taken for acknowledged: it is the caller's own write, on the same memory.
    shown, after = on_bad_disk(SWAPS)

    assert shown == "b'kept'"
    assert after.startswith("Swapped(")


def test_only_a_release_without_a_note_does_not_wait_for_the_disk(on_bad_disk):
    # What else is answered must be there after a power cut: tokens, notes. A name that seems held is free a ttl later.
    assert on_bad_disk(RELEASES) == [
        "released: True",
        "released with a note: False",
        "elected: no",
        "tokens rise: True",
    ]


def test_nothing_is_put_in_the_log_behind_what_was_not_synced_there(on_bad_disk, tmp_path):
    # It would go with it at a power cut, though it was synced itself.
    refused, *kept = on_bad_disk(LATER)

    assert "nothing was written" in refused
    assert kept == ["b'before'", "b'later'"]
    for end in ("-wal", "-shm"):
        (tmp_path / f"leader.db{end}").unlink()
    with closing(sqlite3.connect(tmp_path / "leader.db")) as database:
        values = {value for (value,) in database.execute("SELECT value FROM registers")}
    assert b"given up" in values, "it is in the database itself, and not in a log that may break off before it"


def test_a_power_cut_that_takes_a_release_back_takes_no_token_back(tmp_path):
    path = tmp_path / "leader.db"
    at_election = {}

    with connect(f"sqlite:///{path}", ttl=1.0) as client:
        lease = client.election("n").campaign()
        for file in (path, tmp_path / "leader.db-wal"):
            at_election[file] = file.read_bytes()
        lease.resign()
    for file, content in at_election.items():
        file.write_bytes(content)
    with connect(f"sqlite:///{path}", ttl=1.0) as client:
        held = client.status("n")
        after = client.election("n").campaign(timeout=10)

        assert held.term is not None, "the release was taken back"
        assert after.token > lease.token
