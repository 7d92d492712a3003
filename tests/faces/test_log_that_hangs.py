"""A log handler that hangs (a full disk, a log server) holds up whoever logs, and no lease: nothing is logged where the
engine's lock is held."""

from __future__ import annotations

import logging
import threading

import pytest

from leaderlock import only_on_leader
from leaderlock._client import engine_of
from leaderlock.testing import Fault


@pytest.fixture
def hang_on():
    """Have the log hang at records with this text, until the test is over; returns what is set when one does."""
    over, handlers = threading.Event(), []

    class Hanging(logging.Handler):
        def __init__(self, text):
            super().__init__()
            self.text, self.hangs = text, threading.Event()

        def handle(self, record):  # without the handler's own lock: only who logs this hangs
            if self.text in record.getMessage():
                self.hangs.set()
                assert over.wait(60)
            return True

    def begin(text):
        handlers.append(Hanging(text))
        logging.getLogger("leaderlock").addHandler(handlers[-1])
        return handlers[-1].hangs

    yield begin
    over.set()
    for handler in handlers:
        logging.getLogger("leaderlock").removeHandler(handler)


def refuse(client, backend, monkeypatch):
    backend.inject(Fault.REFUSE, when=lambda keys: "name/b" in keys)
    only_on_leader("b", client=client)(lambda: None)()


def fail_the_strategy(client, backend, monkeypatch):
    monkeypatch.setattr("leaderlock._backoff.pause_after", lambda *_, **__: 1 / 0)
    backend.inject(Fault.NEVER_SENT, when=lambda keys: "name/b" in keys)
    client.election("b").campaign(timeout=0)


def tell_who_cannot_be_told(client, backend, monkeypatch):
    monkeypatch.setattr("leaderlock._course.Course.tell", lambda *_: 1 / 0)
    client.election("b").campaign(timeout=0)


def break_the_machine(client, backend, monkeypatch):
    monkeypatch.setattr(engine_of(client)._machine._names, "campaign", lambda *_: 1 / 0)
    client.election("b").campaign(timeout=0)


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        pytest.param(refuse, "failed and is repeated", id="a guarded function's campaign is refused"),
        pytest.param(fail_the_strategy, "the wait strategy raised", id="the user's wait strategy raises"),
        pytest.param(tell_who_cannot_be_told, "could not be told", id="somebody cannot be told his news"),
        pytest.param(break_the_machine, "gives up all leases", id="the machine breaks"),
    ],
)
def test_a_log_that_hangs_holds_up_no_other_caller_of_the_client(
    client, backend, monkeypatch, in_background, eventually, hang_on, cause, said
):
    client.election("a").campaign().resign()
    hangs = hang_on(said)
    in_background(lambda: cause(client, backend, monkeypatch))
    eventually(hangs.is_set)

    monkeypatch.undo()
    another = in_background(lambda: client.election("c").campaign(timeout=60))

    eventually(lambda: another, within=5)
    assert another[0].is_held


def test_a_log_that_hangs_at_the_repetition_of_a_campaign_delays_no_renewal(
    client, backend, clock, in_background, eventually, pass_time, hang_on
):
    lease = client.election("a").campaign()
    refused = backend.inject(Fault.REFUSE, when=lambda keys: "name/b" in keys)
    in_background(only_on_leader("b", client=client)(lambda: None))
    eventually(lambda: refused.hits)
    refused.cancel()
    mine = in_background(lambda: client.election("b").campaign(timeout=60))
    eventually(lambda: mine)
    hangs = hang_on("cannot start and is repeated")

    eventually(lambda: clock.advance(1) or hangs.is_set())
    pass_time(lease, 30)

    assert lease.is_held
