"""Rules 15 to 18, by their numbers: a small table or one walk each. Histories are the simulator's."""

from __future__ import annotations

import pytest

from leaderlock._protocol import session
from leaderlock._protocol.candidacy import Candidacy, Failed, LossReason, State
from leaderlock._protocol.events import (
    Ask,
    Campaign,
    Close,
    Failure,
    Fired,
    Kind,
    Put,
    RenewNow,
    Resign,
    Scan,
    Scanned,
    Unanswered,
    Viewed,
)
from leaderlock._protocol.records import SETTLED, Ending, NameRecord
from leaderlock.errors import MemoryGone

from .by_hand import RHO, START, Client, name_in, overwrite, own_session, register, session_of


def test_rule_15_a_client_on_other_terms_is_refused(store, client):
    client.campaign()
    other = Client(store, "c", longest=60.0)

    other.campaign()

    [failed] = other.told(Failed)
    assert "longest=30" in str(failed.error)


def test_rule_16_a_first_use_is_settled_at_once_only_where_the_store_keeps_its_memory(store):
    careful = Client(store, keeps_memory=False)
    candidacy = careful.campaign()
    at_once = candidacy.state

    careful.do(Fired(("settle",)), at=30.0 * (1 + RHO) - 0.01)
    early = candidacy.state
    careful.do(Fired(("settle",)), at=30.0 * (1 + RHO))

    assert (at_once, early, candidacy.state) == (State.CAMPAIGNING, State.CAMPAIGNING, State.LEADING)


def test_rule_17_on_unsettled_memory_one_keeps_what_is_still_there_and_takes_nothing(store, client, rival):
    kept = client.campaign("kept")
    snapshot = store.snapshot()
    lost = client.campaign("lost")
    store.restore(snapshot)

    client.do(Fired(("renew",)), at=5.0)
    wanted = rival.campaign("lost")

    assert (kept.state, lost.reason) == (State.LEADING, LossReason.STORE_FORGOT)
    assert wanted.state is State.CAMPAIGNING


def test_rule_17_the_names_are_looked_at_before_the_first_renewal_on_another_memory(store, client):
    client.campaign()
    key, _ = session_of(store, "a")
    store.forget(wipe=False)
    before = len(client.sent)

    effects = client.machine.handle(Viewed(client.backend.read([SETTLED], timeout=1), client.now), client.now)

    [ask] = [effect for effect in effects if isinstance(effect, Ask)]
    assert set(ask.keys) >= {"name/n", key}
    assert not [effect for effect in effects if isinstance(effect, Put)]
    assert len(client.sent) == before


@pytest.mark.parametrize("event", [Fired(("renew",)), RenewNow()], ids=["its time has come", "the machine slept"])
def test_rule_17_nothing_brings_about_a_renewal_before_that(store, client, event):
    client.campaign()
    store.forget(wipe=False)
    client.machine.handle(Viewed(client.backend.read([SETTLED], timeout=1), client.now), client.now)

    effects = client.machine.handle(event, client.now)

    assert not [effect for effect in effects if isinstance(effect, Put)]


def test_rule_18_every_write_stands_on_the_memory_that_was_seen(store, client):
    held = client.campaign()
    store.forget(wipe=False)
    before = register(store, "name/n")

    put = next(effect for effect in client.machine.handle(Resign(held), client.now) if isinstance(effect, Put))

    with pytest.raises(MemoryGone):
        client.arrives_late(put)
    assert register(store, "name/n") == before


def test_rule_8_a_floor_that_rose_is_the_floor_of_the_next_take(store, client):
    client.do(Resign(client.campaign()))
    seen = client.backend.read(["name/n"], timeout=1)
    floor = seen.floor + 1_000
    client.do(Viewed(seen._replace(floor=floor), client.now))

    candidacy = client.campaign()

    assert candidacy.token == floor


def test_rule_9_an_answer_that_left_before_the_present_memory_was_seen_is_asked_for_again(store, client):
    client.campaign()
    old = client.backend.read(["name/n"], timeout=1)
    store.forget(wipe=False)
    sent, client.now = client.now, client.now.plus(1.0)
    client.look(SETTLED)
    memory = client.machine.memory

    effects = client.machine.handle(Viewed(old, sent), client.now)

    assert [effect.keys for effect in effects if isinstance(effect, Ask)] == [("name/n",)]
    assert client.machine.memory == memory


def test_rule_17_an_open_under_way_when_the_memory_changes_is_given_up_for_another(store, client, rival):
    rival.campaign("so that the memory is settled")
    candidacy = Candidacy("n", patient=True)
    client.machine.handle(Campaign([candidacy]), client.now)
    seen = client.backend.read(["name/n", SETTLED], timeout=1)
    [open_, take] = [e for e in client.machine.handle(Viewed(seen, client.now), client.now) if isinstance(e, Put)]
    store.forget(wipe=False)
    client.look(SETTLED)

    client.do(Unanswered([open_, take], Failure.MEMORY_GONE, MemoryGone("gone")))
    client.do(Fired(("settle",)), at=31.0)

    assert candidacy.leads
    assert own_session(client) != open_.owner


def test_rule_17_a_session_that_another_memory_shows_ended_is_lost_and_never_renewed(store, client):
    held = client.campaign()
    key, record = session_of(store, "a")
    overwrite(store, key, record._replace(ended=Ending.EXPIRED))
    store.forget(wipe=False)

    client.look(SETTLED)

    assert held.reason is LossReason.STORE_FORGOT
    assert session_of(store, "a")[1].ended is Ending.EXPIRED


def test_rule_17_nothing_is_renewed_before_a_scan_has_come_to_its_end(store, client, monkeypatch):
    monkeypatch.setattr(session, "REMEMBERED", 1)
    for name in ("a", "b", "c"):
        client.campaign(name)
    store.forget(wipe=False)
    view = client.backend.read([SETTLED, f"session/{own_session(client)}", "name/a", "name/b", "name/c"], timeout=1)
    effects = client.machine.handle(Viewed(view, client.now), client.now)
    [scan] = [effect for effect in effects if isinstance(effect, Scan)]

    [more] = client.machine.handle(Scanned(scan, (), False, client.now), client.now)
    then = client.machine.handle(Scanned(scan, (), True, client.now), client.now)

    assert more == scan
    assert [effect.kind for effect in then if isinstance(effect, Put)] == []


def test_rule_17_the_end_of_a_scan_that_began_on_another_memory_ends_nothing(store, client, monkeypatch):
    monkeypatch.setattr(session, "REMEMBERED", 1)
    for name in ("a", "b", "c"):
        client.campaign(name)
    keys = [SETTLED, f"session/{own_session(client)}", "name/a", "name/b", "name/c"]
    effects = []
    for _ in range(2):
        store.forget(wipe=False)
        effects += client.machine.handle(Viewed(client.backend.read(keys, timeout=1), client.now), client.now)
    old, new = (effect for effect in effects if isinstance(effect, Scan))

    early = client.machine.handle(Scanned(old, (), True, client.now), client.now)
    client.do(Scanned(new, (), True, client.now))

    assert not early
    assert client.sent[-1] == (Kind.RENEW,)


def test_rule_17_a_renewal_under_way_when_the_memory_changes_does_not_hold_up_the_next(store, client):
    client.campaign()
    client.machine.handle(Fired(("renew",)), client.now)
    store.forget(wipe=False)
    before = len(client.sent)

    client.look(SETTLED)

    assert client.sent[before:] == [(Kind.RENEW,)]


def test_rule_17_what_a_scan_finds_of_this_session_is_looked_at_and_given_back_if_nobody_claims_it(
    store, client, monkeypatch
):
    monkeypatch.setattr(session, "REMEMBERED", 1)
    for name in ("a", "b", "c"):
        client.campaign(name)
    orphan = NameRecord("w", own_session(client), 5, b"note")
    overwrite(store, "name/orphan", orphan)
    overwrite(store, "name/theirs", orphan._replace(session="theirs"))
    store.forget(wipe=False)

    client.look(SETTLED)

    assert name_in(store, "orphan").session is None
    assert name_in(store, "theirs").session == "theirs"
    assert client.sent[-1] == (Kind.RELEASE, Kind.RENEW)


# -- what ticks compare clocks by


def test_the_highest_floor_is_kept_with_the_moment_at_which_it_was_received(client):
    client.campaign()
    seen = client.backend.read([], timeout=1)
    highest = seen.floor + 1_000

    client.do(Viewed(seen._replace(floor=highest), START), at=1.0)
    client.do(Viewed(seen, START), at=2.0)

    assert client.machine.time_told[0] == (highest, START.plus(1.0))


def test_the_newest_stamp_is_kept_with_the_moments_of_its_write_and_its_answer(store, client):
    client.do(Resign(client.campaign()))
    client.slow = 1.0
    client.do(Fired(("renew",)), at=5.0)
    stamp = register(store, f"session/{own_session(client)}").stamp

    client.do(Close())

    assert client.machine.has_closed, "by a deletion, which is given no stamp"
    assert client.machine.time_told[1] == (stamp, START.plus(5.0), START.plus(6.0))
