"""Whom a signal reaches, and whom it must not: numbers that passed to strangers, children of others, odd names."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys

import pytest

from leaderlock.cli import _kin

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@pytest.fixture
def child():
    """A process of ours that sleeps."""
    with subprocess.Popen([sys.executable, "-ISc", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


@pytest.fixture
def killed(monkeypatch):
    """What would be signalled by number alone."""
    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append((pid, number)))
    return killed


def test_a_descendant_is_signalled(child, monkeypatch):
    monkeypatch.setattr(_kin, "_descendants", lambda: {child.pid})  # and none of whatever else these tests have started

    _kin.signal_kin(signal.SIGTERM, None)

    assert child.wait(30) == -signal.SIGTERM


def test_a_stranger_to_whom_a_number_passed_meanwhile_is_left_alone(child, monkeypatch, killed):
    monkeypatch.setattr(_kin, "_descendants", lambda: {child.pid})
    monkeypatch.setattr(_kin, "_parent", lambda pid: 1)  # as it is by the time that it is looked at again
    signalled = []
    monkeypatch.setattr(signal, "pidfd_send_signal", lambda handle, number: signalled.append(number))

    _kin.signal_kin(signal.SIGKILL, None)

    assert not signalled
    assert not killed


@pytest.mark.parametrize(("error", "by_number"), [(errno.ENOSYS, True), (errno.EPERM, True), (errno.ESRCH, False)])
def test_only_where_nobody_can_be_taken_hold_of_a_number_alone_must_do(child, monkeypatch, killed, error, by_number):
    def fail(pid):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "pidfd_open", fail)
    monkeypatch.setattr(_kin, "_descendants", lambda: {child.pid})

    _kin.signal_kin(signal.SIGTERM, None)

    assert killed == ([(child.pid, signal.SIGTERM)] if by_number else [])


def test_a_process_that_does_not_lead_its_group_yet_is_signalled_itself(monkeypatch, killed):
    def fail(group, number):
        raise ProcessLookupError

    monkeypatch.setattr(os, "killpg", fail)

    _kin.signal_group(4711, signal.SIGTERM)

    assert killed == [(4711, signal.SIGTERM)]


def test_a_name_with_brackets_does_not_hide_whose_child_it_is():
    name = b"a) R 1 (b"
    body = f"import ctypes, sys; ctypes.CDLL(None).prctl(15, {name!r}, 0, 0, 0); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-ISc", body], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()

        assert _kin._parent(process.pid) == os.getpid()


def test_of_the_ended_children_all_but_one_s_own_are_buried():
    own, other = (os.posix_spawn(sys.executable, [sys.executable, "-ISc", ""], {}) for _ in range(2))
    for pid in (own, other):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    _kin.bury_others(own)

    assert os.waitpid(own, 0)[0] == own, "its number was kept"
