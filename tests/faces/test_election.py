"""``with election``, campaigns and their ends: either one holds, or something is raised."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import ExitStack

import pytest

from leaderlock import CampaignTimeout, LeaseLost, NotLeader, UsageError, current
from leaderlock._client import engine_of
from leaderlock._protocol.reading import read_name
from leaderlock.testing import Fault


def about_names(keys):
    return keys[0].startswith("name/")


# -- with


def test_the_body_runs_only_with_the_lease(client, rival):
    with client.election("a") as lease:
        assert lease.is_held
        assert current() is lease

        for election in (rival.election("a", wait=False), rival.election("a", timeout=0)):
            with pytest.raises((NotLeader, CampaignTimeout)), election:
                pytest.fail("entered the body without the lease")
    assert not lease.is_held


def test_leaving_a_body_whose_lease_was_lost_raises(client, clock):
    with pytest.raises(LeaseLost, match="expired"), client.election("a"):
        clock.advance(60)


def test_the_body_s_own_error_is_not_masked_by_the_loss(client, clock):
    def body():
        with client.election("a"):
            clock.advance(60)
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        body()

    assert "was lost: expired" in caught.value.__notes__[0]


def test_resigning_inside_the_body_is_fine(client, rival):
    with client.election("a") as lease:
        lease.resign()
        with rival.election("a", wait=False) as other:
            assert other.token > lease.token


def test_the_name_is_free_after_a_body_that_raised(client, rival):
    with pytest.raises(KeyError), client.election("a"):
        raise KeyError

    assert rival.election("a").campaign(wait=False).is_held


def test_a_body_left_late_does_not_resign_the_next_one_s_lease(client, clock, in_background, eventually):
    """One thread's lease is lost unnoticed, another thread leads anew: each leaves its own."""
    election = client.election("a")
    entered, leave = threading.Event(), threading.Event()

    def lag():
        with election:
            entered.set()
            leave.wait(20)

    lagging = in_background(lag)
    assert entered.wait(20)
    clock.advance(60)
    with election as lease:
        leave.set()
        eventually(lambda: lagging)

        assert isinstance(lagging[0], LeaseLost)
        lease.check()


def test_a_body_that_is_left_while_another_leaves_one_leaves_its_own(client, clock, monkeypatch):
    election, mine = client.election("n"), contextvars.copy_context()
    other = contextvars.copy_context()
    other.run(election.__enter__)
    clock.advance(client.ttl)
    lease = mine.run(election.__enter__)
    find = election._mine

    def find_while_the_other_leaves():
        monkeypatch.setattr(election, "_mine", find)
        found = find()
        with pytest.raises(LeaseLost):
            other.run(election.__exit__, None, None, None)
        return found

    monkeypatch.setattr(election, "_mine", find_while_the_other_leaves)

    mine.run(election.__exit__, None, None, None)

    assert lease.state == "resigned"


# -- the block of a lease


def test_a_lease_is_a_block_of_its_own_and_leaving_it_resigns(client, rival):
    with client.election("a").campaign() as lease:
        assert current() is lease
        lease.check()

    assert current() is None
    assert lease.state == "resigned"
    assert rival.election("a").campaign(wait=False).is_held


def test_the_block_of_a_lease_that_is_over_is_not_entered(client, clock):
    resigned, lost = client.election("a").campaign(), client.election("b").campaign()
    resigned.resign()
    clock.advance(15)

    for lease in (resigned, lost):
        with pytest.raises(LeaseLost), lease:
            pytest.fail("entered without the lease")


def test_a_lease_may_be_entered_within_its_own_block_and_acts_there_until_the_innermost_is_left(client):
    with client.election("b"), client.election("a").campaign() as lease:
        with lease:
            assert current() is lease
        assert current() is lease
        assert lease.state == "resigned"


def test_leaving_the_block_of_a_lease_that_was_lost_raises_and_an_error_of_its_own_comes_first(client, clock):
    with pytest.raises(LeaseLost), client.election("a").campaign():
        clock.advance(15)

    def fail():
        with client.election("b").campaign():
            clock.advance(15)
            raise KeyError

    with pytest.raises(KeyError) as raised:
        fail()
    assert any("was lost" in note for note in raised.value.__notes__)


def test_a_lease_whose_block_was_entered_elsewhere_may_be_handed_to_a_stack(client):
    with ExitStack() as stack:
        lease = client.election("a").campaign()
        stack.push(lease)

    assert lease.state == "resigned"


@pytest.mark.parametrize("ttl", [15, 4])
@pytest.mark.parametrize("campaigns", [False, True], ids=["election", "lease"])
def test_leaving_a_block_waits_for_a_silent_store_no_longer_than_closing_does_and_says_so(
    open_client, backend, clock, in_background, eventually, caplog, campaigns, ttl
):
    election = open_client(backend, clock=clock, ttl=ttl).election("a")
    entered, leave = threading.Event(), threading.Event()

    def lead():
        with election.campaign() if campaigns else election:
            entered.set()
            leave.wait(20)
        return clock.boot()

    left = in_background(lead)
    assert entered.wait(20)
    silence = backend.inject(Fault.NEVER_SENT, op="any", times=None)
    started = clock.boot()
    leave.set()
    eventually(lambda: silence.hits)

    eventually(lambda: clock.advance(0.1) or left)

    assert left[0] - started == pytest.approx(min(5, ttl / 2), abs=1)
    [warning] = [one for one in caplog.records if "has not acknowledged" in one.getMessage()]
    assert (warning.levelname, warning.leaderlock_name) == ("WARNING", "a")


# -- one name, several candidates


def test_a_second_candidate_in_one_client_is_refused_at_once_and_nothing_is_lost(client, in_background, eventually):
    with client.election("a") as lease:
        with pytest.raises(UsageError, match="already leads"):
            client.election("a").campaign()
        with pytest.raises(UsageError, match="already leads"):
            client.campaign_all(["b", "a"])
        lease.check()
    with client.election("b", timeout=5), client.election("a", timeout=5):
        pass


def test_a_second_campaign_in_one_client_is_refused_too(client, rival, in_background, eventually):
    lease = rival.election("a").campaign()
    waiting = in_background(client.election("a").campaign)
    eventually(lambda: engine_of(client)._machine._taking.wanted)

    with pytest.raises(UsageError, match="already campaigns"):
        client.election("a").campaign()
    lease.resign()
    eventually(lambda: waiting)

    assert waiting[0].is_held


def test_two_clients_of_one_process_exclude_each_other(client, rival):
    with client.election("a"), pytest.raises(NotLeader):
        rival.election("a").campaign(wait=False)


def test_many_names_are_sought_at_once(client, rival):
    with rival.election("b"):
        leases = client.campaign_all(["a", "b", "c", "a"], wait=False)

        assert sorted(leases) == ["a", "c"]
        assert all(lease.is_held for lease in leases.values())
    assert client.campaign_all(["b"], timeout=5)["b"].is_held


# -- lost replies


def test_the_token_is_drawn_in_the_very_write_that_takes_the_name(client, store):
    """Drawn in a second step, it would be another holder's by then, or nobody's after a crash in between."""
    written = []
    onlooker = store.backend()
    onlooker.watch(["name/a"], lambda view: written.append(read_name(view.seen["name/a"].value)))

    lease = client.election("a").campaign()

    assert [(record.token, record.session is not None) for record in written] == [(lease.token, True)]
    onlooker.close()


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.NEVER_SENT, Fault.LATE, Fault.BUG])
@pytest.mark.parametrize("which", ["session/", "name/", "settled", "name/ alone"])
def test_a_lost_reply_to_an_acquire_does_not_lock_its_own_client_out(
    client, backend, clock, in_background, eventually, fault, which
):
    if which == "name/ alone":  # else it travels with the open of its session, which is given up with it
        client.election("b").campaign()
        which = "name/a"
    backend.inject(fault, when=lambda keys: any(key.startswith(which) for key in keys))

    won = in_background(client.election("a").campaign)
    eventually(lambda: clock.advance(0.02) or won)

    assert won[0].is_held
    backend.deliver_late()
    won[0].save_note(b"and it can write")


def test_a_request_that_arrives_twice_is_one_election(client, backend):
    backend.inject(Fault.TWICE, times=None)

    with client.election("a") as lease:
        lease.check()


# -- what it was told


@pytest.mark.parametrize(
    ("told", "error"),
    [({"wait": False}, NotLeader), ({"timeout": 0}, CampaignTimeout), ({"timeout": 0.0}, TimeoutError)],
)
def test_a_campaign_goes_by_what_its_election_was_told(client, rival, told, error, in_background, eventually):
    with client.election("a"):
        campaign = in_background(lambda: rival.election("a", **told).campaign())
        eventually(lambda: campaign)

    assert isinstance(campaign[0], error)


def test_a_campaign_may_be_told_otherwise_than_its_election(client, rival, in_background, eventually):
    lease = client.election("a").campaign()
    election = rival.election("a", timeout=0, wait=False)
    waiting = []

    campaign = in_background(lambda: election.campaign(timeout=None, wait=True, on_waiting=waiting.append))
    eventually(lambda: waiting)
    lease.resign()
    eventually(lambda: campaign)

    assert campaign[0].is_held


def test_on_waiting_must_be_callable(client):
    with pytest.raises(TypeError, match="on_waiting takes a function, not int"):
        client.election("a").campaign(on_waiting=5)


def test_on_waiting_is_no_coroutine_function_which_nobody_would_await(client):
    with pytest.raises(TypeError, match="on_waiting takes a plain function"):
        client.election("a").campaign(on_waiting=asyncio.sleep)


def test_one_name_is_not_taken_for_many(client):
    with pytest.raises(TypeError, match=r"write \['abc'\], or client.election\('abc'\)"):
        client.campaign_all("abc")


def test_an_election_of_a_closed_client_is_refused_at_once(client):
    client.close()

    with pytest.raises(UsageError, match="this client is closed"):
        client.election("a")


def test_an_election_that_is_left_twice_says_so(client):
    election = client.election("a")
    election.__enter__()
    election.__exit__(None, None, None)

    with pytest.raises(UsageError, match="left more often than entered"):
        election.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("timeout", "error"), [("1", TypeError), (True, TypeError), (-1, ValueError), (float("nan"), ValueError)]
)
@pytest.mark.parametrize("method", ["resign", "save_note", "wait_lost"])
def test_a_lease_refuses_a_timeout_that_is_none(client, method, timeout, error):
    lease = client.election("a").campaign()
    arguments = (b"",) if method == "save_note" else ()

    with pytest.raises(error, match="timeout is a number of seconds"):
        getattr(lease, method)(*arguments, timeout=timeout)
    lease.check()


@pytest.mark.parametrize(("seconds", "error"), [("1", TypeError), (-1, ValueError), (float("nan"), ValueError)])
def test_a_lease_is_ensured_for_a_number_of_seconds_only(client, seconds, error):
    lease = client.election("a").campaign()

    with pytest.raises(error, match=r"ensure\(.*: it takes"):
        lease.ensure(seconds)


@pytest.mark.parametrize(("timeout", "error"), [("1", TypeError), (-1, ValueError), (float("nan"), ValueError)])
def test_asking_a_leader_to_go_takes_a_number_of_seconds_only(client, timeout, error):
    with pytest.raises(error, match="timeout is a number of seconds"):
        client.resign("a", timeout=timeout)
