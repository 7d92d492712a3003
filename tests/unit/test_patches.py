"""What is put in the place of threads: refused with words where it would freeze the process."""

from __future__ import annotations

import _thread
import functools
import sys
import threading
from types import SimpleNamespace

import pytest

from leaderlock import UsageError, connect
from leaderlock._thread import OwnThread


def patched(*modules: str) -> SimpleNamespace:
    """What gevent and eventlet tell of themselves."""
    return SimpleNamespace(is_module_patched=modules.__contains__, is_monkey_patched=modules.__contains__)


def test_eventlet_s_patches_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patched("thread"))

    with pytest.raises(UsageError, match="eventlet"):
        connect("memory:")


def test_eventlet_that_was_only_imported_harms_nobody(monkeypatch):
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patched())

    with connect("memory:") as client, client.election("a") as lease:
        assert lease.is_held


@pytest.mark.parametrize("half", ["threading", "queue"])
def test_one_half_of_gevent_s_patches_is_refused(monkeypatch, half):
    monkeypatch.setitem(sys.modules, "gevent.monkey", patched(half))

    with pytest.raises(UsageError, match="thread=False and queue=False"):
        connect("memory:")


def test_a_client_from_before_the_patches_is_refused_and_can_be_closed(monkeypatch):
    with connect("memory:") as client:
        monkeypatch.setattr(_thread, "start_new_thread", functools.partial(_thread.start_new_thread))

        with pytest.raises(UsageError, match="before connect"):
            client.election("a").campaign(timeout=1)


if sys.version_info >= (3, 14):  # where isolated subinterpreters can be had without a private module

    def test_an_isolated_subinterpreter_is_refused_with_words():
        from concurrent import interpreters

        interpreter = interpreters.create()
        try:
            with pytest.raises(interpreters.ExecutionFailed, match=r"UsageError: .*in a process of its own"):
                interpreter.exec("from leaderlock import connect; connect('memory:')")
        finally:
            interpreter.close()


def test_threads_that_cannot_be_daemons_are_refused(monkeypatch):
    monkeypatch.setattr(_thread, "daemon_threads_allowed", lambda: False, raising=False)

    with pytest.raises(UsageError, match="isolated subinterpreter"):
        connect("memory:")


def test_where_no_thread_can_be_made_the_caller_is_told_and_does_not_wait(monkeypatch):
    def refuse(*_: object, **__: object):
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

    monkeypatch.setattr(threading, "Thread", refuse)

    with pytest.raises(RuntimeError, match="daemon threads"):
        OwnThread("engine", lambda: None).start()
