"""What the simulator found in the protocol's code, and what was mended: each as the shortest walk to the symptom."""

from __future__ import annotations

from leaderlock._protocol import session as session_module
from leaderlock._protocol.candidacy import Candidacy, Denied, LossReason, NoteLost, NoteSaved, State
from leaderlock._protocol.events import (
    Campaign,
    Failure,
    Fired,
    Kind,
    Put,
    Resign,
    SaveNote,
    Scan,
    Unanswered,
    Viewed,
    Withdraw,
    Woken,
)
from leaderlock._protocol.records import SETTLED, NameRecord, SessionRecord
from leaderlock.backend import Seen, View
from leaderlock.errors import BackendRefused, OutcomeUnknown

from .by_hand import Client, name_in, overwrite, register


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
    [take] = puts(client.machine.handle(Campaign(given_up), client.now), Kind.TAKE)
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
