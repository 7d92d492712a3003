"""A process's kin: everything it started, found by parentage, so that what left its group is reached too."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import signal
import sys
from typing import Final

__all__ = [
    "LINUX",
    "adopt_orphans",
    "bury_others",
    "close_inherited",
    "die_with_parent",
    "group_lives",
    "name_process",
    "reap",
    "signal_group",
    "signal_kin",
]

LINUX: Final = sys.platform.startswith("linux")


def _prctl(option: int, argument: int | bytes) -> None:
    if LINUX:
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


def name_process(name: bytes) -> None:
    _prctl(15, name)  # PR_SET_NAME: what ps and top show


def adopt_orphans() -> None:
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: a daemon whose parent died becomes this process's child, and can be found


def die_with_parent() -> None:
    # PR_SET_PDEATHSIG, a second belt only: it reaches the direct child alone, and is dropped when that runs a setuid
    # program. It fires when the forking *thread* ends, which is why a wrapper with threads could not use it.
    _prctl(1, signal.SIGKILL)


def close_inherited(*, keep: int) -> None:
    """Close what the wrapper was started with beyond stdio, so that neither guardian nor command holds it open."""
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) != keep:
            with contextlib.suppress(OSError):  # listdir's own
                os.close(int(name))


def reap() -> tuple[dict[int, int], bool]:
    """Bury the children that have ended: their statuses, and whether none is left."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, True
        if pid == 0:
            return ended, False
        ended[pid] = status


def bury_others(child: int) -> None:
    """Bury what has ended of others' children that fell to this process; not its own one, whose number must stay."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid != child:
            os.waitpid(ended.si_pid, os.WNOHANG)


def group_lives(leader: int) -> bool:
    """Whether the group has members that are nobody's children here; only where orphans cannot be adopted."""
    if LINUX:
        return False
    try:
        os.killpg(leader, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(PermissionError):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # just forked, and not yet the leader of its group
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def signal_kin(number: int, group: int | None) -> None:
    """Signal a group at one stroke, if its number is certainly still its own, and then every descendant."""
    if group is not None:
        signal_group(group, number)
    kin = _descendants()
    for pid in kin:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _signal_one(pid, number, kin | {os.getpid()})


def _signal_one(pid: int, number: int, family: set[int]) -> None:
    # The number may have passed to a stranger since it was read. So first take hold of whoever has it now, and only
    # then look again whose child that is: a stranger is let go, and if the number passes on now the signal fails.
    try:
        handle = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):  # an old kernel, or a container that forbids the call
            os.kill(pid, number)
        return
    try:
        if _parent(pid) in family:
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _descendants() -> set[int]:
    """Every process below this one; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit() and (parent := _parent(int(name))) is not None:
                children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    ahead = [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found.update(below)
        ahead.extend(below)
    return found


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[1])  # the name in brackets may hold anything, brackets too
