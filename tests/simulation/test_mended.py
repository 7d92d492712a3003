"""What the simulator found in the protocol's code, and what was mended: each as the shortest walk to the symptom."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from leaderlock._protocol import session as session_module
from leaderlock._protocol.candidacy import (
    Candidacy,
    Denied,
    Elected,
    LossReason,
    NoteLost,
    NoteSaved,
    Released,
    State,
    Wish,
)
from leaderlock._protocol.events import (
    Answered,
    Ask,
    Campaign,
    Close,
    Failure,
    Fired,
    Kind,
    Lane,
    Put,
    RenewNow,
    Resign,
    Retry,
    SaveNote,
    Scan,
    Unanswered,
    Unread,
    Viewed,
    Withdraw,
    Woken,
)
from leaderlock._protocol.records import SETTLED, Ending, NameRecord, SessionRecord, SettledRecord
from leaderlock._protocol.session import VERIFY
from leaderlock.backend import Conflict, Seen, View
from leaderlock.errors import BackendRefused, MemoryGone, OutcomeUnknown

from .by_hand import RHO, TTL, Client, name_in, overwrite, own_session, register, session_of


def puts(effects, kind):
    return [effect for effect in effects if isinstance(effect, Put) and effect.kind is kind]


def test_a_note_that_an_earlier_attempt_saved_is_not_called_lost_because_a_later_one_was_refused(client):
    held = client.campaign()
    client.loses = {Kind.NOTE: "reply"}
    client.do(SaveNote(held, b"first", 1))
    [again] = puts(client.machine.handle(Fired(("name", "n")), client.now), Kind.NOTE)
    client.loses = {}

    client.do(Unanswered([again], Failure.REFUSED, BackendRefused("full")))
    client.do(SaveNote(held, b"second", 2))
    client.do(Fired(("name", "n")))

    assert not client.told(NoteLost)
    assert client.told(NoteSaved) == [NoteSaved(1, b"first"), NoteSaved(2, b"second")]


def test_a_note_seen_saved_while_it_is_tried_again_does_not_answer_for_the_next_one(client):
    held = client.campaign()
    client.loses = {Kind.NOTE: "reply"}
    client.do(SaveNote(held, b"first", 1))
    client.do(SaveNote(held, b"second", 2))
    [again] = puts(client.machine.handle(Fired(("name", "n")), client.now), Kind.NOTE)

    client.look("name/n")
    told_by_the_look = client.told(NoteSaved)
    client.loses = {}
    client.do(Unanswered([again], Failure.UNKNOWN, OutcomeUnknown("lost")))
    client.do(Fired(("name", "n")))

    assert told_by_the_look == []
    assert client.told(NoteSaved) == [NoteSaved(1, b"first"), NoteSaved(2, b"second")]
    assert name_in(client.store, "n").note == b"second"


def test_a_note_under_way_when_its_term_ended_leaves_nothing_in_doubt(client):
    held = client.campaign()
    [note] = puts(client.machine.handle(SaveNote(held, b"note", 1), client.now), Kind.NOTE)
    overwrite(client.store, "name/n", NameRecord("w", "somebody", held.token + 1))
    client.look("name/n")

    client.do(Unanswered([note], Failure.UNKNOWN, OutcomeUnknown("lost")))
    client.do(Fired(("name", "n")))

    assert held.reason is LossReason.SUPERSEDED
    assert not client.machine._names._busy


def test_a_read_that_lags_does_not_end_a_release_that_is_still_to_be_repeated(store, client):
    client.do(Resign(client.campaign()))
    before = register(store, "name/n")
    held = client.campaign()
    client.loses = {Kind.RELEASE: "request"}
    client.do(Resign(held))
    client.loses = {}
    floor, memory = store.backend().read([], timeout=1).floor, client.machine.memory[0]

    client.do(Viewed(View({"name/n": before}, floor, memory), client.now))
    client.do(Fired(("name", "n")))

    assert name_in(store).session is None


def test_a_store_that_lost_writes_without_a_word_is_believed_again_once_what_is_known_is_old(store, client):
    rival = Client(store, "b")
    held = rival.campaign()
    candidacy = client.campaign()
    lost = NameRecord("w", "another session", held.token + 1)
    client.do(Viewed(View({"name/n": Seen(lost.encode(), 1 << 20)}, 1, client.machine.memory[0]), client.now))

    rival.do(Resign(held))
    client.do(Fired(("name", "n")), at=1.0)
    soon = candidacy.state
    client.do(Fired(("name", "n")), at=client.setting.timing.longest + 2.0)

    assert soon is State.CAMPAIGNING, "a read that lags, for all that is known"
    assert candidacy.state is State.LEADING
    assert candidacy.token > lost.token, "the floor is above whatever was given"


def test_who_is_denied_with_a_take_in_doubt_makes_that_take_conflict(store, client):
    rival = Client(store, "b")
    rival.campaign("its own")
    client.do(Resign(client.campaign()))
    client.loses = {Kind.TAKE: "request"}
    candidacy = client.campaign(patient=False)
    lagging = NameRecord("w", "session of another", candidacy.token + (1 << 52))
    alive = SessionRecord("w", 15.0, at=client.now.wall)
    view = {"name/n": Seen(lagging.encode(), 1 << 20), "session/session of another": Seen(alive.encode(), 1 << 21)}
    for _ in range(2):
        client.do(Viewed(View(view, 1, client.machine.memory[0]), client.now))

    for late in client.late:
        client.arrives_late(late)

    assert client.told(Denied)
    assert name_in(store).session is None


def test_a_take_whose_session_was_given_up_with_it_is_not_in_doubt(store, client, rival):
    rival.campaign("so that the memory is settled")
    client.loses = {Kind.OPEN: "request"}
    candidacy = client.campaign()

    assert (candidacy.state, client.sent[-1]) == (State.CAMPAIGNING, (Kind.CLOSE,))
    assert not client.machine._names._busy["n"].doubts


def test_names_that_only_a_scan_finds_are_looked_for_after_every_loss_of_memory(store, client, monkeypatch):
    monkeypatch.setattr(session_module, "REMEMBERED", 1)
    held = [client.campaign(name) for name in ("a", "b", "c")]
    store.forget(wipe=False)
    client.do(Fired(("renew",)))
    store.forget(wipe=False)

    effects = client.machine.handle(Viewed(client.backend.read([SETTLED], timeout=1), client.now), client.now)

    assert [effect.prefix for effect in effects if isinstance(effect, Scan)] == ["name/"]
    assert all(one.leads for one in held)


def test_a_take_that_was_seen_and_given_back_is_not_believed_when_something_old_shows_it_again(store, client, rival):
    client.do(Resign(client.campaign()))
    given_up = Candidacy("n", patient=True)
    [take] = puts(client.machine.handle(Campaign([given_up]), client.now), Kind.TAKE)
    client.do(Withdraw(given_up))
    client.arrives_late(take)
    client.do(Unanswered([take], Failure.UNKNOWN, OutcomeUnknown("lost")))
    old = client.backend.read(["name/n"], timeout=1)
    client.loses = {Kind.RELEASE: "request"}
    client.look("name/n")
    client.arrives_late(client.late[0])
    theirs = rival.campaign()

    again = client.campaign()
    client.do(Woken("name/n", old))

    assert theirs.leads
    assert not again.leads


@pytest.mark.parametrize("kind", [Kind.RENEW, Kind.RELEASE, Kind.TAKE])
def test_a_conflict_with_the_very_stamp_expected_is_no_answer_and_backs_off(store, client, kind):
    held = client.campaign()
    overwrite(store, "name/free", NameRecord("w", None, 3))
    event = {
        Kind.RENEW: RenewNow(),
        Kind.RELEASE: Resign(held),
        Kind.TAKE: Campaign([Candidacy("free", patient=True)]),
    }[kind]
    effects = client.machine.handle(event, client.now)
    for ask in [effect for effect in effects if isinstance(effect, Ask)]:
        effects = client.machine.handle(Viewed(client.backend.read(ask.keys, timeout=1), client.now), client.now)
    [put] = puts(effects, kind)
    seen = register(store, put.write.key)

    after = client.machine.handle(Answered([put], [Conflict(seen._replace(stamp=put.write.expected))]), client.now)

    assert not [effect for effect in after if isinstance(effect, Put)]
    assert [effect for effect in after if isinstance(effect, Retry)]


@pytest.mark.parametrize("kind", [Kind.TAKE, Kind.RELEASE])
def test_a_memory_that_is_gone_to_writes_and_there_to_reads_is_not_asked_without_a_pause(store, client, kind):
    held = client.campaign()
    overwrite(store, "name/free", NameRecord("w", None, 3))
    old = client.backend.read(["name/n", "name/free", SETTLED], timeout=1)
    event = Resign(held) if kind is Kind.RELEASE else Campaign([Candidacy("free", patient=True)])
    effects, asked = client.machine.handle(event, client.now), 0

    while asked < 20 and (calls := [effect for effect in effects if isinstance(effect, Put | Ask)]):
        asked += 1
        answers = [
            Unanswered([call], Failure.MEMORY_GONE, MemoryGone("gone"))
            if isinstance(call, Put)
            else Viewed(old, client.now)
            for call in calls
        ]
        effects = [effect for answer in answers for effect in client.machine.handle(answer, client.now)]

    assert asked < 5


def test_a_campaign_whose_read_was_lost_reads_again_when_its_pause_is_over(client):
    candidacy = Candidacy("n", patient=True)
    [ask] = [effect for effect in client.machine.handle(Campaign([candidacy]), client.now) if isinstance(effect, Ask)]

    client.do(Unread(ask.keys, Failure.UNKNOWN, OutcomeUnknown("lost")))
    client.do(Fired(("name", "n")))

    assert candidacy.leads


def test_who_saw_the_namespace_wiped_knows_that_it_is_no_first_use(store, client):
    client.campaign("old")
    store.forget(wipe=True)
    client.look(SETTLED)

    assert client.campaign("n").campaigns


def test_a_namespace_that_was_settled_anew_under_the_right_terms_is_believed(store, client):
    client.do(Resign(client.campaign()))
    record = SettledRecord(client.machine.memory[0], 60.0, "memory")
    overwrite(store, SETTLED, record)
    client.look(SETTLED)
    refused = client.campaign()
    overwrite(store, SETTLED, record._replace(longest=client.setting.timing.longest))

    again = client.campaign()

    assert refused.state is State.WITHDRAWN
    assert again.leads


@pytest.mark.parametrize("lost", ["name/a", "name/"])
def test_what_was_to_be_verified_and_was_not_read_is_read_again(store, client, monkeypatch, lost):
    monkeypatch.setattr(session_module, "REMEMBERED", 3 if lost == "name/a" else 1)
    held = [client.campaign(name) for name in ("a", "b", "c")]
    store.forget(wipe=False)
    client.machine.handle(Viewed(client.backend.read([SETTLED], timeout=1), client.now), client.now)

    effects = client.machine.handle(Unread((lost,), Failure.UNKNOWN, OutcomeUnknown("lost")), client.now)
    client.do(Fired(VERIFY))

    assert [effect.timer for effect in effects if isinstance(effect, Retry)] == [VERIFY]
    assert client.sent[-1] == (Kind.RENEW,)
    assert all(one.leads for one in held)


def test_a_burial_that_nobody_waits_for_any_more_is_not_kept_in_mind(client, rival):
    client.campaign()
    candidacy = rival.campaign()
    rival.now = rival.now.plus(20.0)
    [burial] = puts(rival.machine.handle(Fired(("name", "n")), rival.now), Kind.BURY)
    rival.do(Withdraw(candidacy))

    rival.do(Answered([burial], rival.backend.swap([burial.write], burial.memory, timeout=1)))

    assert not rival.machine._rivals._known


def test_a_name_resigned_while_the_memory_changes_is_looked_at_also_if_no_scan_finds_it(store, client, monkeypatch):
    monkeypatch.setattr(session_module, "REMEMBERED", 1)
    held = [client.campaign(name) for name in ("a", "b")]
    kept, everything = {SETTLED, f"session/{own_session(client)}"}, store.snapshot()
    [registers] = everything.spaces.values()
    store.restore(replace(everything, spaces={"default": {key: registers[key] for key in kept}}))
    client.machine.handle(Viewed(client.backend.read([SETTLED], timeout=1), client.now), client.now)

    client.do(Resign(held[0]))

    assert client.told(Released)


def test_a_take_that_was_seen_before_it_was_in_doubt_and_given_back_is_not_believed_either(store, client, rival):
    client.do(Resign(client.campaign()))
    candidacy = Candidacy("n", patient=True)
    [take] = puts(client.machine.handle(Campaign([candidacy]), client.now), Kind.TAKE)
    client.arrives_late(take)
    client.look("name/n")
    old = client.backend.read(["name/n"], timeout=1)
    client.do(Unanswered([take], Failure.UNKNOWN, OutcomeUnknown("lost")))
    client.loses = {Kind.RELEASE: "request"}
    client.do(Fired(("name", "n")))
    client.arrives_late(client.late[0])
    theirs = rival.campaign()

    client.do(Woken("name/n", old))

    assert theirs.leads
    assert not candidacy.leads


def test_what_is_claimed_and_no_scan_finds_is_looked_at_before_the_first_renewal_on_another_memory(
    store, client, monkeypatch
):
    """Else who leads more names than are remembered renewed his claim to one that the store had forgotten."""
    monkeypatch.setattr(session_module, "REMEMBERED", 1)
    client.do(Resign(client.campaign("opened")))
    snapshot = store.snapshot()
    held = [client.campaign(name) for name in ("a", "b", "c")]
    store.restore(snapshot)

    client.look(SETTLED)

    assert client.sent[-1] == (Kind.RENEW,)
    assert [one.reason for one in held] == [LossReason.STORE_FORGOT] * 3


def test_no_note_is_sent_by_a_stamp_that_was_read_on_another_memory(store, client):
    """In some stores stamps come back: it would overwrite whatever has that one now."""
    held = client.campaign()
    store.forget(wipe=False)
    client.machine.handle(Viewed(client.backend.read([SETTLED], timeout=1), client.now), client.now)

    early = puts(client.machine.handle(SaveNote(held, b"note", 1), client.now), Kind.NOTE)
    client.look(SETTLED, "name/n", f"session/{own_session(client)}")

    assert early == []
    assert client.told(NoteSaved) == [NoteSaved(1, b"note")]


@pytest.mark.parametrize("knows", [False, True], ids=["unnoticed", "noticed"])
def test_who_closes_while_the_memory_changes_leaves_no_name_to_a_session_that_is_not_there(store, client, knows):
    """An absent session is no proof of anything: the next candidate would wait for the longest ttl."""
    held = client.campaign()
    session, snapshot = own_session(client), store.snapshot()
    client.do(Resign(held))
    store.restore(snapshot)
    if knows:
        client.machine.handle(Viewed(client.backend.read([SETTLED], timeout=1), client.now), client.now)

    client.do(Close())
    client.do(Fired(("close", session)))

    assert name_in(store).session == session
    assert session_of(store, "a")[1].ended is Ending.CLOSED


def test_who_buries_on_a_memory_that_is_gone_looks_for_the_present_one(store, client, rival):
    client.campaign()
    rival.campaign()
    store.forget(wipe=False)

    rival.do(Fired(("name", "n")), at=TTL * (1 + RHO) + 0.1)

    assert rival.sent[-1] == (Kind.BURY,)
    assert rival.machine.memory[0] == rival.backend.read([], timeout=1).memory


def test_two_replicas_of_which_one_stays_behind_are_not_asked_in_turn_without_a_pause(store, client, rival):
    """The lanes have a connection each: after a failover one may still lead to the old master."""
    rival.campaign()
    held, candidacy = client.campaign("held"), client.campaign()
    old = client.backend.read([SETTLED, "name/n", "name/held", f"session/{own_session(rival)}"], timeout=1)
    store.forget(wipe=False)
    effects, calls = client.machine.handle(RenewNow(), client.now), 0

    while calls < 50 and (asked := [effect for effect in effects if isinstance(effect, Put | Ask)]):
        effects = []
        for call in asked:
            calls += 1
            client.now = client.now.plus(0.001)
            effects += client.machine.handle(answer(client, call, old), client.now)

    assert calls < 20
    assert held.leads
    assert candidacy.campaigns


def answer(client, call, old):
    """What the store says; but the names' lane reads what there was before it changed its memory."""
    if isinstance(call, Ask):
        there = old if call.lane is Lane.NAMES else client.backend.read(call.keys, timeout=1)
        return Viewed(there._replace(seen={key: there.seen[key] for key in call.keys}), client.now)
    try:
        return Answered([call], client.arrives_late(call))
    except MemoryGone as gone:
        return Unanswered([call], Failure.MEMORY_GONE, gone)


def test_who_only_waits_does_not_ask_them_in_turn_without_a_pause_either(store, client, rival):
    for name in ("m", "n"):
        client.campaign(name)
        rival.campaign(name)
    everything = [SETTLED, "name/m", "name/n", f"session/{own_session(client)}"]
    old = rival.backend.read(everything, timeout=1)
    store.forget(wipe=False)
    views, asked = itertools.cycle([rival.backend.read(everything, timeout=1), old]), 0
    effects = rival.machine.handle(Woken("name/n"), rival.now)

    while asked < 50 and (asks := [effect for effect in effects if isinstance(effect, Ask)]):
        effects = []
        for ask in asks:
            asked += 1
            rival.now = rival.now.plus(0.001)
            view = next(views)
            view = view._replace(seen={key: view.seen[key] for key in ask.keys})
            effects += rival.machine.handle(Viewed(view, rival.now), rival.now)

    assert asked < 20


class Errand:
    """Writes its own name into the note."""

    def __init__(self, note):
        self.note = note

    def wish(self, note, now):
        return Wish.WAIT

    def compose(self, note, token, now):
        return self.note


@pytest.mark.parametrize("when", ["under way", "won", "won, and not released at once"])
def test_an_errand_that_is_given_up_before_anybody_heard_of_it_leaves_the_note_as_it_was(store, client, when):
    """A tick whose caller ran out of time before he had it counted as begun: its runner had died, and nobody ran it."""
    client.do(Resign(client.campaign(), b"before"))
    given_up = Candidacy("n", patient=True, errand=Errand(b"begun"))
    [take] = puts(client.machine.handle(Campaign([given_up]), client.now), Kind.TAKE)
    if when == "under way":
        client.do(Withdraw(given_up))
        client.do(Answered([take], client.arrives_late(take)))
    else:
        client.do(Answered([take], client.arrives_late(take)))
        if when != "won":
            client.loses[Kind.RELEASE] = "request"
        client.do(Withdraw(given_up))
        client.loses.clear()
        client.do(Fired(("name", "n")))

    assert name_in(store).session is None
    assert name_in(store).note == b"before"


def test_only_the_take_that_an_errand_made_is_undone(store, client):
    client.do(Resign(client.campaign(), b"before"))
    given_up = Candidacy("n", patient=True, errand=Errand(b"begun"))
    [take] = puts(client.machine.handle(Campaign([given_up]), client.now), Kind.TAKE)
    client.do(Withdraw(given_up))
    overwrite(store, "name/n", name_in(store)._replace(write="hand", session=take.session, note=b"by hand"))

    client.do(Answered([take], client.arrives_late(take)))

    assert name_in(store).session is None
    assert name_in(store).note == b"by hand"


def test_an_errand_that_was_begun_keeps_its_note_when_its_term_ends(store, client):
    client.do(Resign(client.campaign(), b"before"))
    begun = Candidacy("n", patient=True, errand=Errand(b"begun"))
    client.do(Campaign([begun]))

    client.do(Resign(begun))

    assert name_in(store).note == b"begun"


@pytest.mark.parametrize("answered", [True, False], ids=["under way", "in doubt"])
@pytest.mark.parametrize("first", [Errand(b"first"), None], ids=["an errand's", "no errand's"])
def test_nobody_is_elected_by_a_take_whose_note_another_errand_made(store, client, answered, first):
    """A tick that was given up left its take behind: whoever called for the next tick ran the one before."""
    client.do(Resign(client.campaign()))
    given_up = Candidacy("n", patient=True, errand=first)
    [take] = puts(client.machine.handle(Campaign([given_up]), client.now), Kind.TAKE)
    client.do(Withdraw(given_up))
    second = Candidacy("n", patient=True, errand=Errand(b"second"))
    client.machine.handle(Campaign([second]), client.now)

    answers = client.arrives_late(take)
    client.do(Answered([take], answers) if answered else Unanswered([take], Failure.UNKNOWN, OutcomeUnknown("lost")))
    client.do(Fired(("name", "n")))

    assert second.leads
    assert name_in(store).note == b"second"
    assert [news.note for news in client.told(Elected)][1:] == [b"second"]
