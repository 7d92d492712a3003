"""Losing a lease: every reason, at the moment when it is owed, with the news of it."""

from __future__ import annotations

import logging
import threading

import pytest

from leaderlock import DELETE, CampaignTimeout, LeaseLost, LossReason, Write
from leaderlock._client import engine_of
from leaderlock._protocol.records import name_key
from leaderlock.testing import Fault, ManualClock, MemoryStore


@pytest.fixture
def lease(client):
    return client.election("a").campaign()


@pytest.fixture
def overwrite(store):
    """Write or delete a register by hand, whatever it holds."""

    def write(key, value):
        backend = store.backend()
        view = backend.read([key], timeout=1)
        backend.swap([Write(key, view.seen[key].stamp, value)], view.memory, timeout=1)
        backend.close()

    return write


@pytest.fixture
def session_of(store):
    def find():
        backend = store.backend()
        [(key, _)] = [item for item in backend.scan("session/", timeout=1) if b'"no"' in item[1].value]
        backend.close()
        return key

    return find


def assert_lost(lease, reason, eventually, clock):
    eventually(lambda: clock.advance(0.05) or lease.lost_reason is not None)
    assert lease.lost_reason is reason
    assert not lease.is_held
    with pytest.raises(LeaseLost, match=reason.value) as caught:
        lease.check()
    assert caught.value.reason == reason.value
    told = threading.Event()
    lease.on_lost(lambda _: told.set())
    assert told.wait(10)


def test_expired(lease, clock, eventually):
    clock.advance(20)

    assert not lease.is_held  # at the first look, whatever the threads have done since
    assert lease.lost_reason is LossReason.EXPIRED
    assert_lost(lease, LossReason.EXPIRED, eventually, clock)


def test_a_loss_and_a_store_that_does_not_answer_are_warned_of(
    client, lease, backend, clock, eventually, caplog, in_background
):
    backend.inject(Fault.NEVER_SENT, op="any", times=None)
    clock.advance(5.1)
    eventually(lambda: lease.state == "jeopardy")
    clock.advance(10)
    eventually(lambda: "lost 'a'" in caplog.text)
    for name in "bc":
        in_background(client.election(name).campaign)
    eventually(lambda: "does not answer" in caplog.text)
    client.close()

    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.leaderlock_token for record in warned if "lost" in record.message] == [lease.token]
    assert sum("does not answer" in record.message for record in warned) == 1, "once for all names"


def test_what_the_store_refuses_is_warned_of_once_until_it_takes_a_write_again(
    lease, backend, clock, eventually, caplog
):
    def refused():
        return sum("refused to renew" in record.message for record in caplog.records)

    def refuse(times):
        refusals = backend.inject(Fault.REFUSE, op="swap", times=times)
        clock.advance(4.9)
        eventually(lambda: clock.advance(0.02) or refusals.hits == times)
        eventually(lambda: clock.advance(0.02) or lease.state == "leading")

    refuse(3)
    eventually(refused)
    refuse(1)
    eventually(lambda: refused() == 2)


def test_what_ended_on_purpose_is_not_called_lost_in_the_log(client, lease, caplog):
    with caplog.at_level(logging.INFO, "leaderlock"):
        client.close()

    assert f"ended 'a', token {lease.token}: closed" in caplog.text
    assert "lost" not in caplog.text


def test_store_unreachable(lease, backend, clock, eventually):
    backend.inject(Fault.NEVER_SENT, op="any", times=None)
    clock.advance(5.1)
    eventually(lambda: lease.state == "jeopardy")
    clock.advance(10)

    assert lease.lost_reason is LossReason.STORE_UNREACHABLE  # at the first look, and for ever
    assert_lost(lease, LossReason.STORE_UNREACHABLE, eventually, clock)


def test_suspended(lease, clock, eventually):
    clock.advance(1)
    clock.suspend(60)

    assert not lease.is_held
    eventually(lambda: lease.state == "lost")
    assert_lost(lease, LossReason.SUSPENDED, eventually, clock)


def test_a_short_sleep_is_survived(lease, clock, eventually):
    clock.suspend(8)

    eventually(lambda: lease.remaining > 14)
    lease.check()


@pytest.mark.parametrize("value", [DELETE, b"not a record of leaderlock's"])
def test_a_session_deleted_or_overwritten_by_hand_is_lost_at_the_next_renewal(
    lease, clock, eventually, overwrite, session_of, value
):
    """A renewal never creates."""
    overwrite(session_of(), value)
    clock.advance(5)

    assert_lost(lease, LossReason.REVOKED, eventually, clock)
    assert clock.boot() - 1_000 < 10


def test_a_name_overwritten_by_hand_is_lost_when_it_is_read(lease, clock, eventually, overwrite):
    """Or both would lead for ever, as renewals touch only the session."""
    overwrite(name_key("a"), b"not a record of leaderlock's")
    clock.advance(5)

    assert_lost(lease, LossReason.REVOKED, eventually, clock)


def test_a_name_deleted_by_hand_and_taken_by_another_is_lost_when_it_is_read(
    lease, rival, clock, eventually, overwrite
):
    overwrite(name_key("a"), DELETE)
    other = rival.election("a").campaign(timeout=0)
    assert other.token > lease.token
    clock.advance(5)

    assert_lost(lease, LossReason.SUPERSEDED, eventually, clock)
    other.check()


def test_a_forced_resignation_is_a_loss_when_the_name_or_the_request_is_read(lease, rival, clock, eventually):
    assert rival.resign("a", now=True)
    other = rival.election("a").campaign(timeout=0)
    clock.advance(5)

    eventually(lambda: lease.state == "lost")
    assert lease.lost_reason in (LossReason.SUPERSEDED, LossReason.YIELDED)
    assert other.token > lease.token


def test_a_request_to_yield_is_met_at_the_next_renewal(lease, rival, clock, in_background, eventually):
    asking = in_background(lambda: rival.resign("a"))
    eventually(lambda: clock.advance(0.1) or asking)

    assert asking == [True]
    assert_lost(lease, LossReason.YIELDED, eventually, clock)


def test_who_asks_for_several_names_of_one_leader_is_heard_for_each(client, rival, clock, eventually):
    leases = [client.election(name).campaign() for name in ("a", "b", "c")]
    for lease in leases:
        with pytest.raises(CampaignTimeout):
            rival.resign(lease.name, timeout=0)

    clock.advance(5)

    for lease in leases:
        assert_lost(lease, LossReason.YIELDED, eventually, clock)


def test_a_request_that_was_lost_is_made_again(lease, rival, clock, in_background, eventually, forget_requests):
    asking = in_background(lambda: rival.resign("a"))
    eventually(forget_requests)

    eventually(lambda: clock.advance(0.1) or asking)

    assert asking == [True]
    assert_lost(lease, LossReason.YIELDED, eventually, clock)


def test_a_request_for_an_earlier_term_does_not_end_this_one(client, rival, clock, eventually, backend, overwrite):
    from leaderlock._admin import _ask

    old = client.election("a").campaign()
    _ask(engine_of(rival), "a")
    old.resign()
    lease = client.election("a").campaign()

    clock.advance(5.1)
    eventually(lambda: lease.remaining > 14)
    lease.check()


def test_resigning_a_name_that_nobody_leads_asks_nobody(rival):
    assert rival.resign("a") is False


def test_a_wiped_store_is_a_loss_and_the_reason_says_so(lease, store, clock, eventually):
    store.forget(wipe=True)
    clock.advance(5)

    assert_lost(lease, LossReason.STORE_FORGOT, eventually, clock)


def test_a_store_that_forgot_only_its_id_keeps_its_leaders(lease, store, clock, eventually):
    """A failover that lost nothing: the session and the names are looked at again, and the term goes on."""
    token = lease.token
    store.forget(wipe=False)
    clock.advance(5)
    eventually(lambda: clock.advance(0.05) or lease.remaining > 12)
    clock.advance(5)
    eventually(lambda: lease.remaining > 12)

    lease.check()
    assert lease.token == token


def test_a_store_rolled_back_to_before_the_take_is_a_loss(client, store, clock, eventually):
    with client.election("b"):
        before = store.snapshot()
        lease = client.election("a").campaign()
        store.restore(before)
        clock.advance(5)

        assert_lost(lease, LossReason.STORE_FORGOT, eventually, clock)


def test_nobody_takes_from_a_store_that_forgot_before_every_old_claim_is_over(
    open_client, clock, in_background, eventually
):
    """Though nobody seems to lead: who held a name before still may."""
    store = MemoryStore(keeps_memory=False)
    stopped = ManualClock()
    holder, rival = open_client(store.backend(), clock=stopped), open_client(store.backend(), clock=clock)
    holder.init()
    lease = holder.election("a").campaign()
    store.restart()
    started = clock.boot()

    waiting = in_background(rival.election("a").campaign)
    eventually(lambda: clock.advance(0.1) or waiting)

    assert clock.boot() - started > 30
    assert waiting[0].token > lease.token


def test_closed(client, lease, clock, eventually):
    client.close()

    assert_lost(lease, LossReason.CLOSED, eventually, clock)


def test_losing_the_session_loses_all_leases_at_once_each_with_its_own_news(client, clock, eventually):
    leases = client.campaign_all([f"n{number}" for number in range(50)]).values()
    told = []
    for lease in leases:
        lease.on_lost(told.append)

    clock.advance(60)

    assert not any(lease.is_held for lease in leases)
    eventually(lambda: len(told) == 50)
    assert set(told) == set(leases)
    assert {lease.lost_reason for lease in leases} == {LossReason.EXPIRED}


def test_after_a_loss_the_same_client_is_elected_anew(lease, client, clock, in_background, eventually):
    clock.advance(60)
    eventually(lambda: lease.state == "lost")

    again = in_background(client.election("a").campaign)
    eventually(lambda: clock.advance(0.1) or again)

    assert again[0].token > lease.token
    assert not lease.is_held


def test_the_old_session_s_name_is_not_kept_from_others(lease, rival, clock, in_background, eventually):
    clock.advance(60)

    won = in_background(rival.election("a").campaign)
    eventually(lambda: clock.advance(0.1) or won)

    assert won[0].is_held


def test_a_machine_that_breaks_gives_everything_up_and_says_so(client, clock, eventually, monkeypatch, caplog):
    """Never a quiet death: no claim survives a mistake of ours, everybody is told, and the client goes on."""
    lease = client.election("a").campaign()
    machine = engine_of(client)._machine
    monkeypatch.setattr(machine._sessions, "renew", lambda now: 1 / 0)
    clock.advance(5)

    assert_lost(lease, LossReason.FAILED, eventually, clock)
    eventually(lambda: "gives up all leases" in caplog.text)
    again = client.election("b").campaign(timeout=60)
    clock.advance(5)
    eventually(lambda: again.remaining > 14)


def test_a_reason_is_the_same_word_wherever_it_is_told(lease, clock):
    clock.advance(60)

    with pytest.raises(LeaseLost) as caught:
        lease.check()
    assert caught.value.reason == lease.lost_reason == LossReason.EXPIRED == "expired"
    assert f"{lease.lost_reason}" == "expired"
