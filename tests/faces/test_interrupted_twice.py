"""Two signals within microseconds, say Ctrl-C and SIGTERM: the second comes while the first is dealt with, anywhere.

Whatever they hit: nothing is under way of which nobody hears any more, no machine half-way between two states is used
again, whoever led is told, the name is free for others, the client can lead again, and closing it ends its threads.
"""

from __future__ import annotations

import gc
import inspect
import logging
import os
import sys
import time
from contextlib import suppress
from contextvars import copy_context
from pathlib import Path

import pytest

import leaderlock
from leaderlock import DELETE, CampaignTimeout, Lease, LeaseLost, UsageError, Write, connect
from leaderlock._client import engine_of
from leaderlock._thread import hand_over
from leaderlock.testing import ManualClock, MemoryStore

PACKAGE = os.path.dirname(leaderlock.__file__)
TESTING = os.path.join(PACKAGE, "testing")


class Signals:
    """Raises in this thread as signals' handlers do, and only where Python looks for signals: where a function begins,
    and where one that is written in C has returned.

    Args:
        first: where the first one comes: a function of leaderlock's, and how many calls of C it has made, none where
            it begins; or which of all places.
        second: which of the places after that the second one interrupts; 0: none.
    """

    def __init__(self, first: tuple[str, int] | int, second: int) -> None:
        self._first, self._second = first, second
        self._calls_made = 0
        self._again = self._trace
        self.raised: list[BaseException] = []
        self.places = 0
        """How many there were since the last one was raised."""
        self.handed_over_by: set[str] = set()
        """Which functions have since had something done where no signal is handled."""

    def during(self, action):
        """Run it; returns what it returns, or the last of the two."""
        gc.disable()  # what is collected may run code anywhere, and loses what is raised there
        sys.setprofile(self._profile)
        try:
            return copy_context().run(action)  # what `current()` is left to be is not the next test's
        except (KeyboardInterrupt, SystemExit) as error:
            return error.with_traceback(None)
        finally:
            sys.setprofile(None)
            sys.settrace(None)
            gc.enable()

    def _profile(self, frame, event, called):
        code = frame.f_code
        if event == "c_call" and called is hand_over and self.raised:
            self.handed_over_by.add(code.co_qualname)
        if event not in ("call", "c_return") or code.co_flags & inspect.CO_GENERATOR:
            return
        if event == "call" and code.co_name == "__exit__" and not frame.f_back.f_code.co_filename.startswith(PACKAGE):
            return  # where a block is left, and its end has not begun: the one place that Python lets nobody guard
        if event == "c_return" and called.__name__ == "__enter__" and sys.version_info >= (3, 15):
            return  # between a lock and its block: only 3.14 looks there (leaderlock._locks)
        if not code.co_filename.startswith(PACKAGE) or code.co_filename.startswith(TESTING):
            return
        self.places += 1
        if not self.raised:
            if self._first in (self.places, self._place_in(code.co_qualname, event)):
                self._raise(KeyboardInterrupt(), frame)
        elif len(self.raised) == 1 and self.places == self._second:
            self._raise(SystemExit(), frame)

    def _place_in(self, function, event):
        if isinstance(self._first, int) or function != self._first[0]:
            return None
        self._calls_made = 0 if event == "call" else self._calls_made + 1
        return function, self._calls_made

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

    def holding_what_was_won(self):
        def hold():
            with self.client.election("a").campaign():
                pass

        return hold

    def resigning(self):
        return self.client.election("a").campaign().resign

    def renewing(self):
        self.clock.advance(1)
        return lambda: self.other.ensure(14.9)

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
        self.eventually(self._is_whole)  # before anything else happens, or time passes
        for lease in (outcome, self.given_back):
            if isinstance(lease, Lease):
                lease.resign()
        self.eventually(lambda: self.other.is_held or self.pass_time() or self.other in self.told)
        if is_open(self.client):
            if not self.other.is_held:
                self.other = self._lead(self.client, "b")
            self.eventually(self._is_quiet)
            self._lead(self.client, "a").resign()
        self._lead(self.rival, "a").resign()

    def close_all(self) -> None:
        assert self._in_time(self.client.close, self.rival.close) == [None, None]

    def _is_quiet(self) -> bool:
        """Nothing is under way about "a", nobody campaigns for it or waits for it, and the machine is whole."""
        engine = engine_of(self.client)
        busy = engine._machine._names._busy
        self.pass_time()
        is_quiet = busy.keys() <= {"b"} and not any(name.flight for name in tuple(busy.values()))
        owed = {one.name for one in tuple(engine._outward._owed)}
        return is_quiet and self._is_whole() and owed <= {"b"} and not len(engine._attendance)

    def _is_whole(self) -> bool:
        steps = self.client._engine._steps
        return not steps._is_busy and steps._broken_by is None

    def _lead(self, client, name) -> Lease:
        [won] = self._in_time(client.election(name).campaign)
        assert isinstance(won, Lease), won
        return won

    def _in_time(self, *works):
        """Do these on threads of their own, while time passes here; returns what they return or raise."""
        outcomes = [self._in_background(work) for work in works]
        self.eventually(lambda: all(outcomes) or self.pass_time())
        return [outcome for [outcome] in outcomes]

    def pass_time(self) -> None:
        """No faster than "b" is renewed: were that lost, so would be what was left undone."""
        is_due = self.other.is_held and self.other.remaining < 8
        self.clock.advance(0.01 if is_due else 4)


def is_open(client) -> bool:
    try:
        return not engine_of(client).is_closed
    except UsageError:
        return False


@pytest.fixture
def stage(promptly, in_background, caplog):
    caplog.set_level(logging.CRITICAL + 1, "leaderlock")  # a thousand tracebacks cost more than all the rest
    return lambda: Stage(promptly, in_background)


@pytest.fixture
def promptly():
    """Like ``eventually``, for what is waited for a thousand times and takes a fraction of a millisecond."""

    def wait(is_true) -> None:
        until = time.monotonic() + 20
        while not is_true():
            assert time.monotonic() < until, "it did not come to that"
            time.sleep(0.0003)

    return wait


SWEEPS = [
    # What is done, where the first one comes (see Signals), whose guard the second one meets.
    (Stage.campaigning, ("check_count", 0), "Here.drive"),  # the name is being read
    (Stage.campaigning, ("check_writes", 0), "Here.drive"),  # it is being taken
    (Stage.campaigning, ("Machine.handle", 0), "Steps.take"),  # a step begins
    (Stage.campaigning, ("Holding.elect", 0), "Steps.take"),  # in the middle of one
    (Stage.campaigning, ("Outward.carry_out", 0), "Steps.take"),
    (Stage.campaigning, ("Campaigning.is_over", 0), "Campaigning.run"),  # between two
    (Stage.campaigning_for_many, ("check_writes", 0), "campaign_all"),
    (Stage.campaigning_for_many, ("Campaigns.conclude", 0), "campaign_all"),
    (Stage.waiting, ("Attendance.begin", 1), "Here.attend"),
    (Stage.waiting, ("Attendance.end", 0), "Here.attend"),
    (Stage.holding, ("Election._enter", 1), "Campaigning.run"),
    (Stage.holding_what_was_won, ("Lease.__enter__", 1), "Lease.__enter__"),
    (Stage.holding, ("Taking.leave", 0), "Steps.take"),
    (Stage.holding, ("Lease.__exit__", 0), "Election.__exit__"),
    (Stage.holding, ("leave", 0), "Lease.__exit__"),
    (Stage.renewing, ("Machine.handle", 0), "Steps.take"),  # after which nobody comes with another event
    (Stage.resigning, ("Here.drive", 0), "Lease.resign"),
    (Stage.resigning, ("NameRecord.released", 0), "Steps.take"),
    (Stage.closing, ("Here.drive", 0), "Engine.close"),
    (Stage.closing, ("Names.session_abandoned", 0), "Steps.take"),
    (Stage.closing, ("Engine._stop", 0), "Engine.close"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "first", "guard"), SWEEPS, ids=lambda one: "{}:{}".format(*one) if isinstance(one, tuple) else None
)
def test_a_second_signal_at_any_moment_after_the_first_finds_nothing_left_undone(stage, act, first, guard):
    second, is_hit, met = 0, True, set()
    while is_hit:
        second += 1
        signals = interrupt(stage(), act, first, second)
        is_hit = len(signals.raised) == 2
        met |= signals.handed_over_by

    assert guard in met


def test_every_guard_against_a_second_signal_is_met_by_one():
    found = {
        code.co_qualname
        for file in Path(PACKAGE).rglob("*.py")
        if "hand_over(" in file.read_text()
        for code in codes_in(compile(file.read_text(), file, "exec"))
        if {"hand_over", "apart"} <= {*code.co_names}
    }

    # These two hand over what must not be done where garbage is collected.
    assert found - {"<module>", "even_if_collected", "Engine.abandon"} == {guard for *_, guard in SWEEPS}


def codes_in(code):
    yield code
    for const in code.co_consts:
        if inspect.iscode(const):
            yield from codes_in(const)


@pytest.mark.slow
def test_signals_at_any_two_moments_find_nothing_left_undone(stage):
    """Each moment is the first one's once, and the second one comes a little later than the last time."""
    first, is_hit = 0, True
    while is_hit:
        first += 1
        is_hit = bool(interrupt(stage(), Stage.holding, first, 1 + first * 7 % 101).raised)

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


def interrupt(one, act, first, second) -> Signals:
    """Both of them, if it comes to that, and a look at what they have left."""
    signals = Signals(first, second)
    outcome = signals.during(act(one))
    if act is Stage.closing:
        one.client.close()  # where it was interrupted before it began
    try:
        one.check(outcome)
    finally:
        one.close_all()
    return signals
