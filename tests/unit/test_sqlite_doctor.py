"""What ``doctor`` finds of SQLite files: on real ones where this machine lets us have them, and judged from facts."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from leaderlock import connect
from leaderlock._client import engine_of
from leaderlock._doctor import examine
from leaderlock.diagnosis import Level
from leaderlock_sqlite import open_backend
from leaderlock_sqlite._doctor import Facts, judge
from leaderlock_sqlite._mounts import file_system
from tests.unit.test_sqlite_files import small_disk

FACTS = Facts(
    path=Path("/srv/leader.db"),
    journal="wal",
    synchronous=2,
    file_system="ext4",
    free=1 << 30,
    mode=0o100600,
    folder_mode=0o40700,
    is_pushed=True,
)


def look(path, **terms):
    with connect(open_backend(f"sqlite:///{path}", namespace="default"), **terms) as client:
        return examine(engine_of(client))


def codes(found, least=Level.NOTE):
    return {finding.code for finding in found.findings if finding.level >= least}


def judged(**changed):
    return {finding.code: finding for finding in judge(replace(FACTS, **changed))}


def test_a_file_on_a_disk_is_said_to_be_of_one_host(tmp_path):
    found = look(tmp_path / "leader.db")

    assert {"one-host", "unused"} <= codes(found)
    assert codes(found, Level.WARNING) <= {"container-layer"}, "only where this machine is a container itself"
    assert "journal wal, synchronous FULL" in next(one.text for one in found.findings if one.code == "journal")


def test_a_file_that_every_user_may_write_is_a_warning(tmp_path):
    path = tmp_path / "leader.db"
    look(path)
    path.chmod(0o666)

    found = look(path)

    assert "rights" in codes(found, Level.WARNING)


def test_a_directory_where_every_user_may_replace_the_file_is_a_warning(tmp_path):
    tmp_path.chmod(0o777)

    found = look(tmp_path / "leader.db")

    assert "rights" in codes(found, Level.WARNING)
    assert "rights" not in judged(folder_mode=0o41777), "where the sticky bit keeps others from it"


def fill(file):
    while True:
        file.write(b"x" * 4096)


@contextmanager
def nobody():
    """As a user without rights, where we are one with all of them."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_may_only_be_read_is_an_error():
    with tempfile.TemporaryDirectory(prefix="leaderlock-") as folder:
        path = Path(folder) / "leader.db"
        look(path)
        os.chmod(path, 0o444)
        os.chmod(folder, 0o555)

        try:
            with nobody():
                found = look(path)
        finally:
            os.chmod(folder, 0o755)

    assert codes(found, Level.ERROR) == {"refused"}
    assert "read-only for this user; make it writable" in found.findings[0].text


def test_a_disk_with_little_room_is_a_warning_and_a_full_one_an_error(tmp_path):
    with small_disk(tmp_path):
        nearly = look(tmp_path / "leader.db")
        with open(tmp_path / "ballast", "wb", buffering=0) as ballast, pytest.raises(OSError, match="space"):
            fill(ballast)
        full = look(tmp_path / "leader.db")

    assert codes(nearly, Level.WARNING) == {"disk-space"}
    assert "in-memory" in codes(nearly)
    assert full.level is Level.ERROR


def test_a_file_in_memory_is_a_note():
    shm = Path("/dev/shm")
    if file_system(shm) != "tmpfs":
        pytest.skip("declared unsupported: this machine has no /dev/shm")
    folder = tempfile.mkdtemp(dir=shm)
    try:
        found = look(Path(folder) / "leader.db")
    finally:
        shutil.rmtree(folder)

    assert "in-memory" in codes(found)


@contextmanager
def layered(folder):
    """A file system of layers, as a container has it, where this machine lets us have one."""
    # In memory, as layers do not lie upon layers.
    with small_disk(folder, "size=64m"):
        for name in ("lower", "upper", "work", "merged"):
            (folder / name).mkdir()
        options = f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work"
        mount = ["mount", "-t", "overlay", "-o", options, "overlay", f"{folder}/merged"]
        mounted = subprocess.run(mount, capture_output=True, check=False)
        if mounted.returncode:
            pytest.skip(f"no right to mount a file system here: {mounted.stderr.decode().strip()}")
        try:
            yield folder / "merged"
        finally:
            subprocess.run(["umount", "-l", f"{folder}/merged"], check=True)


def test_a_container_s_own_layer_is_a_warning(tmp_path):
    with layered(tmp_path) as layer:
        found = look(layer / "leader.db")

    assert codes(found, Level.WARNING) == {"container-layer"}


def test_a_layer_is_told_from_a_disk():
    assert "container-layer" in judged(file_system="overlay")
    assert "container-layer" not in judged(file_system="ext4")


def test_a_system_without_inotify_is_a_note():
    assert judged(is_pushed=False)["polled"].level is Level.NOTE
    assert "polled" not in judged()


def test_all_is_well_on_a_disk():
    assert {finding.level for finding in judged().values()} == {Level.OK, Level.NOTE}
