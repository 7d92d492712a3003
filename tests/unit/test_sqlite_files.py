"""Files that cannot be used say so, and what is somebody else's is left alone."""

import os
import sqlite3
import subprocess
from contextlib import closing, contextmanager

import pytest

from leaderlock.backend import ABSENT, Swapped, Write
from leaderlock.errors import BackendRefused, BackendUnavailable, OutcomeUnknown
from leaderlock_sqlite import open_backend
from leaderlock_sqlite._errors import error_at_commit, error_before_commit

TIMEOUT = 5.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "leader.db"


@pytest.fixture
def backend(path):
    with closing(open_backend(f"sqlite:///{path}", namespace="n")) as opened:
        yield opened


@contextmanager
def small_disk(directory, *options):
    """A file system of its own, where this machine lets us have one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", ",".join(("size=256k", *options)), "leaderlock-test", os.fspath(directory)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount a file system here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", os.fspath(directory)], check=True)


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(BackendRefused, match=r"there is no directory .*/nowhere; create it"):
        open_backend(f"sqlite:///{tmp_path}/nowhere/x.db", namespace="n")


def test_a_state_directory_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", f"{tmp_path}/file")

    with pytest.raises(BackendRefused, match=r"cannot be made.*XDG_STATE_HOME"):
        open_backend("sqlite:", namespace="n")


def test_a_directory_that_this_user_may_not_search_is_refused(tmp_path, monkeypatch):
    def may_not(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(type(tmp_path), "is_dir", may_not)  # as root, one may look everywhere

    with pytest.raises(BackendRefused, match="may not look there"):
        open_backend(f"sqlite:///{tmp_path}/x.db", namespace="n")


def test_what_somebody_wrote_by_hand_as_text_is_read_as_bytes(backend, path):
    memory = backend.read([], timeout=TIMEOUT).memory
    backend.swap([Write("a", ABSENT, b"x")], memory, timeout=TIMEOUT)
    with closing(sqlite3.connect(path)) as shell:
        shell.execute("UPDATE registers SET value = 'by hand'")
        shell.commit()

    [conflict] = backend.swap([Write("a", ABSENT, b"y")], memory, timeout=TIMEOUT)

    assert backend.read(["a"], timeout=TIMEOUT).seen["a"].value == b"by hand"
    assert [seen.value for _, seen in backend.scan("", timeout=TIMEOUT)] == [b"by hand"]
    assert conflict.seen.value == b"by hand"


def test_a_turn_that_an_interruption_left_taken_keeps_no_later_writer_waiting(backend):
    memory = backend.read([], timeout=TIMEOUT).memory
    backend._turn.acquire()  # what Ctrl-C leaves behind, right after this

    answers = [backend.swap([Write(key, ABSENT, b"x")], memory, timeout=0.4) for key in "ab"]

    assert all(isinstance(answer, Swapped) for [answer] in answers)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "No such file"), PermissionError(13, "Permission denied"), OSError(5, "I/O error")]
)
def test_a_file_that_cannot_be_looked_at_while_it_is_opened_is_unavailable_for_a_moment(
    backend, path, monkeypatch, error
):
    really_connect = sqlite3.connect

    def connect_and_look_away(*arguments, **options):
        connection = really_connect(*arguments, **options)
        looking_away.setattr(os, "stat", lambda path: raising(error))
        return connection

    with monkeypatch.context() as looking_away:
        looking_away.setattr(sqlite3, "connect", connect_and_look_away)
        with pytest.raises(BackendUnavailable, match=error.strerror) as unavailable:
            backend.read([], timeout=TIMEOUT)

    assert type(unavailable.value) is BackendUnavailable  # nothing was sent, so nothing is in doubt
    backend.read([], timeout=TIMEOUT)


def raising(error):
    raise error


def test_a_directory_is_not_a_database(tmp_path):
    with pytest.raises(BackendRefused, match="this is a directory; name a file in it"):
        open_backend(f"sqlite:///{tmp_path}", namespace="n")


@pytest.mark.parametrize("name", ["loop.db", "n" * 300], ids=["links in a circle", "a name too long"])
def test_a_path_that_leads_nowhere_is_refused(tmp_path, name):
    (tmp_path / "loop.db").symlink_to("loop.db")

    with pytest.raises(BackendRefused, match=r"this path leads nowhere.*; name another"):
        open_backend(f"sqlite:///{tmp_path}/{name}", namespace="n")


def test_a_pipe_is_not_a_database(path):
    os.mkfifo(path)

    with pytest.raises(BackendRefused, match="not an ordinary file"):
        open_backend(f"sqlite:///{path}", namespace="n")


def test_a_file_with_two_names_is_refused(backend, path):
    backend.read([], timeout=TIMEOUT)
    os.link(path, path.with_name("other.db"))

    with (
        closing(open_backend(f"sqlite:///{path}", namespace="n")) as other,
        pytest.raises(BackendRefused, match="hard links"),
    ):
        other.read([], timeout=TIMEOUT)


def test_a_text_file_is_refused_and_left_alone(backend, path):
    path.write_text("these are not the bytes you are looking for\n" * 100)
    before = path.read_bytes()

    with pytest.raises(BackendRefused, match="not a SQLite database"):
        backend.read([], timeout=TIMEOUT)

    assert path.read_bytes() == before


def test_a_damaged_file_is_refused_with_what_to_do(backend, path):
    view = backend.read(["name/a"], timeout=TIMEOUT)
    for number in range(200):
        backend.swap([Write(f"name/{number}", ABSENT, b"x" * 500)], view.memory, timeout=TIMEOUT)
    backend.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (size - 4096))

    with (
        closing(open_backend(f"sqlite:///{path}", namespace="n")) as other,
        pytest.raises(BackendRefused, match=r"damaged; stop its users, move it"),
    ):
        list(other.scan("", timeout=TIMEOUT))


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 7", "PRAGMA application_id = 7"]
)
def test_another_applications_database_is_refused_and_left_alone(backend, path, statement):
    with closing(sqlite3.connect(path)) as theirs:
        theirs.execute(statement)
    before = path.read_bytes()

    with pytest.raises(BackendRefused, match="another application's database"):
        backend.read([], timeout=TIMEOUT)

    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(backend, path):
    backend.read([], timeout=TIMEOUT)
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 2")

    with (
        closing(open_backend(f"sqlite:///{path}", namespace="n")) as other,
        pytest.raises(BackendRefused, match="schema 2 and this version knows 1"),
    ):
        other.read([], timeout=TIMEOUT)


def test_a_read_only_file_system_is_refused(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()

    with (
        small_disk(disk, "ro"),
        closing(open_backend(f"sqlite:///{disk}/x.db", namespace="n")) as backend,
        pytest.raises(BackendRefused, match="cannot be opened"),
    ):
        backend.read([], timeout=TIMEOUT)


def fill(backend, memory, acknowledged):
    for number in range(1000):
        (answer,) = backend.swap([Write(f"name/{number}", ABSENT, b"x" * 5000)], memory, timeout=TIMEOUT)
        acknowledged[f"name/{number}"] = answer.stamp


def test_a_full_disk_is_refused_and_what_was_acknowledged_stays(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()

    with small_disk(disk), closing(open_backend(f"sqlite:///{disk}/x.db", namespace="n")) as backend:
        memory = backend.read([], timeout=TIMEOUT).memory
        acknowledged = {}
        with pytest.raises(BackendRefused, match=r"full; nothing was written; make room") as refused:
            fill(backend, memory, acknowledged)
        found = {key: seen.stamp for key, seen in backend.scan("name/", timeout=TIMEOUT)}

    assert refused.value.__cause__ is not None
    assert acknowledged
    assert found == acknowledged


def test_a_value_that_is_too_great_is_refused_before_anything_is_done(backend):
    memory = backend.read([], timeout=TIMEOUT).memory
    writes = [Write("a", ABSENT, b"x"), Write("b", ABSENT, b"x" * (backend.traits.max_value + 1))]

    with pytest.raises(BackendRefused, match="1048577 bytes"):
        backend.swap(writes, memory, timeout=TIMEOUT)

    assert not list(backend.scan("", timeout=TIMEOUT))


def test_more_keys_than_a_batch_takes_are_a_mistake(backend):
    keys = [f"name/{number}" for number in range(backend.traits.max_batch + 1)]

    with pytest.raises(ValueError, match="1001 keys"):
        backend.read(keys, timeout=TIMEOUT)


def failed(code):
    error = sqlite3.OperationalError("it failed")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("code", "before", "at_commit"),
    [
        (sqlite3.SQLITE_BUSY, BackendUnavailable, OutcomeUnknown),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, BackendUnavailable, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_WRITE, BackendRefused, OutcomeUnknown),
        (sqlite3.SQLITE_IOERR_FSYNC, BackendRefused, OutcomeUnknown),
        (sqlite3.SQLITE_FULL, BackendRefused, BackendRefused),
        (sqlite3.SQLITE_READONLY, BackendRefused, BackendRefused),
        (sqlite3.SQLITE_CORRUPT_VTAB, BackendRefused, OutcomeUnknown),
        (sqlite3.SQLITE_NOTADB, BackendRefused, OutcomeUnknown),
        (sqlite3.SQLITE_CANTOPEN, BackendRefused, OutcomeUnknown),
        (sqlite3.SQLITE_PERM, BackendRefused, OutcomeUnknown),
        (sqlite3.SQLITE_PROTOCOL, BackendUnavailable, OutcomeUnknown),
        (sqlite3.SQLITE_INTERNAL, BackendUnavailable, OutcomeUnknown),
    ],
)
def test_only_a_commit_leaves_a_doubt(path, code, before, at_commit):
    assert type(error_before_commit(failed(code), path)) is before
    assert type(error_at_commit(failed(code), path)) is at_commit


def test_a_link_to_the_file_shares_its_bell_and_its_memory(backend, path):
    link = path.with_name("link.db")
    link.symlink_to(path)
    memory = backend.read([], timeout=TIMEOUT).memory

    with closing(open_backend(f"sqlite:///{link}", namespace="n")) as other:
        (answer,) = other.swap([Write("a", ABSENT, b"x")], memory, timeout=TIMEOUT)

    assert isinstance(answer, Swapped)
    assert sorted(found.name for found in path.parent.glob("*-bell")) == ["leader.db-bell"]


def test_a_prefix_is_taken_literally(backend):
    memory = backend.read([], timeout=TIMEOUT).memory
    keys = ["name/100%", "name/100x", "name/_", "name/a", "name/[a]", "name/\U0010fffd", "session/1"]
    backend.swap([Write(key, ABSENT, b"x") for key in keys], memory, timeout=TIMEOUT)

    found = {
        prefix: [key for key, _ in backend.scan(prefix, timeout=TIMEOUT)] for prefix in ("name/100%", "name/_", "")
    }

    assert found == {"name/100%": ["name/100%"], "name/_": ["name/_"], "": sorted(keys)}


def test_a_scan_of_many_slices_shows_every_register_once(backend):
    memory = backend.read([], timeout=TIMEOUT).memory
    keys = [f"name/{number:05}" for number in range(1500)]
    for start in (0, 500, 1000):
        backend.swap([Write(key, ABSENT, b"x") for key in keys[start : start + 500]], memory, timeout=TIMEOUT)

    found = [key for key, _ in backend.scan("name/", timeout=TIMEOUT)]

    assert found == keys


def test_a_file_that_took_all_the_time_to_be_made_is_not_called_replaced(tmp_path):
    backend = open_backend(f"sqlite:///{tmp_path / 'leader.db'}", namespace="n")

    with closing(backend), pytest.raises(BackendUnavailable, match="made just now"):
        backend.read([], timeout=0)
