"""Files that are replaced at one stroke, and for good."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

__all__ = ["checked_path", "content_of", "is_there", "refuse_what_is_no_file", "replace", "sync", "sync_folder_of"]


def checked_path(path: str | os.PathLike[str], *, what: str) -> str:
    """The file that is meant, which need not be there yet; ``what`` it is to be is for the messages."""
    named: object = os.fspath(path) if hasattr(path, "__fspath__") else path
    if not isinstance(named, str):
        raise TypeError(f"{what} is named by a str or a path of str, not {path!r}")
    if not named:
        raise ValueError(f"the path of {what} must not be empty")
    real = os.path.realpath(named)
    refuse_what_is_no_file(real)
    return real


def refuse_what_is_no_file(path: str) -> None:
    """A file is fenced by putting another in its place: of a device or a pipe that would take the place, and a folder
    cannot be replaced."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise ValueError(f"{path} is {kind}: only a regular file, or none yet, can be fenced; nothing was written")


def content_of(path: str) -> bytes | None:
    """All that is in the file; None if there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def is_there(path: str) -> bool:
    """Whether there is such a file, or a link of that name; raises where that cannot be told."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def replace(path: str, data: bytes, *, by: str) -> None:
    """Put ``data`` in the place of ``path``.

    ``by`` names a file next to it, where the data lies before. The caller holds a lock, so nobody else writes that one.
    If this fails, or is killed, the data may be in its place all the same, and not yet for good.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(by)  # left by a crash
    descriptor = os.open(by, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(descriptor, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                _dress(descriptor, os.stat(path))
            file.write(data)
            file.flush()
            sync(descriptor)
        os.replace(by, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(by)  # a full disk should not be kept full by what did not fit
        raise
    sync_folder_of(path)


def sync_folder_of(path: str) -> None:
    """Wait until what the file's name leads to is on the disk: until then, a power cut may take a replacement back."""
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(folder)
    finally:
        os.close(folder)


def sync(descriptor: int) -> None:
    """Wait until what was written is on the disk."""
    full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS, where fsync stops at the drive's cache
    if full is None:
        os.fsync(descriptor)
    else:
        fcntl.fcntl(descriptor, full)


def _dress(descriptor: int, like: os.stat_result) -> None:
    """Give a new file the permissions of the one it replaces, and its owner where that is allowed."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, like.st_uid, like.st_gid)
    os.fchmod(descriptor, like.st_mode & 0o777)  # without set-user-id, as the owner may be another
