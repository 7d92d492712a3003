"""Rules 1 to 7, by their numbers: a small table or one walk each. Histories are the simulator's."""

from __future__ import annotations

import pytest

from leaderlock._protocol.candidacy import Candidacy, LossReason, State
from leaderlock._protocol.clocks import PAST, Deadline
from leaderlock._protocol.events import (
    Answered,
    Campaign,
    Close,
    Failure,
    Fired,
    Kind,
    Put,
    RenewNow,
    Resign,
    Retry,
    Unanswered,
    Viewed,
    Withdraw,
)
from leaderlock._protocol.reading import read_session
from leaderlock._protocol.records import (
    SETTLED,
    Ending,
    Holder,
    NameRecord,
    Request,
    SessionRecord,
    SettledRecord,
)
from leaderlock._protocol.rivals import Observation, observe
from leaderlock.backend import Seen
from leaderlock.errors import OutcomeUnknown

from .by_hand import RHO, START, TTL, Client, name_in, overwrite, put_raw, register, session_of

# -- the session


def test_rule_1_an_open_travels_in_one_call_with_the_first_take_and_before_it(client):
    candidacy = client.campaign()

    assert (Kind.OPEN, Kind.TAKE) in client.sent
    assert candidacy.state is State.LEADING


def test_rule_1_an_open_of_unknown_outcome_is_abandoned_for_a_new_id_and_closed(store, client):
    client.loses = {Kind.OPEN: "reply"}
    client.campaign()
    client.loses = {}

    paused = client.timers.get(("reopen",))
    client.do(Fired(("reopen",)))

    assert paused == Retry(("reopen",), 1)
    sessions = [read_session(seen.value).ended for _, seen in store.backend().scan("session/", timeout=1)]
    assert sorted(ended.name for ended in sessions) == ["CLOSED", "NO"]
    assert name_in(store).session not in (None, "a1")


def test_rule_1_an_open_that_meets_a_record_under_its_id_is_given_up_for_another_id(store, client):
    overwrite(store, "session/a1", SessionRecord("theirs", TTL))

    first, second = client.campaign("first"), client.campaign("second")

    assert (first.leads, second.leads) == (False, True)
    assert read_session(register(store, "session/a1").value).write == "theirs"


def test_rule_2_an_open_that_is_answered_after_its_deadline_is_closed_and_elects_nobody(client, rival):
    rival.campaign("so that the memory is settled")
    candidacy = Candidacy("n", patient=True)
    client.machine.handle(Campaign([candidacy]), START)
    effects = client.machine.handle(Viewed(client.backend.read(["name/n", SETTLED], timeout=1), START), START)
    puts = [effect for effect in effects if isinstance(effect, Put)]
    answers = client.backend.swap([put.write for put in puts], puts[0].memory, timeout=1)

    effects = client.machine.handle(Answered(puts, answers), START.plus(TTL))

    assert [put.kind for put in puts] == [Kind.OPEN, Kind.TAKE]
    assert next(effect.kind for effect in effects if isinstance(effect, Put)) is Kind.CLOSE
    assert candidacy.campaigns


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


def test_rule_2_no_renewal_is_sent_while_another_is_under_way(client):
    client.campaign()

    first = client.machine.handle(Fired(("renew",)), client.now)
    second = client.machine.handle(RenewNow(), client.now)

    assert [effect.kind for effect in (*first, *second) if isinstance(effect, Put)] == [Kind.RENEW]


def test_rule_3_a_session_that_was_ended_is_lost_now(store, client):
    candidacy = client.campaign()
    key, record = session_of(store, "a")
    overwrite(store, key, record._replace(ended=Ending.EXPIRED))

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


def test_rule_4_after_an_unknown_renewal_comes_another(client):
    candidacy = client.campaign()
    client.loses = {Kind.RENEW: "reply"}
    client.do(Fired(("renew",)), at=5.0)
    client.loses = {}

    client.do(Fired(("renew",)), at=6.0)

    assert candidacy.state is State.LEADING
    assert candidacy.standing.until.boot == pytest.approx(START.boot + 6.0 + TTL * (1 - RHO))


def test_rule_5_what_all_leases_look_at_says_at_once_that_the_session_is_over(client):
    client.campaign()
    standing = client.machine.standing

    client.do(Close())

    assert standing.until == PAST


@pytest.mark.parametrize("lost", ["request", "reply"])
def test_rule_5_a_close_that_is_not_answered_is_tried_again_after_ever_longer_pauses(store, client, lost):
    client.campaign()
    client.loses = {Kind.CLOSE: lost}
    client.do(Close())
    [timer] = [timer for timer in client.timers if timer[0] == "close"]
    client.do(Fired(timer))
    paused = client.timers[timer]
    client.loses = {}

    client.do(Fired(timer))

    assert paused == Retry(timer, 2)
    assert session_of(store, "a")[1].ended is Ending.CLOSED
    assert client.machine.has_closed


@pytest.mark.parametrize(
    "there",
    [SessionRecord("w", TTL, Ending.EXPIRED).encode(), b"somebody else's"],
    ids=["ended already", "not a record"],
)
def test_rule_5_a_close_overwrites_nothing_but_a_session_that_is_alive(store, client, there):
    client.campaign()
    key, _ = session_of(store, "a")
    put_raw(store, key, there)

    client.do(Close())

    assert register(store, key).value == there
    assert client.machine.has_closed


@pytest.mark.parametrize(("answered", "reason"), [(True, LossReason.EXPIRED), (False, LossReason.STORE_UNREACHABLE)])
def test_rule_4_a_deadline_that_passes_says_whether_renewals_had_no_answer(client, answered, reason):
    candidacy = client.campaign()
    client.loses = {} if answered else {Kind.RENEW: "request"}
    client.do(Fired(("renew",)), at=5.0)

    client.do(RenewNow(), at=5.0 + TTL)

    assert candidacy.reason is reason


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


@pytest.mark.parametrize("kind", [Kind.TAKE, Kind.RELEASE])
@pytest.mark.parametrize("lost", ["under way", "request"])
def test_rule_5_a_session_that_a_name_may_still_show_is_closed_and_not_deleted(store, client, kind, lost):
    client.do(Resign(client.campaign("opened")))
    held = client.campaign("held")
    event = Resign(held) if kind is Kind.RELEASE else Campaign([Candidacy("opened", patient=True)])
    client.loses = {kind: "request"}
    if lost == "request":
        client.do(event)
    else:
        client.machine.handle(event, client.now)
    if kind is Kind.TAKE:
        client.do(Resign(held))

    client.do(Close())

    assert session_of(store, "a")[1].ended is Ending.CLOSED


# -- rivals

ALIVE = SessionRecord("w1", 6.0)


@pytest.mark.parametrize(
    ("shown", "counts_on"),
    [
        (Seen(ALIVE.encode(), 2), True),
        (Seen(ALIVE.asking(Request("n", 1, "me", 0.0)).encode(), 3), True),
        (Seen(ALIVE._replace(write="w2").encode(), 4), False),
        (Seen(None, 0), False),
    ],
    ids=["the same", "a request", "another write", "absent"],
)
def test_rule_6_only_another_write_starts_the_observation_anew(shown, counts_on):
    first = observe(None, Seen(ALIVE.encode(), 2), START)

    then = observe(first, shown, START.plus(4.0))

    assert then.since == (START if counts_on else START.plus(4.0))


def test_rule_6_an_absence_does_not_count_from_when_the_record_could_not_be_read():
    foreign = observe(None, Seen(b'{"v":2,"r":2}', 2), START)

    absent = observe(foreign, Seen(None, 0), START.plus(4.0))

    assert absent.since == START.plus(4.0)


@pytest.mark.parametrize("rests", [False, True], ids=["waited for", "given up meanwhile"])
def test_rule_6_on_another_memory_the_observation_starts_anew(store, client, rival, rests):
    client.campaign()
    candidacy = rival.campaign()
    if rests:
        rival.do(Withdraw(candidacy))
    rival.now = START.plus(TTL)
    store.forget(wipe=False)
    candidacy = rival.campaign() if rests else candidacy
    rival.look("name/n", session_of(store, "a")[0], SETTLED)
    overwrite(store, SETTLED, SettledRecord(rival.machine.memory[0], 30.0, "memory"))

    rival.do(Fired(("name", "n")), at=TTL + 1.0)

    assert candidacy.campaigns
    assert session_of(store, "a")[1].ended is Ending.NO


def test_rule_6_an_ended_session_stays_ended_whatever_a_lagging_read_shows():
    ended = observe(None, Seen(ALIVE._replace(ended=Ending.CLOSED).encode(), 3), START)

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


@pytest.mark.parametrize(("kernel", "ends"), [(("k", "t"), 15.0), (("k", "other"), 12.0 + TTL * (1 + RHO))])
def test_rule_7_who_waits_looks_again_as_soon_as_the_wait_is_over(store, kernel, ends):
    Client(store, "a", kernel=("k", "t")).campaign()
    rival = Client(store, "b", kernel=kernel)
    rival.campaign(at=12.0)

    rival.do(Fired(("name", "n")), at=ends - 3.0)

    assert rival.timers["name", "n"].until.boot == pytest.approx(START.boot + ends)


def test_rule_7_a_burial_expects_the_stamp_that_was_observed(client, rival):
    held = client.campaign()
    candidacy = rival.campaign()
    client.do(Fired(("renew",)), at=14.9)

    rival.do(Fired(("name", "n")), at=15.1)

    assert candidacy.state is State.CAMPAIGNING
    assert held.standing.until.is_ahead(rival.now)


def test_rule_7_an_absent_session_is_buried_where_it_is_not_and_only_after_the_longest_ttl(store, rival):
    overwrite(store, "name/n", NameRecord("w", "absent", 5))
    candidacy = rival.campaign()

    rival.do(Fired(("name", "n")), at=30.0 * (1 + RHO) - 0.01)
    too_early = candidacy.state
    rival.do(Fired(("name", "n")), at=30.0 * (1 + RHO) + 0.01)

    assert (too_early, candidacy.state) == (State.CAMPAIGNING, State.LEADING)
    assert read_session(register(store, "session/absent").value).ended is Ending.EXPIRED


def test_rule_7_a_burial_keeps_what_it_does_not_decide(store, rival):
    alive = SessionRecord("w", TTL, holder=Holder("host", 1, "program", "label"), at=5.0, extra={"later": [1]})
    overwrite(store, "name/n", NameRecord("w", "s", 5))
    overwrite(store, "session/s", alive)
    rival.campaign()

    rival.do(Fired(("name", "n")), at=TTL * (1 + RHO) + 0.1)

    buried = read_session(register(store, "session/s").value)
    assert buried == alive._replace(write=buried.write, ended=Ending.EXPIRED)


@pytest.mark.parametrize("failed", ["conflict", "request", "forgotten"])
def test_rule_7_a_burial_that_failed_is_tried_again_after_the_next_silence(store, client, rival, failed):
    client.campaign()
    candidacy = rival.campaign()
    silence = TTL * (1 + RHO) + 0.1
    rival.now = START.plus(silence)
    [burial] = [e for e in rival.machine.handle(Fired(("name", "n")), rival.now) if isinstance(e, Put)]
    if failed == "conflict":
        overwrite(store, session_of(store, "a")[0], SessionRecord("moved", TTL))
        rival.do(Answered([burial], rival.backend.swap([burial.write], burial.memory, timeout=1)))
    elif failed == "request":
        rival.do(Unanswered([burial], Failure.UNKNOWN, OutcomeUnknown("lost")))
    else:
        before = store.snapshot()
        answers = rival.backend.swap([burial.write], burial.memory, timeout=1)
        store.restore(before)
        rival.look("name/n", SETTLED)
        rival.do(Answered([burial], answers))
        rival.do(Fired(("settle",)), at=2 * 30.0)

    rival.do(Fired(("name", "n")), at=4 * 30.0)

    assert candidacy.state is State.LEADING


# -- the clock that may have stood still


def test_a_renewal_that_left_before_the_machine_slept_proves_nothing_of_the_time_since(client):
    client.campaign()
    [before] = [e for e in client.machine.handle(Fired(("renew",)), client.now) if isinstance(e, Put)]
    client.do(RenewNow(suspect=True))

    effects = client.machine.handle(Answered([before], client.arrives_late(before)), client.now)
    still = client.machine.is_suspect
    [after] = [effect for effect in effects if isinstance(effect, Put)]
    client.do(Answered([after], client.arrives_late(after)))

    assert (still, after.kind, client.machine.is_suspect) == (True, Kind.RENEW, False)
