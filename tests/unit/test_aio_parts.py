"""The small parts of the asyncio face, each alone: alarms, cancellations by a loss, calls off the loop, a fork."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from contextvars import Context, ContextVar
from types import SimpleNamespace

import pytest

from leaderlock._aio import looking, ticking
from leaderlock._aio.access import Access
from leaderlock._aio.bell import LoopBell
from leaderlock._aio.campaign import in_loop
from leaderlock._aio.cutting import Cutting
from leaderlock._aio.lease import AsyncLease
from leaderlock._aio.looking import AsyncLooking
from leaderlock._aio.offloop import THREADS, OffLoop
from leaderlock._aio.ticking import AsyncTicking
from leaderlock._bell import Listeners
from leaderlock._protocol.candidacy import LossReason, Lost
from leaderlock._protocol.events import RenewNow
from leaderlock._ticks.slot import Turn
from leaderlock.errors import LeaseLost, UsageError

TIMEOUT = 20.0
NEWS = Lost(LossReason.EXPIRED)


def run(main):
    return asyncio.run(asyncio.wait_for(main(), TIMEOUT))


class Clock:
    """The real one, as much of it as a bell uses."""

    boot = staticmethod(time.monotonic)

    @staticmethod
    def wait(bell, seconds):
        bell.wait(seconds)


@pytest.fixture
def engine():
    return SimpleNamespace(clock=Clock(), is_closed=False)


# -- bells


@pytest.fixture
def alarms(monkeypatch):
    """Every alarm that was set."""
    alarms = []
    call_later = asyncio.BaseEventLoop.call_later

    def remember(loop, seconds, *what, **how):
        handle = call_later(loop, seconds, *what, **how)
        if getattr(what[0], "__func__", None) is LoopBell._rung:
            alarms.append(handle)
        return handle

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_later", remember)
    return alarms


@pytest.mark.parametrize("timed", [True, False])
def test_a_wait_has_one_alarm_at_most_and_none_is_left_of_it(engine, alarms, timed):
    def set_alarms():
        return [alarm for alarm in alarms if not alarm.cancelled()]

    async def main():
        bell = LoopBell(engine)
        waiting = asyncio.create_task(bell.wait_for(lambda: False, None, timed=timed))
        for _ in range(10):
            bell.ring()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert len(alarms) > 1
        assert len(set_alarms()) == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert not set_alarms()

    run(main)


def test_a_bell_whose_loop_is_closed_is_rung_by_whom_it_was_told_to(engine):
    async def main():
        return LoopBell(engine)

    bell = run(main)

    bell.ring()


# -- a loss cancels


class Course:
    """One that a test takes away."""

    name = "job"

    def __init__(self):
        self.candidacy = SimpleNamespace(reason=None, token=7)
        self.listener = None

    def listen(self, listener):
        self.listener = listener

    def unlisten(self, listener):
        assert listener is self.listener
        self.listener = None

    def lose(self):
        self.candidacy.reason = LossReason.EXPIRED
        if self.listener is not None:
            self.listener(NEWS)

    def loss(self):
        return LeaseLost("lost", reason="expired")


@pytest.mark.parametrize("when", ["before", "while it waits", "twice"])
def test_a_loss_cancels_the_task_once_whenever_it_came(when):
    course = Course()

    async def main():
        if when == "before":
            course.lose()
        cutting = Cutting(course)
        if when != "before":
            course.lose()
        if when == "twice":
            cutting.cut()
        try:
            await asyncio.sleep(TIMEOUT / 2)
        except asyncio.CancelledError as error:
            lost = cutting.end(error)
            assert asyncio.current_task().cancelling() == 0
            return lost
        raise AssertionError("it was not cancelled")

    lost = run(main)

    assert isinstance(lost, LeaseLost)
    assert lost.reason == "expired"
    assert course.listener is None


def test_a_body_that_was_left_is_not_held_by_what_it_listened_to():
    course = Course()

    async def main():
        return weakref.ref(Cutting(course))

    cutting = run(main)
    gc.collect()

    assert cutting() is None
    course.lose()  # and nothing comes of it


# -- renewing


class Renewed:
    """A course with enough left after so many renewals, and how many were asked for."""

    def __init__(self, engine, needed):
        self.engine = engine
        self.candidacy = None
        self.asked = 0
        self.needed = needed
        engine.post = self.ask
        engine.terms = SimpleNamespace(timing=SimpleNamespace(attempt=TIMEOUT / 2))

    def ask(self, event):
        assert isinstance(event, RenewNow)
        self.asked += 1

    def leaves(self, seconds):
        return lambda: self.asked >= self.needed

    def check_leaves(self, seconds, enough):
        if not enough():
            raise LeaseLost("over", reason="closed")


def test_a_renewal_that_leaves_too_little_is_asked_for_again(engine):
    course = Renewed(engine, 2)

    run(lambda: AsyncLease(course).ensure(1.0))

    assert course.asked == 2


def test_whose_client_is_closed_does_not_wait_for_renewals(engine):
    engine.is_closed = True
    course = Renewed(engine, 1)

    with pytest.raises(LeaseLost):
        run(lambda: AsyncLease(course).ensure(1.0))

    assert course.asked == 0


# -- ticks


def test_a_tick_that_was_won_and_cannot_be_begun_is_given_back(engine, monkeypatch):
    course, given_back = SimpleNamespace(farewell=lambda: "farewell"), []
    engine.post = given_back.append

    async def seek(campaign, within, until):
        return course

    def fail(engine, slot, seeking):
        raise KeyboardInterrupt

    monkeypatch.setattr(ticking, "seek", seek)
    call = object.__new__(AsyncTicking)
    call._claiming = SimpleNamespace(
        seek=lambda engine, meant: SimpleNamespace(campaign=None, within=1.0, claim=None),
        look_at_clocks=lambda engine, slot, claim: None,
        won=fail,
    )

    with pytest.raises(KeyboardInterrupt):
        call._seek(engine, None, None).send(None)

    assert given_back == ["farewell"]


def test_a_turn_that_came_just_when_its_task_was_cancelled_is_given_on(engine, monkeypatch):
    left = []
    slot = SimpleNamespace(changed=Listeners(), leave=lambda: left.append(True))

    async def cancelled(bell, is_over, until):
        assert is_over()
        raise asyncio.CancelledError

    monkeypatch.setattr(LoopBell, "wait_for", cancelled)
    call = object.__new__(AsyncTicking)
    call._claiming = SimpleNamespace(turn=lambda engine, slot, meant: Turn.MINE)

    async def main():
        with pytest.raises(asyncio.CancelledError):
            await call._take_turn(engine, slot, None)

    run(main)

    assert left == [True]


def test_what_any_thread_calls_is_called_in_the_context_that_asked_for_it():
    who, heard = ContextVar("who", default="nobody"), []

    async def main():
        who.set("the task")
        tell = in_loop(lambda value: heard.append((value, who.get(), threading.current_thread())))
        who.set("somebody later")
        await asyncio.to_thread(Context().run, tell, "news")
        await asyncio.sleep(0)

    run(main)

    assert heard == [("news", "the task", threading.main_thread())]


# -- off the loop


def test_a_call_that_was_cancelled_before_it_began_is_never_made():
    async def main():
        off, go, made = OffLoop(), threading.Event(), []
        under_way = [asyncio.create_task(off(go.wait, TIMEOUT)) for _ in range(THREADS)]
        late = asyncio.create_task(off(made.append, "late"))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        go.set()
        await asyncio.gather(*under_way)
        await off(made.append, "last")
        ended = off.end(lambda: None)
        await asyncio.wrap_future(ended)
        return made

    assert run(main) == ["last"]


def test_a_forked_child_waits_for_nothing_that_its_parent_s_threads_held_or_did():
    client = SimpleNamespace(close=lambda: None)
    parents = Access(SimpleNamespace(open=lambda: client))
    closing = parents.close()
    closing.result(TIMEOUT)
    child = Access(SimpleNamespace(open=lambda: client))

    with child._lock:  # as a thread held it that the child does not have
        child.disown()
        opened = threading.Thread(target=child.open)
        opened.start()
        opened.join(TIMEOUT / 2)
        assert not opened.is_alive()
    parents.disown()

    assert child.client is client
    again = parents.close()
    assert again is not closing
    again.result(TIMEOUT)
    child.close().result(TIMEOUT)


# -- looking


@pytest.fixture
def looks(monkeypatch):
    """How often it was looked, and what happens during each look; the next one is due in a long time."""

    class Looking:
        def __init__(self, engine, name, timeout):
            self.name = name
            self.count = 0
            self.during = []

        def look(self):
            self.count += 1
            if self.during:
                self.during.pop(0)()
            return SimpleNamespace()

        def pause(self):
            return TIMEOUT

    monkeypatch.setattr(looking, "Looking", Looking)


def test_a_hint_that_comes_during_a_look_brings_another_and_no_more_than_that(engine, looks):
    async def main():
        off = OffLoop()
        look = AsyncLooking(engine, "job", off)
        look._looking.during = [look._hint]
        await look.next()
        await asyncio.wait_for(look.next(), TIMEOUT / 2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(look.next(), 0.05)
        await asyncio.wrap_future(off.end(lambda: None))
        return look._looking.count

    assert run(main) == 2


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_client_that_is_closed_as_it_is_looked_ends_the_looking_and_other_misuse_is_told(engine, looks, is_closed):
    def refuse():
        engine.is_closed = is_closed
        raise UsageError("the client is closed, or something else is wrong")

    async def main():
        off = OffLoop()
        look = AsyncLooking(engine, "job", off)
        look._looking.during = [refuse]
        try:
            return await look.next()
        finally:
            await asyncio.wrap_future(off.end(lambda: None))

    if is_closed:
        assert run(main) is None
    else:
        with pytest.raises(UsageError, match="something else"):
            run(main)
