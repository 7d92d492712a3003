"""The rows of docs/guarantees.md that a store in memory and a clock moved by hand can show."""

from __future__ import annotations

import threading
import time

import pytest

from leaderlock import DELETE, LeaseLost, LossReason, StaleToken, Write, connect
from leaderlock.testing import Fault, FaultyBackend, ManualClock, MemoryStore


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def backend(store):
    return FaultyBackend(store.backend())


@pytest.fixture
def leader(backend, clock):
    client = connect(backend, clock=clock)
    yield client
    closing = threading.Thread(target=client.close)
    closing.start()
    while closing.is_alive():
        clock.advance(0.1)  # what failed before is tried again in the clock's time
        closing.join(0.01)


@pytest.fixture
def rival(store, clock):
    with connect(store.backend(), clock=clock) as client:
        yield client


def eventually(condition, within=20.0):
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.002)


def write_by_hand(store, key, value):
    hand = store.backend()
    view = hand.read([key], timeout=5)
    hand.swap([Write(key, view.seen[key].stamp, value)], view.memory, timeout=5)


def test_a_leader_stopped_for_longer_than_its_lease_finds_it_expired_at_the_first_look(leader, clock):
    lease = leader.election("x").campaign()

    clock.advance(15)

    assert not lease.is_held
    with pytest.raises(LeaseLost, match="expired"):
        lease.check()


def test_a_machine_that_slept_finds_its_leases_over(leader, clock):
    lease = leader.election("x").campaign()

    clock.suspend(15)

    assert not lease.is_held
    eventually(lambda: lease.state == "lost")
    assert lease.lost_reason is LossReason.SUSPENDED


@pytest.mark.parametrize("seconds", [-86_400, 86_400])
def test_a_wall_clock_that_is_set_ends_no_lease(leader, clock, seconds):
    lease = leader.election("x").campaign()

    clock.step_wall(seconds)

    assert lease.is_held
    assert lease.remaining > 14


def test_without_an_answer_from_the_store_it_leads_until_its_deadline_and_no_longer(leader, backend, clock):
    lease = leader.election("x").campaign()
    with backend.inject(Fault.NEVER_SENT, op="any", times=None):
        clock.advance(5)
        eventually(lambda: lease.state == "jeopardy")

        assert lease.is_held
        clock.advance(10)
        assert not lease.is_held
        eventually(lambda: lease.state == "lost")
        assert lease.lost_reason is LossReason.STORE_UNREACHABLE


def test_a_leader_whom_an_older_copy_does_not_show_loses_and_nobody_is_elected_for_the_longest_ttl(
    leader, rival, store, clock
):
    with rival.election("before"):
        older = store.snapshot()
    lease = leader.election("x").campaign()
    store.restore(older)

    clock.advance(5)

    eventually(lambda: lease.state == "lost")
    assert lease.lost_reason is LossReason.STORE_FORGOT
    told, won = [], []
    campaign = rival.election("x").campaign
    waiting = threading.Thread(target=lambda: won.append(campaign(on_waiting=told.append)), daemon=True)
    waiting.start()
    eventually(lambda: told)
    assert "may have forgotten leaders" in told[0]
    clock.advance(30.2)
    waiting.join(20)
    assert won[0].token > lease.token


def test_a_leader_whom_an_older_copy_shows_goes_on(leader, store, clock):
    lease = leader.election("x").campaign()
    older = store.snapshot()
    store.restore(older)

    before = lease.deadline
    clock.advance(5)

    eventually(lambda: lease.deadline.boot > before.boot)
    assert lease.is_held


def test_after_a_wipe_two_may_lead_until_the_old_one_looks_and_the_new_token_is_higher(leader, rival, store, clock):
    old = leader.election("x").campaign()
    store.forget(wipe=True)

    new = rival.election("x").campaign(timeout=20)

    assert old.is_held
    assert new.is_held
    assert new.token > old.token
    clock.advance(5)
    eventually(lambda: old.state == "lost")
    assert old.lost_reason is LossReason.STORE_FORGOT


def test_who_is_asked_to_go_goes_at_the_next_renewal(leader, rival, clock):
    lease = leader.election("x").campaign()
    asking = threading.Thread(target=rival.resign, args=("x",), daemon=True)
    asking.start()
    eventually(lambda: b'"requests":[[' in next(iter(_sessions(leader))))

    clock.advance(5)

    asking.join(20)
    assert not asking.is_alive()
    assert lease.lost_reason is LossReason.YIELDED


def _sessions(client):
    return (seen.value for _, seen in client._engine.backend.scan("session/", timeout=5))


def test_a_name_taken_by_force_has_two_leaders_until_the_old_one_looks(leader, rival, clock):
    old = leader.election("x").campaign()
    leader._engine.backend.is_deaf = True
    rival.resign("x", now=True)
    new = rival.election("x").campaign(timeout=20)

    assert old.is_held
    assert new.is_held
    clock.advance(5)
    eventually(lambda: old.state == "lost")
    assert old.lost_reason in (LossReason.SUPERSEDED, LossReason.YIELDED)


def test_a_session_deleted_by_hand_is_lost_at_its_next_renewal(leader, store, clock):
    lease = leader.election("x").campaign()
    [(key, _)] = store.backend().scan("session/", timeout=5)
    write_by_hand(store, key, DELETE)

    clock.advance(5)

    eventually(lambda: lease.state == "lost")
    assert lease.lost_reason is LossReason.REVOKED


def test_a_name_deleted_by_hand_has_two_leaders_until_the_old_one_sees_the_higher_token(leader, rival, store, clock):
    old = leader.election("x").campaign()
    leader._engine.backend.is_deaf = True
    write_by_hand(store, "name/x", DELETE)

    new = rival.election("x").campaign(timeout=20)

    assert new.token > old.token
    clock.advance(5)
    eventually(lambda: old.state == "lost")
    assert old.lost_reason is LossReason.SUPERSEDED


def test_an_error_in_the_block_resigns_and_goes_on(leader, rival):
    with pytest.raises(KeyError), leader.election("x") as lease:
        raise KeyError("mine")

    assert lease.state == "resigned"
    assert rival.election("x").campaign(timeout=20).is_held


def test_leaving_the_block_of_a_lost_lease_raises_and_the_block_s_own_error_comes_first(leader, clock):
    with pytest.raises(LeaseLost), leader.election("x"):
        clock.advance(15)

    def write():
        clock.advance(15)
        raise StaleToken("refused", token=1, highest=2)

    with pytest.raises(StaleToken) as refused, leader.election("x"):
        write()
    assert any("was lost" in note for note in refused.value.__notes__)


def test_the_default_numbers_are_those_of_the_table(leader):
    timing = leader._engine.terms.timing

    assert (timing.ttl, timing.renew_every, timing.attempt, timing.longest, timing.rho) == (15, 5, 3.75, 30, 0.005)
    assert round(timing.ttl * (1 - timing.rho), 1) == 14.9
    assert round(timing.ttl * (1 + timing.rho), 1) == 15.1
    assert round(timing.longest * (1 + timing.rho), 2) == 30.15
