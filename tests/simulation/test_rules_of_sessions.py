"""Rules 1 to 7, by their numbers: a small table or one walk each. Histories are the simulator's."""

from __future__ import annotations

import pytest

from leaderlock._protocol.candidacy import LossReason, State
from leaderlock._protocol.clocks import Deadline
from leaderlock._protocol.events import (
    Close,
    Fired,
    Kind,
    RenewNow,
    Resign,
    Retry,
)
from leaderlock._protocol.reading import read_session
from leaderlock._protocol.records import Ending, Request, SessionRecord
from leaderlock._protocol.rivals import Observation, observe
from leaderlock.backend import Seen

from .by_hand import RHO, START, TTL, Client, name_in, overwrite, session_of

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
        (Seen(ALIVE._replace(write="w2").encode(), 4), False),
        (Seen(None, 0), False),
    ],
    ids=["the same", "a request", "another write", "absent"],
)
def test_rule_6_only_another_write_starts_the_observation_anew(shown, counts_on):
    first = observe(None, Seen(ALIVE.encode(), 2), START)

    then = observe(first, shown, START.plus(4.0))

    assert then.since == (START if counts_on else START.plus(4.0))


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


def test_rule_7_a_burial_expects_the_stamp_that_was_observed(client, rival):
    held = client.campaign()
    candidacy = rival.campaign()
    client.do(Fired(("renew",)), at=14.9)

    rival.do(Fired(("name", "n")), at=15.1)

    assert candidacy.state is State.CAMPAIGNING
    assert held.standing.until.is_ahead(rival.now)
