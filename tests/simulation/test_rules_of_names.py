"""Rules 8 to 14 and 19, by their numbers: a small table or one walk each. Histories are the simulator's."""

from __future__ import annotations

import itertools

import pytest

from leaderlock._protocol import cleaning
from leaderlock._protocol.candidacy import (
    Asked,
    Candidacy,
    Denied,
    Elected,
    Failed,
    LossReason,
    Lost,
    NoteLost,
    NoteSaved,
    Released,
    State,
)
from leaderlock._protocol.cleaning import CLEAN
from leaderlock._protocol.events import (
    Answered,
    Ask,
    Campaign,
    Close,
    Fired,
    Kind,
    Put,
    RenewNow,
    Resign,
    SaveNote,
    Scan,
    Scanned,
    Viewed,
    Watch,
    Withdraw,
    Woken,
)
from leaderlock._protocol.reading import read_name, read_session
from leaderlock._protocol.records import MAX_TOKEN, Ending, NameRecord, Request, SessionRecord
from leaderlock._protocol.session import RENEW
from leaderlock.backend import ABSENT, DELETE, Seen

from .by_hand import RHO, TTL, Client, name_in, overwrite, own_session, put_raw, register, session_of

# -- names


@pytest.mark.parametrize(("token", "above"), [(3, False), (1 << 52, True)], ids=["the floor", "the last token"])
def test_rule_8_a_token_is_above_the_last_one_and_not_below_the_floor(store, client, token, above):
    overwrite(store, "name/n", NameRecord("w", None, token))
    floor = store.backend().read([], timeout=1).floor

    candidacy = client.campaign()

    assert (candidacy.token == token + 1) is above
    assert candidacy.token >= floor


def test_rule_8_what_was_released_is_taken_and_what_is_held_is_not(client, rival):
    held = client.campaign()
    candidacy = rival.campaign()
    waited = candidacy.state

    client.do(Resign(held))
    rival.look("name/n")

    assert (waited, candidacy.state) == (State.CAMPAIGNING, State.LEADING)
    assert candidacy.token > held.token


def test_rule_8_a_release_that_a_watch_shows_is_taken_without_a_read(client, rival):
    held = client.campaign()
    candidacy = rival.campaign()
    client.do(Resign(held))
    shown = rival.backend.read(["name/n"], timeout=1)

    effects = rival.machine.handle(Woken("name/n", shown), rival.now)

    assert [effect.kind for effect in effects if isinstance(effect, Put)] == [Kind.OPEN, Kind.TAKE]
    assert not [effect for effect in effects if isinstance(effect, Ask)]
    assert candidacy.campaigns


@pytest.mark.parametrize(("token", "taken"), [(MAX_TOKEN - 1, True), (MAX_TOKEN, False)])
def test_rule_8_the_last_token_that_everybody_can_count_to_is_the_last(store, client, token, taken):
    overwrite(store, "name/n", NameRecord("w", None, token))

    candidacy = client.campaign()

    assert (candidacy.token == MAX_TOKEN) is taken
    assert bool(client.told(Failed)) is not taken
    assert name_in(store).token == MAX_TOKEN


def test_rule_8_a_name_that_a_conflict_shows_absent_is_looked_at_before_it_is_taken_under_a_floor(store, client):
    held = client.campaign()
    client.do(Resign(held))
    remove(store, "name/n")
    floor = store.backend().read([], timeout=1).floor

    again = client.campaign()

    assert client.sent[-2:] == [(Kind.TAKE,), (Kind.TAKE,)]
    assert again.token >= floor > held.token


@pytest.mark.parametrize(("ended", "how"), [(False, "expired"), (True, "closed")])
def test_rule_8_a_take_writes_down_how_the_term_before_it_ended(store, client, rival, ended, how):
    client.campaign()
    rival.campaign()
    if ended:
        client.do(Close())

    rival.do(Fired(("name", "n")), at=TTL * (1 + RHO) + 0.1)

    assert [stint.how for stint in name_in(store).stints] == [how, "leads"]


def test_rule_8_a_take_that_is_answered_when_its_session_was_replaced_elects_nobody(store, client):
    client.campaign("opened")
    candidacy = Candidacy("n", patient=True)
    client.machine.handle(Campaign([candidacy]), client.now)
    seen = client.backend.read(["name/n"], timeout=1)
    [take] = [e for e in client.machine.handle(Viewed(seen, client.now), client.now) if isinstance(e, Put)]
    client.do(RenewNow(), at=TTL)
    other = client.campaign("other")

    client.machine.handle(Answered([take], client.arrives_late(take)), client.now)

    assert other.leads
    assert not candidacy.leads
    assert name_in(store).session == take.session


@pytest.mark.parametrize("memory", ["", "another"])
def test_rule_8_what_a_watch_shows_of_another_memory_is_only_a_reason_to_look(client, rival, memory):
    held = client.campaign()
    rival.campaign()
    client.do(Resign(held))
    shown = rival.backend.read(["name/n"], timeout=1)._replace(memory=memory)

    effects = rival.machine.handle(Woken("name/n", shown), rival.now)

    assert [type(effect) for effect in effects] == [Ask]


def test_rule_8_what_a_watch_shows_late_takes_nothing_from_who_came_since(store, client, rival):
    held = client.campaign()
    candidacy = rival.campaign()
    client.do(Resign(held))
    old = rival.backend.read(["name/n"], timeout=1)
    third = Client(store, "c")
    theirs = third.campaign()

    rival.do(Woken("name/n", old))

    assert theirs.leads
    assert candidacy.campaigns
    assert name_in(store).token == theirs.token


def test_who_begins_to_watch_a_name_looks_at_it_afterwards_also_where_its_holder_is_known(client, rival):
    """What happens between a look and the watch would be told by nobody."""
    client.campaign("m")
    client.campaign("n")
    rival.campaign("m")
    candidacy = Candidacy("n", patient=True)
    rival.machine.handle(Campaign([candidacy]), rival.now)
    seen = rival.backend.read(["name/n"], timeout=1)

    effects = rival.machine.handle(Viewed(seen, rival.now), rival.now)

    [watch] = [at for at, effect in enumerate(effects) if isinstance(effect, Watch) and effect.key == "name/n"]
    assert [
        at for at, effect in enumerate(effects) if isinstance(effect, Ask) and "name/n" in effect.keys and at > watch
    ]


def test_who_begins_to_watch_looks_afterwards_also_where_an_older_look_is_under_way(store, client, rival):
    client.campaign("m")
    candidacy = rival.campaign("m")
    rival.do(Resign(rival.campaign("opened")))
    client.do(Resign(client.campaign("k")))
    rival.look("name/k")
    client.campaign("k")
    [take] = [
        effect
        for effect in rival.machine.handle(Campaign([Candidacy("k", patient=True)]), rival.now)
        if isinstance(effect, Put)
    ]
    rival.machine.handle(Woken("name/k", None), rival.now)  # asks, and is not answered yet

    answers = rival.backend.swap([take.write], take.memory, timeout=1)
    effects = rival.machine.handle(Answered([take], answers), rival.now)

    assert candidacy.campaigns
    [watched] = [at for at, effect in enumerate(effects) if isinstance(effect, Watch) and effect.key == "name/k"]
    assert any(isinstance(effect, Ask) and "name/k" in effect.keys for effect in effects[watched:])


def test_a_release_of_which_no_watch_tells_is_seen_though_the_holder_goes_on_renewing(client, rival):
    """The holder's moves are no news of its names, and must not put off the look at them."""
    client.campaign("kept")
    held, candidacy = client.campaign(), rival.campaign()
    client.do(Resign(held))
    session = f"session/{own_session(client)}"

    for third in range(1, 5):
        client.do(Fired(RENEW), at=third * TTL / 3)
        rival.do(Woken(session, None), at=third * TTL / 3)

    assert candidacy.leads


def test_who_is_shown_what_lags_does_not_look_again_at_once(client, rival):
    """Or a store that lost a write without a word would be read without a pause."""
    held = client.campaign()
    rival.campaign()
    view = rival.backend.read(["name/n"], timeout=1)
    older = view.seen["name/n"]._replace(value=NameRecord("w", "somebody", held.token - 1).encode())
    late = rival.now.plus(0.9 * TTL)

    effects = rival.machine.handle(Viewed(view._replace(seen={"name/n": older}), late), late)

    assert not [effect for effect in effects if isinstance(effect, Ask)]


@pytest.mark.parametrize(
    ("token", "reason"), [(+1, LossReason.SUPERSEDED), (-1, None)], ids=["higher", "lower: it lags"]
)
def test_rule_9_a_higher_token_supersedes_and_a_lower_one_is_ignored(store, client, token, reason):
    held = client.campaign()
    overwrite(store, "name/n", NameRecord("w", "somebody", held.token + token))

    client.look("name/n")

    assert held.reason is reason


@pytest.mark.parametrize("taken", [0, 3, None], ids=["same token", "lower token", "deleted"])
def test_rule_9_a_read_that_denies_the_claim_is_put_to_the_test_by_a_swap(store, client, taken):
    """Where stamps come back, as on ZooKeeper, an old write may replace ours under the very stamp that it expects."""
    held = client.campaign()
    token = name_in(store).token
    if taken is None:
        put_raw(store, "name/n", DELETE)
    else:
        overwrite(store, "name/n", NameRecord("w", "somebody", token - taken))
    client.now = client.now.plus(1.0)

    client.look("name/n")

    assert held.reason is LossReason.REVOKED


def test_rule_9_a_read_that_lagged_costs_one_swap_and_no_claim(store, client):
    held = client.campaign()
    behind = client.backend.read(["name/n"], timeout=1)._replace(seen={"name/n": Seen(None, ABSENT)})

    for _ in range(2):
        client.now = client.now.plus(1.0)
        client.do(Viewed(behind, client.now))
    client.do(Viewed(client.backend.read(["name/n"], timeout=1), client.now))

    assert held.leads
    assert client.sent[-2:] == [(Kind.TOUCH,), (Kind.TOUCH,)]
    client.do(Resign(held))
    assert client.told(Released) == [Released(acknowledged=True)]


def test_rule_9_a_read_that_left_before_the_take_was_answered_denies_nothing(client):
    before = client.now
    view = client.backend.read(["name/n"], timeout=1)
    client.now = client.now.plus(1.0)
    held = client.campaign()
    sent = len(client.sent)

    client.do(Viewed(view, before))

    assert held.leads
    assert len(client.sent) == sent


@pytest.mark.parametrize(("above", "reason"), [(0, None), (1, LossReason.SUPERSEDED)])
def test_rule_9_under_another_stamp_it_is_ours_by_session_and_token_together(store, client, above, reason):
    held = client.campaign()
    overwrite(store, "name/n", NameRecord("w", own_session(client), held.token + above))

    client.look("name/n")

    assert held.reason is reason


def test_rule_10_an_unknown_take_counts_when_it_is_read_in_time(client):
    client.do(Resign(client.campaign("opened")))
    client.look("name/n")
    client.loses = {Kind.TAKE: "reply"}
    candidacy = client.campaign()
    in_doubt = candidacy.state

    client.look("name/n")

    assert (in_doubt, candidacy.state) == (State.CAMPAIGNING, State.LEADING)


def test_rule_10_who_walks_away_from_an_unknown_take_makes_it_conflict(store, client):
    client.do(Resign(client.campaign("opened")))
    client.loses = {Kind.TAKE: "request"}
    candidacy = client.campaign()

    client.do(Withdraw(candidacy))
    for late in client.late:
        client.arrives_late(late)

    assert (Kind.TOUCH,) in client.sent
    assert name_in(store).session is None


def test_rule_10_a_touch_leaves_an_absent_name_released_under_the_floor(store, client):
    client.campaign("opened")
    client.loses = {Kind.TAKE: "request"}
    candidacy = client.campaign()
    floor = client.late[0].record.token

    client.do(Withdraw(candidacy))

    assert (name_in(store).session, name_in(store).token) == (None, floor)


def test_rule_11_the_claim_ends_before_the_release_and_the_release_is_repeated_until_done(store, client):
    held = client.campaign()
    client.loses = {Kind.RELEASE: "request"}
    client.do(Resign(held))
    ended, kept = held.state, name_in(store).session
    client.loses = {}

    client.do(Fired(("name", "n")))

    assert (ended, kept) == (State.RESIGNED, own_session(client))
    assert (name_in(store).session, name_in(store).token) == (None, held.token)


@pytest.mark.parametrize("note", [None, b"farewell"])
@pytest.mark.parametrize("loses", ["request", "reply"])
def test_rule_12_a_release_is_acknowledged_only_if_its_end_was_seen(client, loses, note):
    held = client.campaign()
    client.loses = {Kind.RELEASE: loses}
    client.do(Resign(held, note))
    client.loses = {}

    if loses == "request":
        client.now = client.now.plus(20.0)  # the session has ended before it could be sent again
    client.do(Fired(("name", "n")))

    assert client.told(Released) == [Released(acknowledged=loses == "reply")]


@pytest.mark.parametrize("note", [None, b"farewell"])
def test_rule_12_who_was_followed_before_his_release_arrived_has_lost_its_note(store, client, note):
    held = client.campaign()
    client.loses = {Kind.RELEASE: "request"}
    client.do(Resign(held, note))
    client.loses = {}
    overwrite(store, "name/n", NameRecord("w", "somebody", held.token + 1))

    client.do(Fired(("name", "n")))

    assert client.told(Released) == [Released(acknowledged=note is None)]


def test_rule_12_a_note_outlives_its_term_and_an_unknown_one_is_found_by_its_write(client, rival):
    held = client.campaign()
    client.loses = {Kind.NOTE: "reply"}
    client.do(SaveNote(held, b"up to here", 1))
    client.loses = {}

    client.do(Fired(("name", "n")))
    client.do(Resign(held))
    rival.campaign()

    assert client.told(NoteSaved) == [NoteSaved(1, b"up to here")]
    assert [news.note for news in rival.told(Elected)] == [b"up to here"]


def test_rule_12_an_unknown_note_is_saved_as_soon_as_a_read_shows_it(client):
    held = client.campaign()
    client.loses = {Kind.NOTE: "reply"}
    client.do(SaveNote(held, b"up to here", 1))

    client.look("name/n")

    assert client.told(NoteSaved) == [NoteSaved(1, b"up to here")]


def test_rule_12_a_note_that_waits_when_the_term_ends_is_said_to_be_lost(client):
    held = client.campaign()
    client.loses = {Kind.NOTE: "request"}
    client.do(SaveNote(held, b"up to here", 1))

    client.do(Resign(held))

    assert client.told(NoteLost) == [NoteLost(1)]


def test_rule_13_a_request_is_met_at_the_next_renewal(store, client):
    held = client.campaign()
    key, record = session_of(store, "a")
    overwrite(store, key, record.asking(Request("n", held.token, "me", 0.0)))

    client.do(Fired(("renew",)), at=5.0)

    assert client.told(Lost) == [Lost(LossReason.YIELDED)]
    assert name_in(store).session is None


def test_rule_13_who_does_not_yield_at_once_is_told_and_what_he_resigns_then_is_yielded(store, client):
    held = client.campaign()
    held.yields = False
    key, record = session_of(store, "a")
    overwrite(store, key, record.asking(Request("n", held.token, "me", 0.0)))

    client.do(Fired(("renew",)), at=5.0)
    key, record = session_of(store, "a")
    overwrite(store, key, record.asking(Request("n", held.token, "me", 15.0)))  # a reminder
    client.do(Fired(("renew",)), at=10.0)
    still = (held.state, name_in(store).session)
    client.do(Resign(held))

    assert client.told(Asked) == [Asked()]
    assert still == (State.LEADING, own_session(client))
    assert [stint.how for stint in name_in(store).stints] == ["yielded"]


def test_rule_13_an_orphan_is_released_as_soon_as_it_is_seen(store, client):
    client.campaign()
    overwrite(store, "name/orphan", NameRecord("w", own_session(client), 5, b"note"))

    client.look("name/orphan")

    assert (name_in(store, "orphan").session, name_in(store, "orphan").note) == (None, b"note")


@pytest.mark.parametrize(("off", "denied"), [(0.0, True), (-3600.0, False), (3600.0, False)])
def test_rule_14_who_will_not_wait_is_denied_by_a_leader_that_looks_alive_and_observes_any_other(
    store, client, rival, off, denied
):
    client.now = client.now._replace(wall=client.now.wall + off)
    client.campaign()

    candidacy = rival.campaign(patient=False)
    answered = bool(rival.told(Denied))
    rival.do(Fired(("name", "n")), at=TTL * (1 + RHO) + 0.1)

    assert answered is denied
    assert candidacy.state is (State.WITHDRAWN if denied else State.LEADING)


def test_rule_14_a_session_that_is_seen_to_move_is_alive_whatever_it_says_of_the_time(client, rival):
    client.now = client.now._replace(wall=0.0)
    client.campaign()
    candidacy = rival.campaign(patient=False)
    observed = candidacy.state
    client.do(Fired(RENEW))

    rival.do(Fired(("name", "n")), at=5.0)

    assert (observed, candidacy.state) == (State.CAMPAIGNING, State.WITHDRAWN)
    assert rival.told(Denied)


NEWER = b'{"v":2,"r":2}\n'


@pytest.mark.parametrize("key", ["name/n", "session/s"])
def test_rule_14_who_will_not_wait_is_told_at_once_of_a_record_that_nobody_here_can_read(store, client, key):
    overwrite(store, "name/n", NameRecord("w", "s", 5))
    register_of = {"name/n": "the register of 'n'", "session/s": "the session of who leads 'n'"}
    client.campaign("own")
    put_raw(store, key, NEWER)

    client.campaign(patient=False)
    [failed] = client.told(Failed)
    waiting = client.campaign()

    assert str(failed.error).startswith(register_of[key])
    assert "upgrade" in str(failed.error)
    assert waiting.state is State.CAMPAIGNING, "it may be cleared away; and it is told why"
    assert waiting.waiting.detail == str(failed.error)


# -- cleaning


@pytest.mark.parametrize(("note", "deleted"), [(b"", True), (b"up to here", False)], ids=["no note", "a note"])
def test_rule_19_what_is_over_is_deleted_a_day_later_at_the_earliest_and_a_note_never(store, client, note, deleted):
    client.campaign()
    overwrite(store, "name/over", NameRecord("w", None, 5, note))
    day = 86_400.0

    there = []
    for at in (1.0, 2.0, day - 1.0, day, day + 200.0, day + 400.0):
        client.do(Fired(CLEAN), at=at)
        there.append(register(store, "name/over").value is not DELETE)

    assert there[:4] == [True] * 4
    assert there[-1] is not deleted


@pytest.mark.parametrize(("clients", "wait"), [(0, 120.0), (9, 120.0), (24, 300.0), (600, 3600.0)])
def test_rule_19_the_more_clients_live_the_more_rarely_each_cleans(store, client, clients, wait):
    client.campaign()
    for number in range(clients):
        overwrite(store, f"session/{number}", SessionRecord(f"w{number}", TTL, at=client.now.wall))
    client.do(Fired(CLEAN), at=1.0)

    client.do(Fired(CLEAN), at=2.0)

    assert wait_for_cleaning(client) == pytest.approx(wait)


def wait_for_cleaning(client):
    return client.timers[CLEAN].until.boot - client.now.boot


def test_rule_19_the_dead_do_not_make_cleaning_rarer(store, client):
    """Each crash leaves a session: a thousand of them would have put off their own burial by an hour at each visit."""
    client.campaign()
    for number in range(600):
        overwrite(store, f"session/{number}", SessionRecord(f"w{number}", TTL, at=client.now.wall - 1000.0))
    client.do(Fired(CLEAN), at=1.0)

    client.do(Fired(CLEAN), at=2.0)

    assert wait_for_cleaning(client) == pytest.approx(120.0)


def test_rule_19_clients_live_that_are_seen_to_move_whatever_their_clock_says(store, client):
    client.campaign()
    for at in (1.0, 201.0, 401.0):  # sessions and names in turn
        for number in range(25):
            overwrite(store, f"session/{number}", SessionRecord(f"w{number}-{at}", TTL, at=1.0))
        client.do(Fired(CLEAN), at=at)

    client.do(Fired(CLEAN), at=402.0)

    assert wait_for_cleaning(client) == pytest.approx(300.0)


def test_rule_19_a_name_whose_token_is_not_below_the_floor_stays(store, client):
    client.campaign("own")
    overwrite(store, "name/ahead", NameRecord("w", None, MAX_TOKEN))

    for number in range(1, 7):  # sessions and names in turn
        client.do(Fired(CLEAN), at=86_400.0 * number)

    assert name_in(store, "ahead").token == MAX_TOKEN


def test_rule_19_the_day_is_counted_anew_from_every_write(store, client):
    client.campaign("own")
    released = NameRecord("w1", None, 5)
    day = 86_400.0

    there = []
    for write, at in (("w1", 0.0), ("w2", day - 1.0), ("w2", day + 1.0), ("w2", 2 * day)):
        overwrite(store, "name/over", released._replace(write=write))
        client.do(Fired(CLEAN), at=at)  # sessions and names in turn
        client.do(Fired(CLEAN), at=at)
        there.append(register(store, "name/over").value is not DELETE)

    assert there == [True, True, True, False]


def test_rule_19_a_name_is_released_once_the_session_that_it_shows_has_been_seen_ended(store, client):
    client.campaign("own")
    leader = NameRecord("w", "dead", 5, b"up to here", history=("5|1.000||leads|somebody",))
    overwrite(store, "name/left", leader)
    overwrite(store, "session/dead", SessionRecord("w", 15.0))
    overwrite(store, "name/unproved", leader._replace(session="absent"))

    there = []
    for number in range(1, 7):  # sessions and names in turn
        client.do(Fired(CLEAN), at=200.0 * number)
        there.append(read_name(register(store, "name/left").value))

    *before, after = there
    assert before[0] == leader, "silent, but nobody has seen it end"
    assert (after.session, after.token, after.note) == (None, 5, b"up to here")
    assert after.history == ("5|1.000||expired|somebody",)
    assert read_name(register(store, "name/unproved").value).session == "absent", "absence is no proof"


def test_rule_19_the_rest_of_a_scan_that_began_before_the_memory_changed_is_not_acted_on(store, client):
    """It shows what has been forgotten since, and in some stores that one's stamps come back."""
    client.campaign("own")
    overwrite(store, "session/dead", SessionRecord("w", TTL))
    [scan] = [effect for effect in client.machine.handle(Fired(CLEAN), client.now) if isinstance(effect, Scan)]
    rest = tuple(store.backend().scan("session/dead", timeout=1))

    def cleaned(scan):
        """What becomes of a session that a scan shows, and shows again when a ttl has passed."""
        effects = []
        for seconds in (0.0, 2 * TTL):
            client.now = client.now.plus(seconds)
            effects += client.machine.handle(Scanned(scan, rest, False, client.now), client.now)
        return [effect.kind for effect in effects if isinstance(effect, Put) and effect.kind is Kind.CLEAN]

    before = cleaned(scan)
    store.forget(wipe=False)
    client.campaign(at=1000.0)
    client.do(Fired(("settle",)), at=2000.0)
    [later] = [effect for effect in client.machine.handle(Fired(CLEAN), client.now) if isinstance(effect, Scan)]

    assert before == [Kind.CLEAN]
    assert cleaned(scan) == []
    assert cleaned(later) == [Kind.CLEAN]


def remove(store, key):
    put_raw(store, key, DELETE)


def test_what_others_removed_does_not_take_the_place_of_what_is_still_to_be_cleaned(store, client, monkeypatch):
    monkeypatch.setattr(cleaning, "WATCHED", 3)
    client.campaign()
    visits = itertools.count(1)

    def passes(count):
        for _ in range(2 * count):  # sessions and names in turn
            client.do(Fired(CLEAN), at=200.0 * next(visits))

    for number in range(4):
        overwrite(store, f"session/passing-{number}", SessionRecord("w", 15.0))
    passes(1)
    for number in range(4):
        remove(store, f"session/passing-{number}")
    overwrite(store, "session/dead", SessionRecord("w", 15.0))
    passes(3)

    assert read_session(register(store, "session/dead").value).ended is Ending.EXPIRED
