"""The rules of the protocol by their numbers, one small table or walk each; histories are the simulator's."""

import itertools
from dataclasses import replace

import pytest

from leaderlock._protocol.candidacy import Candidacy, Denied, Elected, Failed, LossReason, Lost, NoteSaved, State
from leaderlock._protocol.cleaning import CLEAN
from leaderlock._protocol.clocks import Deadline, Instant, Timing
from leaderlock._protocol.events import (
    Answered,
    Arm,
    Ask,
    Campaign,
    Close,
    Disarm,
    Failure,
    Fired,
    Kind,
    Put,
    RenewNow,
    Resign,
    Retry,
    SaveNote,
    Scan,
    Scanned,
    Tell,
    Unanswered,
    Viewed,
    Withdraw,
)
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.records import (
    SETTLED,
    Ending,
    Holder,
    NameRecord,
    Request,
    SessionRecord,
    read_name,
    read_session,
)
from leaderlock._protocol.rivals import Observation, observe
from leaderlock._protocol.setting import Setting
from leaderlock.backend import DELETE, Seen, Write
from leaderlock.errors import MemoryGone, OutcomeUnknown
from leaderlock.testing import MemoryStore

START = Instant(100.0, 100.0, 1e9)
TTL, RHO = 15.0, 0.005


class Client:
    """A machine whose effects are carried out at once, except for what ``loses`` says: those answers never come."""

    def __init__(self, store, label="a", *, longest=30.0, keeps_memory=True, kernel=None):
        ids = itertools.count(1)
        self.setting = Setting(
            timing=Timing(ttl=TTL, rho=RHO, longest=longest),
            holder=Holder("host", 1, "program", label),
            durability="memory",
            keeps_memory=keeps_memory,
            kernel=kernel,
            new_id=lambda: f"{label}{next(ids)}",
        )
        self.machine = Machine(self.setting)
        self.store, self.backend = store, store.backend()
        self.loses: dict[Kind, str] = {}
        """By kind: ``reply`` (applied, and nobody hears of it) or ``request`` (never applied; it may come late)."""
        self.slow = 0.0
        self.late: list[Put] = []
        self.sent: list[tuple[Kind, ...]] = []
        self.news: list = []
        self.timers: dict = {}
        self.now = START

    def do(self, event, *, at=None):
        if at is not None:
            self.now = START.plus(at)
        effects = self.machine.handle(event, self.now)
        puts = [effect for effect in effects if isinstance(effect, Put)]
        for effect in effects:
            if isinstance(effect, Tell):
                self.news.append(effect.news)
            elif isinstance(effect, Arm | Retry):
                self.timers[effect.timer] = effect
            elif isinstance(effect, Disarm):
                self.timers.pop(effect.timer, None)
        if puts:
            self._swap(puts)
        for effect in effects:
            if isinstance(effect, Ask):
                self.look(*effect.keys)
            elif isinstance(effect, Scan):
                items = list(self.backend.scan(effect.prefix, timeout=1))
                self.do(Scanned(effect, items, True, self.now))

    def look(self, *keys):
        self.do(Viewed(self.backend.read(keys, timeout=1), self.now))

    def campaign(self, name="n", *, patient=True, at=None):
        candidacy = Candidacy(name, patient=patient)
        self.do(Campaign(candidacy), at=at)
        return candidacy

    def arrives_late(self, put):
        return self.backend.swap([put.write], put.memory, timeout=1)

    def told(self, kind):
        return [news for news in self.news if isinstance(news, kind)]

    def _swap(self, puts):
        self.sent.append(tuple(put.kind for put in puts))
        lost = {self.loses[put.kind] for put in puts if put.kind in self.loses}
        if "request" in lost:
            self.late += puts
            self.do(Unanswered(puts, Failure.UNKNOWN, OutcomeUnknown("lost")))
            return
        try:
            answers = self.backend.swap([put.write for put in puts], puts[0].memory, timeout=1)
        except MemoryGone as gone:
            self.do(Unanswered(puts, Failure.MEMORY_GONE, gone))
            return
        self.now = self.now.plus(self.slow)
        if lost:
            self.do(Unanswered(puts, Failure.UNKNOWN, OutcomeUnknown("lost")))
        else:
            self.do(Answered(puts, answers))


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def client(store):
    return Client(store)


@pytest.fixture
def rival(store):
    return Client(store, "b")


def register(store, key):
    return store.backend().read([key], timeout=1).seen[key]


def name_in(store, name="n"):
    return read_name(register(store, f"name/{name}").value)


def session_of(store, candidate):
    prefix = f"session/{candidate}"
    [item] = [item for item in store.backend().scan("session/", timeout=1) if item[0].startswith(prefix)]
    return item[0], read_session(item[1].value)


def own_session(client):
    return session_of(client.store, client.setting.holder.label)[0].removeprefix("session/")


def overwrite(store, key, record):
    backend = store.backend()
    view = backend.read([key], timeout=1)
    backend.swap([Write(key, view.seen[key].stamp, record.encode())], view.memory, timeout=1)


# -- the session


def test_rule_1_an_open_travels_in_one_call_with_the_first_take_and_before_it(client):
    candidacy = client.campaign()

    assert (Kind.OPEN, Kind.TAKE) in client.sent
    assert candidacy.state is State.LEADING


def test_rule_1_an_open_of_unknown_outcome_is_abandoned_for_a_new_id_and_closed(store, client):
    client.loses = {Kind.OPEN: "reply"}
    client.campaign()
    client.loses = {}

    client.do(Fired(("reopen",)))

    sessions = [read_session(seen.value).ended for _, seen in store.backend().scan("session/", timeout=1)]
    assert sorted(ended.name for ended in sessions) == ["CLOSED", "NO"]
    assert name_in(store).session not in (None, "a1")


def test_rule_2_a_claim_is_counted_from_the_sending_however_long_the_answer_takes(client, rival):
    rival.campaign("so that the memory is settled")
    client.slow = 3.0

    candidacy = client.campaign()

    assert candidacy.standing.until.boot == pytest.approx(START.boot + TTL * (1 - RHO))


def test_rule_2_a_passed_deadline_is_never_revived_and_the_next_session_is_another(client):
    candidacy = client.campaign()
    first = client.machine.standing

    client.do(RenewNow(), at=TTL)
    client.campaign()

    assert candidacy.reason is LossReason.EXPIRED
    assert client.machine.standing is not first


def test_rule_3_a_session_that_was_ended_is_lost_now(store, client):
    candidacy = client.campaign()
    key, record = session_of(store, "a")
    overwrite(store, key, replace(record, ended=Ending.EXPIRED))

    client.do(Fired(("renew",)), at=5.0)

    assert candidacy.reason is LossReason.REVOKED


def test_rule_3_a_session_alive_under_another_stamp_is_renewed_at_once(store, client):
    candidacy = client.campaign()
    overwrite(store, *session_of(store, "a"))

    client.do(Fired(("renew",)), at=5.0)

    assert client.sent[-2:] == [(Kind.RENEW,), (Kind.RENEW,)]
    assert candidacy.standing.until.boot == pytest.approx(START.boot + 5.0 + TTL * (1 - RHO))


def test_rule_4_an_unknown_renewal_changes_nothing(client):
    candidacy = client.campaign()
    until = candidacy.standing.until
    client.loses = {Kind.RENEW: "reply"}

    client.do(Fired(("renew",)), at=5.0)

    assert (candidacy.state, candidacy.standing.until) == (State.JEOPARDY, until)
    assert isinstance(client.timers["renew",], Retry)


def test_rule_5_one_write_frees_all_names(store, client):
    held = [client.campaign(name) for name in ("x", "y", "z")]
    before = len(client.sent)

    client.do(Close())

    assert client.sent[before:] == [(Kind.CLOSE,)]
    assert [one.reason for one in held] == [LossReason.CLOSED] * 3
    assert session_of(store, "a")[1].ended is Ending.CLOSED


def test_rule_5_who_has_given_everything_back_leaves_nothing_behind(store, client):
    client.do(Resign(client.campaign()))

    client.do(Close())

    assert not list(store.backend().scan("session/", timeout=1))


# -- rivals

ALIVE = SessionRecord("w1", 6.0)


@pytest.mark.parametrize(
    ("shown", "counts_on"),
    [
        (Seen(ALIVE.encode(), 2), True),
        (Seen(ALIVE.asking(Request("n", 1, "me", 0.0)).encode(), 3), True),
        (Seen(replace(ALIVE, write="w2").encode(), 4), False),
        (Seen(None, 0), False),
    ],
    ids=["the same", "a request", "another write", "absent"],
)
def test_rule_6_only_another_write_starts_the_observation_anew(shown, counts_on):
    first = observe(None, Seen(ALIVE.encode(), 2), START)

    then = observe(first, shown, START.plus(4.0))

    assert then.since == (START if counts_on else START.plus(4.0))


def test_rule_6_an_ended_session_stays_ended_whatever_a_lagging_read_shows():
    ended = observe(None, Seen(replace(ALIVE, ended=Ending.CLOSED).encode(), 3), START)

    assert observe(ended, Seen(ALIVE.encode(), 2), START).ended


@pytest.mark.parametrize(("record", "waits"), [(ALIVE, 6.0), (None, 30.0)], ids=["the record's ttl", "the longest"])
def test_rule_7_a_rival_waits_by_the_record_and_not_by_its_own_ttl(client, record, waits):
    observation = Observation(Seen(None, 0), record, START)

    assert observation.dead_at(client.setting) == Deadline.after(START, waits * (1 + RHO))


@pytest.mark.parametrize(("kernel", "waits"), [(("k", "t"), 15.0), (("k", "other"), 27.0)], ids=["same", "other"])
def test_rule_7_who_shares_the_kernel_waits_by_the_boot_clock_alone(store, kernel, waits):
    Client(store, "a", kernel=("k", "t")).campaign()
    rival = Client(store, "b", kernel=kernel)
    candidacy = rival.campaign(at=12.0)

    rival.do(Fired(("name", "n")), at=waits - 0.01)
    too_early = candidacy.state
    rival.do(Fired(("name", "n")), at=waits + 0.2)

    assert (too_early, candidacy.state) == (State.CAMPAIGNING, State.LEADING)


def test_rule_7_a_burial_expects_the_stamp_that_was_observed(client, rival):
    held = client.campaign()
    candidacy = rival.campaign()
    client.do(Fired(("renew",)), at=14.9)

    rival.do(Fired(("name", "n")), at=15.1)

    assert candidacy.state is State.CAMPAIGNING
    assert held.standing.until.is_ahead(rival.now)


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


@pytest.mark.parametrize(
    ("token", "reason"), [(+1, LossReason.SUPERSEDED), (-1, None)], ids=["higher", "lower: it lags"]
)
def test_rule_9_a_higher_token_supersedes_and_a_lower_one_is_ignored(store, client, token, reason):
    held = client.campaign()
    overwrite(store, "name/n", NameRecord("w", "somebody", held.token + token))

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


def test_rule_11_the_claim_ends_before_the_release_and_the_release_is_repeated_until_done(store, client):
    held = client.campaign()
    client.loses = {Kind.RELEASE: "request"}
    client.do(Resign(held))
    ended, kept = held.state, name_in(store).session
    client.loses = {}

    client.do(Fired(("name", "n")))

    assert (ended, kept) == (State.RESIGNED, own_session(client))
    assert (name_in(store).session, name_in(store).token) == (None, held.token)


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


def test_rule_13_a_request_is_met_at_the_next_renewal(store, client):
    held = client.campaign()
    key, record = session_of(store, "a")
    overwrite(store, key, record.asking(Request("n", held.token, "me", 0.0)))

    client.do(Fired(("renew",)), at=5.0)

    assert client.told(Lost) == [Lost(LossReason.YIELDED)]
    assert name_in(store).session is None


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


# -- memory


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


def test_rule_18_every_write_stands_on_the_memory_that_was_seen(store, client):
    held = client.campaign()
    store.forget(wipe=False)
    before = register(store, "name/n")

    put = next(effect for effect in client.machine.handle(Resign(held), client.now) if isinstance(effect, Put))

    with pytest.raises(MemoryGone):
        client.arrives_late(put)
    assert register(store, "name/n") == before


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
