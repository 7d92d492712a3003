"""Two signals within microseconds, say Ctrl-C and SIGTERM: the second comes while the first is dealt with, anywhere.

Whatever they hit: nothing is under way of which nobody hears any more, no machine half-way between two states is used
again, whoever led is told, the name is free for others, the client can lead again, and closing it ends its threads.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
from contextlib import suppress

import pytest

import leaderlock
from leaderlock import DELETE, CampaignTimeout, Lease, LeaseLost, UsageError, Write, connect
from leaderlock._client import engine_of
from leaderlock.testing import ManualClock, MemoryStore

PACKAGE = os.path.dirname(leaderlock.__file__)
TESTING = os.path.join(PACKAGE, "testing")


class Signals:
    """Raises in this thread as signals' handlers do, and only where Python looks for signals: where a function begins,
    and where one that is written in C has returned.

    Args:
        first: the function of leaderlock's that the first one interrupts where it begins; or which of all places.
        second: which of the places after that the second one interrupts; 0: none.
    """

    def __init__(self, first: str | int, second: int) -> None:
        self._first, self._second = first, second
        self._again = self._trace
        self.raised: list[BaseException] = []
        self.places = 0
        """How many there were since the last one was raised."""

    def during(self, action):
        """Run it; returns what it returns, or the last of the two."""
        gc.disable()  # what is collected may run code anywhere, and loses what is raised there
        sys.setprofile(self._profile)
        try:
            return action()
        except (KeyboardInterrupt, SystemExit) as error:
            return error.with_traceback(None)
        finally:
            sys.setprofile(None)
            sys.settrace(None)
            gc.enable()

    def _profile(self, frame, event, _):
        code = frame.f_code
        if event not in ("call", "c_return") or code.co_flags & inspect.CO_GENERATOR:
            return
        if event == "call" and code.co_name == "__exit__":
            return  # where a block is left, and its end has not begun: the one place that Python lets nobody guard
        if not code.co_filename.startswith(PACKAGE) or code.co_filename.startswith(TESTING):
            return
        self.places += 1
        if not self.raised:
            if self.places == self._first or (event == "call" and code.co_name == self._first):
                self._raise(KeyboardInterrupt(), frame)
        elif len(self.raised) == 1 and self.places == self._second:
            self._raise(SystemExit(), frame)

    def _raise(self, error, frame):
        self.raised.append(error)
        self.places = 0
        # Python takes away the profiler that raises. So the exception is traced, once, to install it anew.
        while frame is not None:
            frame.f_trace, frame = self._again, frame.f_back
        sys.settrace(self._again)
        raise error

    def _trace(self, *_):
        sys.settrace(None)
        sys.setprofile(self._profile)


class Stage:
    """A client that leads "b" all the while, and a rival. What is to be interrupted is about "a"."""

    def __init__(self, eventually, in_background) -> None:
        self.eventually, self._in_background = eventually, in_background
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.client = connect(self.store.backend(), clock=self.clock)
        self.rival = connect(self.store.backend(), clock=self.clock)
        self.told: list[Lease] = []
        self.other = self.client.election("b").campaign()
        self.other.on_lost(self.told.append)
        self.given_back: Lease | None = None

    def campaigning(self):
        return self.client.election("a").campaign

    def campaigning_for_many(self):
        return lambda: self.client.campaign_all(["a", "c"])["a"]

    def waiting(self):
        self.given_back = self.rival.election("a").campaign()

        def wait():
            with suppress(CampaignTimeout):
                self.client.election("a").campaign(timeout=0)

        return wait

    def holding(self):
        def hold():
            with self.client.election("a"):
                pass

        return hold

    def resigning(self):
        self.given_back = self.client.election("a").campaign()
        return self.given_back.resign

    def closing(self):
        self.given_back = self.client.election("a").campaign()
        return self.client.close

    def losing(self):
        """Lead "c" and "d" too, until a renewal finds that somebody has ended the session."""
        for lease in self.client.campaign_all(["c", "d"]).values():
            lease.on_lost(self.told.append)
        backend = self.store.backend()
        [(session, _)] = backend.scan("session/", timeout=1)
        view = backend.read([session], timeout=1)
        backend.swap([Write(session, view.seen[session].stamp, DELETE)], view.memory, timeout=1)
        self.clock.advance(1)

        def renew():
            with suppress(LeaseLost):
                self.other.ensure(14.9)

        return renew

    # -- what must be true afterwards

    def check(self, outcome) -> None:
        for lease in (outcome, self.given_back):
            if isinstance(lease, Lease):
                lease.resign()
        self.eventually(lambda: self.other.is_held or self.pass_time() or self.other in self.told)
        if is_open(self.client):
            self.eventually(self._is_quiet)
            self._lead(self.client)
        self._lead(self.rival)

    def close_all(self) -> None:
        for client in (self.client, self.rival):
            closed = self._in_background(client.close)
            self.eventually(lambda closed=closed: self.pass_time() or closed)
            assert closed == [None]

    def _is_quiet(self) -> bool:
        """Nothing is under way about "a", nobody campaigns for it or waits for it, and the machine is whole."""
        engine = engine_of(self.client)
        steps, busy = engine._steps, engine._machine._names._busy
        self.pass_time()
        is_quiet = busy.keys() <= {"b"} and not any(name.flight for name in tuple(busy.values()))
        is_whole = not steps._is_busy and steps._broken_by is None
        owed = {one.name for one in tuple(engine._outward._owed)}
        return is_quiet and is_whole and owed <= {"b"} and not len(engine._attendance)

    def _lead(self, client) -> None:
        won = self._in_background(client.election("a").campaign)
        self.eventually(lambda: won or self.pass_time())
        assert isinstance(won[0], Lease), won
        won[0].resign()

    def pass_time(self) -> None:
        self.clock.advance(0.5)


def is_open(client) -> bool:
    try:
        return not engine_of(client).is_closed
    except UsageError:
        return False


@pytest.fixture
def stage(eventually, in_background):
    return lambda: Stage(eventually, in_background)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "first", "every"),
    [
        (Stage.campaigning, "check_count", 1),  # the name is being read
        (Stage.campaigning, "check_writes", 1),  # it is being taken
        (Stage.campaigning, "handle", 1),  # a step begins
        (Stage.campaigning, "elect", 1),  # in the middle of one
        (Stage.campaigning, "carry_out", 1),
        (Stage.campaigning, "is_over", 1),  # between two
        (Stage.campaigning_for_many, "check_writes", 3),
        (Stage.campaigning_for_many, "conclude", 3),
        (Stage.waiting, "begin", 1),
        (Stage.waiting, "end", 1),
        (Stage.holding, "leave", 3),
        (Stage.resigning, "drive", 1),
        (Stage.resigning, "released", 3),
        (Stage.closing, "drive", 3),
        (Stage.closing, "session_abandoned", 3),
        (Stage.closing, "_stop", 1),
    ],
)
def test_a_second_signal_at_any_moment_after_the_first_finds_nothing_left_undone(stage, act, first, every):
    second, is_hit = 1, True
    while is_hit:
        is_hit = interrupt(stage(), act, first, second) == 2
        second += every

    assert second > 2


@pytest.mark.slow
@pytest.mark.parametrize("act", [Stage.campaigning, Stage.holding])
def test_signals_at_any_two_moments_find_nothing_left_undone(stage, act):
    """Each moment is the first one's once, and the second one comes a little later than the last time."""
    first, hits = 0, 1
    while hits:
        first += 1
        hits = interrupt(stage(), act, first, 1 + first * 7 % 101)

    assert first > 200


@pytest.mark.slow
def test_whatever_interrupts_a_step_that_ends_many_terms_everybody_is_told(stage):
    """Also of what the machine had done, and had not said yet."""
    first, hits = 0, 1
    while hits:
        first += 1
        one = stage()
        signals = Signals(first, 0)
        signals.during(one.losing())
        one.eventually(lambda one=one: len({lease.name for lease in one.told}) == 3 or one.pass_time())
        one.close_all()
        hits = len(signals.raised)

    assert first > 100


def interrupt(one, act, first, second):
    """Returns how many of the two came."""
    signals = Signals(first, second)
    outcome = signals.during(act(one))
    if act is Stage.closing:
        one.client.close()  # where it was interrupted before it began
    one.check(outcome)
    one.close_all()
    return len(signals.raised)
