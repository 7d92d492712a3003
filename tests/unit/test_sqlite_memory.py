"""A file that was replaced, removed or set back is another memory, and its tokens start above all before."""

import os
import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from leaderlock import connect
from leaderlock.backend import ABSENT, Seen, Write
from leaderlock.errors import MemoryGone, OutcomeUnknown
from leaderlock_sqlite import open_backend
from leaderlock_sqlite._identity import file_id, is_same_file

TIMEOUT = 5.0
FILES = ("", "-wal", "-shm")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "leader.db"


@pytest.fixture
def open_one(path):
    opened = []

    def open_it(namespace="n"):
        opened.append(open_backend(f"sqlite:///{path}", namespace=namespace))
        return opened[-1]

    yield open_it
    for backend in opened:
        backend.close()


def look(backend):
    return backend.read(["name/a"], timeout=TIMEOUT)


def put(backend, value=b"x"):
    view = look(backend)
    return backend.swap([Write("name/a", view.seen["name/a"].stamp, value)], view.memory, timeout=TIMEOUT)


def back_up(path, copy):
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


def remove(path):
    for end in FILES:
        path.with_name(path.name + end).unlink(missing_ok=True)


def wipe(path):
    remove(path)


def replace_by_a_copy(path):
    copy = path.with_name("copy.db")
    back_up(path, copy)
    remove(path)
    copy.rename(path)


def restore_in_place(path):
    # What `sqlite3 leader.db ".restore older.db"` does: the same file, the pages of an older one.
    back_up(path.with_name("older.db"), path)


@pytest.fixture
def older(path):
    """Makes the copy that restore_in_place goes back to."""
    return lambda: back_up(path, path.with_name("older.db"))


@pytest.mark.parametrize("loss", [wipe, replace_by_a_copy, restore_in_place])
def test_a_write_of_the_old_memory_meets_memory_gone_and_a_read_shows_another(open_one, path, older, loss):
    backend = open_one()
    put(backend)
    older()
    put(backend)
    before = look(backend)

    loss(path)
    with pytest.raises(MemoryGone):
        backend.swap([Write("name/new", ABSENT, b"late")], before.memory, timeout=TIMEOUT)
    after = backend.read(["name/a", "name/new"], timeout=TIMEOUT)

    assert after.memory != before.memory
    assert after.floor > before.floor
    assert after.seen["name/new"] == Seen(None, ABSENT)
    assert look(open_one()).memory == after.memory


@pytest.mark.parametrize("loss", [wipe, replace_by_a_copy, restore_in_place])
def test_a_read_notices_by_itself(open_one, path, older, loss):
    backend = open_one()
    put(backend)
    older()
    put(backend)
    before = look(backend)

    loss(path)
    after = look(backend)

    assert after.memory != before.memory
    assert after.floor > before.floor


def test_a_copy_that_was_put_in_place_while_nobody_ran_is_another_memory(open_one, path):
    first = open_one()
    put(first)
    before = look(first)
    first.close()
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    remove(path)
    # The file system may well hand out the freed inode again; the time of creation tells them apart.
    shutil.copy(copy, path)

    after = look(open_one())

    assert after.memory != before.memory
    assert after.floor > before.floor


def test_stamps_go_on_above_the_old_ones_after_a_set_back_that_nobody_saw(open_one, path, older):
    first = open_one()
    put(first)
    older()
    (last,) = put(first)
    first.close()
    restore_in_place(path)

    (answer,) = put(open_one())

    assert answer.stamp > last.stamp


def test_tokens_go_on_above_the_old_ones_after_a_set_back_that_nobody_saw(path, older):
    def lead():
        with connect(f"sqlite:///{path}") as client, client.election("a", timeout=10) as lease:
            return lease.token

    lead()
    older()
    last = lead()

    restore_in_place(path)

    assert lead() > last


def test_whoever_starts_after_a_set_back_has_a_token_above_the_leader_s_that_was_not_seen_any_more(path, older):
    url = f"sqlite:///{path}"
    with connect(url) as first, first.election("a", timeout=10):
        pass
    older()
    with connect(url, ttl=1) as old, connect(url, ttl=1) as new:
        before = old.election("a").campaign(timeout=10)
        restore_in_place(path)
        assert new.election("a").campaign(timeout=10).token > before.token


def test_no_stamp_falls_below_a_floor_that_was_told_when_the_clock_is_set_back(open_one, path, monkeypatch):
    backend = open_one()
    put(backend)
    told = look(backend).floor

    monkeypatch.setattr(time, "time_ns", lambda: 1)
    (answer,) = put(backend)

    assert answer.stamp > told
    assert look(open_one()).floor > told


def test_a_file_that_comes_back_is_not_the_memory_it_was(open_one, path):
    backend = open_one()
    put(backend)
    before = look(backend).memory
    aside = path.with_name("aside.db")
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.rename(aside)
    between = look(backend).memory
    remove(path)
    aside.rename(path)

    after = look(backend).memory

    assert len({before, between, after}) == 3


def test_a_memory_that_gave_way_while_another_thread_wrote_does_not_come_back_with_its_file(
    open_one, path, monkeypatch
):
    backend = open_one()
    put(backend)
    before = look(backend).memory
    aside = path.with_name("aside.db")
    lend = backend._pool.use

    def use_late(deadline):
        monkeypatch.setattr(backend._pool, "use", lend)
        put(backend)  # by another thread, after this one has noted what it knows
        with closing(sqlite3.connect(path)) as shell:
            shell.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path.rename(aside)
        return lend(deadline)

    monkeypatch.setattr(backend._pool, "use", use_late)
    between = look(backend).memory
    remove(path)
    aside.rename(path)

    after = look(backend).memory

    assert len({before, between, after}) == 3


def test_memory_and_stamps_outlive_a_restart(open_one):
    first = open_one()
    put(first, b"kept")
    before = look(first)
    first.close()

    after = look(open_one())

    assert (after.memory, after.seen) == (before.memory, before.seen)
    assert after.floor >= before.floor


def test_namespaces_have_memories_of_their_own(open_one):
    one, other = open_one("one"), open_one("other")
    put(one, b"one's")

    assert look(one).memory != look(other).memory
    assert look(other).seen["name/a"] == Seen(None, ABSENT)


def test_a_clock_that_is_set_back_does_not_set_back_the_floor(open_one, monkeypatch):
    backend = open_one()
    put(backend)
    before = look(backend)
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000_000)

    put(backend)

    assert look(backend).floor == before.floor + 1


def test_a_file_removed_during_a_write_takes_the_write_with_it(open_one, path, monkeypatch):
    backend = open_one()
    put(backend)
    before = look(backend)
    really_stands = backend._stands

    def removes_it_first(*arguments):
        stands = really_stands(*arguments)
        remove(path)
        return stands

    monkeypatch.setattr(backend, "_stands", removes_it_first)
    with pytest.raises(MemoryGone):
        backend.swap([Write("name/b", ABSENT, b"x")], before.memory, timeout=TIMEOUT)


def test_a_memory_that_was_called_gone_stays_gone_when_the_very_file_is_back(open_one, path, monkeypatch):
    backend = open_one()
    memory = look(backend).memory
    commit = type(backend)._commit

    def move_away(backend, connection):
        commit(backend, connection)
        path.rename(path.with_name("away"))

    with monkeypatch.context() as during:
        during.setattr(type(backend), "_commit", move_away)
        with pytest.raises(MemoryGone):
            backend.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)
    path.with_name("away").rename(path)

    with pytest.raises(MemoryGone):
        backend.swap([Write("name/b", ABSENT, b"x")], memory, timeout=TIMEOUT)
    assert look(backend).memory != memory


def test_a_path_that_cannot_be_looked_at_after_a_write_leaves_a_doubt_and_the_memory_stands(open_one, monkeypatch):
    backend = open_one()
    memory = look(backend).memory
    commit = type(backend)._commit

    def shut_the_directory(backend, connection):
        commit(backend, connection)
        during.setattr(os, "stat", may_not)

    def may_not(path):
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as during:
        during.setattr(type(backend), "_commit", shut_the_directory)
        with pytest.raises(OutcomeUnknown, match="cannot be told"):
            backend.swap([Write("name/a", ABSENT, b"x")], memory, timeout=TIMEOUT)

    after = look(backend)
    assert (after.memory, after.seen["name/a"].value) == (memory, b"x")


def test_a_file_replaced_while_it_is_opened_is_not_taken_for_the_new_one(open_one, path, monkeypatch):
    put(open_one(), b"old")
    really_connect = sqlite3.connect

    def connect_and_replace(*arguments, **options):
        connection = really_connect(*arguments, **options)
        connection.execute("PRAGMA schema_version")
        monkeypatch.undo()
        remove(path)
        put(open_one(), b"new")
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect_and_replace)

    assert look(open_one()).seen["name/a"].value == b"new"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("5.10", "5.10", True),
        ("5.10", "5.11", False),
        ("5.10", "6.10", False),
        ("5.0", "5.11", True),
        ("5.11", "5.0", True),
    ],
)
def test_a_time_of_creation_that_is_not_known_says_nothing(one, other, same):
    assert is_same_file(one, other) is same


def test_the_id_of_a_file_outlives_its_name(path):
    path.write_text("x")
    before = file_id(path)

    moved = path.with_name("moved.db")
    os.rename(path, moved)

    assert file_id(moved) == before
