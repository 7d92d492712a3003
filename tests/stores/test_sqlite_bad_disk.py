"""A disk on which nothing can be synced for a while, under one process, which is the only one to use the file."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SHIM = Path(__file__).with_name("syncshim.c")
PROGRAM = """
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


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    if not shutil.which("gcc"):
        pytest.skip("there is no gcc to build the bad disk with")
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, SHIM], check=True)
    return library


def test_a_commit_that_was_not_synced_is_not_shown_to_whoever_asks_what_became_of_it(shim, tmp_path):
    # Shown, it would be taken for acknowledged: it is the caller's own write, on the same memory.
    environment = os.environ | {"LD_PRELOAD": str(shim), "LEADERLOCK_BAD_DISK": str(tmp_path / "bad")}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "leader.db"], env=environment, capture_output=True, check=False
    )

    assert done.stderr == b""
    shown, after = done.stdout.splitlines()
    assert shown == b"b'kept'"
    assert after.startswith(b"Swapped(")
