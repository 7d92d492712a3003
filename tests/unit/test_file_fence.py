"""The file fence: what it admits, and what is on the disk after each step."""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

import pytest

from leaderlock.errors import StaleToken
from leaderlock.fences import MAX_TOKEN, FenceBusy, WatermarkLost, check_refuses_stale
from leaderlock.fences._watermark import formatted
from leaderlock.fences.file import FencedFile
from tests.fences.disk import steps_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
def file(path: Path) -> FencedFile:
    return FencedFile(path)


def watermark(path: Path) -> Path:
    return path.with_name(f".{path.name}.fence")


def failing_for_folders(call):
    """``os.open`` or ``os.fsync``, on a disk that fails for folders."""

    def on_a_bad_disk(what, *arguments):
        if stat.S_ISDIR(os.stat(what).st_mode if os.path.exists(what) else 0):
            failing()
        return call(what, *arguments)

    return on_a_bad_disk


def failing() -> None:
    raise OSError(5, "Input/output error")


def test_a_file_that_was_never_written_is_empty_and_admits_the_first_token(file):
    assert (file.read(), file.highest) == (None, 0)

    file.write(b"one", token=1)

    assert (file.read(), file.highest) == (b"one", 1)


def test_a_stale_writer_is_refused_and_changes_nothing(file):
    file.write(b"new", token=8)

    with pytest.raises(StaleToken, match="refused token 7") as caught:
        file.write(b"old", token=7)

    assert (caught.value.token, caught.value.highest) == (7, 8)
    assert (file.read(), file.highest) == (b"new", 8)


def test_the_holders_second_write_is_admitted(file):
    file.write(b"first", token=5)
    file.write(b"second", token=5)

    assert file.read() == b"second"


def test_a_stamp_refuses_older_writes_before_anything_is_written(file):
    file.write(b"old", token=1)

    file.stamp(2)

    with pytest.raises(StaleToken):
        file.write(b"late", token=1)
    assert (file.read(), file.highest) == (b"old", 2)


def test_a_stale_stamp_is_refused(file):
    file.stamp(2)

    with pytest.raises(StaleToken):
        file.stamp(1)


def test_an_update_sees_the_content_and_returns_what_it_wrote(file):
    assert file.update(lambda old: (old or b"") + b"a", token=1) == b"a"
    assert file.update(lambda old: (old or b"") + b"b", token=1) == b"ab"

    assert file.read() == b"ab"


def test_a_stale_update_does_not_even_compute(file):
    file.stamp(2)

    with pytest.raises(StaleToken):
        file.update(lambda _: pytest.fail("computed"), token=1)


def test_a_change_that_fails_leaves_the_content_and_keeps_the_stamp(file):
    file.write(b"old", token=1)

    with pytest.raises(ZeroDivisionError):
        file.update(lambda _: b"%d" % (1 // 0), token=2)

    assert (file.read(), file.highest) == (b"old", 2)


@pytest.mark.parametrize("token", ["7", b"7", 7.0, True, None])
def test_what_is_no_int_is_no_token(file, token):
    with pytest.raises(TypeError, match=r"lease\.token"):
        file.write(b"", token=token)
    with pytest.raises(TypeError):
        file.stamp(token)

    assert file.highest == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda file, token: file.write(b"", token=token),
        lambda file, token: file.update(lambda _: b"", token=token),
        lambda file, token: file.stamp(token),
        lambda file, token: file.adopt(token),
    ],
    ids=["write", "update", "stamp", "adopt"],
)
@pytest.mark.parametrize("token", [0, -1, MAX_TOKEN + 1])
def test_a_token_out_of_range_is_refused(file, use, token):
    with pytest.raises(ValueError, match=r"2\*\*53"):
        use(file, token)

    assert file.highest == 0


def test_the_greatest_token_fits(file):
    file.write(b"last", token=MAX_TOKEN)

    assert file.highest == MAX_TOKEN


def test_a_file_that_was_never_fenced_takes_no_write_until_it_is_adopted(file, path):
    path.write_bytes(b"precious")

    for use in (lambda: file.write(b"", token=9), lambda: file.stamp(9), lambda: file.highest):
        with pytest.raises(WatermarkLost, match="adopt"):
            use()
    file.adopt(9)

    assert (file.read(), file.highest) == (b"precious", 9)
    with pytest.raises(StaleToken):
        file.write(b"", token=8)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content.replace(b"12", b"11"),
        lambda content: content.replace(b"fence 1", b"fence 2"),
        lambda content: b"\0" * len(content),
        lambda content: formatted(MAX_TOKEN + 1),
    ],
)
def test_a_damaged_watermark_never_counts_as_zero(file, path, damage):
    file.write(b"data", token=12)
    watermark(path).write_bytes(damage(watermark(path).read_bytes()))

    with pytest.raises(WatermarkLost, match="damaged"):
        file.write(b"stale", token=1)
    file.adopt(12)

    assert (file.read(), file.highest) == (b"data", 12)


def test_a_lost_watermark_never_counts_as_zero(file, path):
    file.write(b"data", token=12)
    watermark(path).unlink()

    with pytest.raises(WatermarkLost, match="deleted"):
        file.write(b"stale", token=1)

    assert file.read() == b"data"


def test_adopting_never_lowers_a_watermark(file):
    file.write(b"data", token=12)

    with pytest.raises(StaleToken):
        file.adopt(11)

    assert file.highest == 12


def test_a_watermark_outlives_its_data(file, path):
    file.write(b"data", token=12)
    path.unlink()

    with pytest.raises(StaleToken):
        file.write(b"stale", token=11)
    assert (file.read(), file.highest) == (None, 12)


def test_permissions_are_kept(file, path):
    file.write(b"", token=1)
    path.chmod(0o640)

    file.write(b"again", token=1)

    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_symbolic_link_leads_to_one_fence(tmp_path, path):
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(path)

    FencedFile(link).write(b"data", token=5)

    assert link.is_symlink()
    with pytest.raises(StaleToken):
        FencedFile(path).write(b"", token=4)


def test_waiting_for_other_writers_ends_in_time_and_says_so(path):
    file = FencedFile(path, timeout=0.05)
    file.stamp(1)

    with open(path.with_name(f".{path.name}.fence-lock"), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(FenceBusy, match=r"0\.05 s") as caught:
            file.write(b"", token=1)

    assert isinstance(caught.value, TimeoutError)
    file.write(b"now", token=1)


def test_a_lock_that_was_tidied_away_while_waiting_is_not_believed(path, monkeypatch):
    file = FencedFile(path)
    lock = path.with_name(f".{path.name}.fence-lock")
    flock, locked = fcntl.flock, []

    def tidy(descriptor: int, how: int) -> None:
        if not locked:
            lock.unlink()
        flock(descriptor, how)
        if how != fcntl.LOCK_UN:
            locked.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(fcntl, "flock", tidy)
    file.write(b"data", token=1)

    assert len(locked) == 2
    assert locked[-1] == lock.stat().st_ino


def test_a_write_that_does_not_fit_leaves_nothing_behind(file, path, monkeypatch):
    file.write(b"old", token=1)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        file.write(b"new", token=1)

    assert file.read() == b"old"
    assert not path.with_name(f".{path.name}.fence-new").exists()


def test_the_watermark_is_on_the_disk_before_the_data_is_there(file, path, monkeypatch):
    # A power cut keeps what was synced and any part of the rest; so this order is the whole proof.
    steps = steps_of(monkeypatch)

    file.write(b"data", token=3)

    assert steps == [
        "sync file",
        "show .state.json.fence",
        "sync folder",
        "sync file",
        "show state.json",
        "sync folder",
    ]


@pytest.mark.parametrize("fails", ["open", "fsync"])
@pytest.mark.parametrize("again", ["the same", "another"])
def test_a_watermark_that_may_not_be_on_the_disk_is_synced_before_its_token_is_admitted_again(
    file, path, monkeypatch, fails, again
):
    # Its rename was made and can be seen, but a power cut may take it back until the folder is synced.
    with monkeypatch.context() as disk:
        disk.setattr(os, fails, failing_for_folders(getattr(os, fails)))
        with pytest.raises(OSError, match="Input/output"):
            file.stamp(3)
    steps = steps_of(monkeypatch)
    file = file if again == "the same" else FencedFile(path)

    file.stamp(3)
    file.write(b"data", token=3)

    assert steps == ["sync folder", "sync file", "show state.json", "sync folder"]


def test_a_file_that_cannot_be_looked_at_is_not_taken_for_one_that_never_was(file, path, monkeypatch):
    file.write(b"data", token=12)
    watermark(path).unlink()

    with monkeypatch.context() as disk:
        disk.setattr(os, "lstat", lambda path: failing())
        with pytest.raises(OSError, match="Input/output"):
            file.write(b"stale", token=1)

    assert file.read() == b"data"


def test_the_ready_test_passes_on_this_fence(file):
    check_refuses_stale(lambda token: file.write(b"", token=token))
    check_refuses_stale(file.stamp, token=100)


def test_the_ready_test_finds_what_is_wrong():
    highest = 0

    def refuse(token: int) -> None:
        raise StaleToken("no", token=token, highest=9)

    def refuse_equal(token: int) -> None:
        nonlocal highest
        if token <= highest:
            refuse(token)
        highest = token

    def refuse_oddly(token: int) -> None:
        nonlocal highest
        if token < highest:
            raise KeyError(token)
        highest = token

    with pytest.raises(AssertionError, match="can still write"):
        check_refuses_stale(lambda token: None)
    with pytest.raises(AssertionError, match="fresh resource"):
        check_refuses_stale(refuse)
    with pytest.raises(AssertionError, match="compare with >="):
        check_refuses_stale(refuse_equal)
    highest = 0
    with pytest.raises(AssertionError, match="KeyError"):
        check_refuses_stale(refuse_oddly)


# -- what is no file


@pytest.fixture(params=["folder", "pipe", "device"])
def no_file(request, path, tmp_path) -> Path:
    if request.param == "device":
        return Path(os.devnull)
    os.mkdir(path) if request.param == "folder" else os.mkfifo(path)
    return path


def test_what_is_no_regular_file_is_refused_before_anything_is_written(no_file, tmp_path):
    before = sorted(tmp_path.iterdir())

    with pytest.raises(ValueError, match="only a regular file, or none yet, can be fenced"):
        FencedFile(no_file)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("operation", ["read", "stamp", "write", "adopt"])
def test_what_has_become_a_pipe_is_neither_read_nor_replaced(file, path, tmp_path, operation):
    os.mkfifo(path)
    operate = {
        "read": file.read,
        "stamp": lambda: file.stamp(1),
        "write": lambda: file.write(b"x", token=1),
        "adopt": lambda: file.adopt(1),
    }[operation]

    with pytest.raises(ValueError, match="a device, a pipe or a socket"):
        operate()
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize(
    ("name", "error"), [("", ValueError), (b"state", TypeError), (7, TypeError), (None, TypeError)]
)
def test_a_path_that_names_nothing_is_refused(name, error, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(error, match="fenced file"):
        FencedFile(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("timeout", "error"),
    [("1", TypeError), (None, TypeError), (True, TypeError), (-1, ValueError), (float("nan"), ValueError)],
)
def test_a_timeout_that_is_no_number_of_seconds_is_refused(path, timeout, error):
    with pytest.raises(error, match="timeout"):
        FencedFile(path, timeout=timeout)
