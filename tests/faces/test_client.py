"""A client's life: opening, closing, being forgotten, and ten thousand leases at once."""

from __future__ import annotations

import gc
import pickle
import threading
import time
import tracemalloc
import warnings

import pytest

from leaderlock import BackendRefused, LossReason, UsageError, aio, connect, only_on_leader
from leaderlock._campaign import Campaigning, campaign_all
from leaderlock._client import engine_of
from leaderlock._observe import looks
from leaderlock._protocol.candidacy import Candidacy
from leaderlock._protocol.events import Campaign
from leaderlock.testing import Fault, FaultyBackend, MemoryStore


def own_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("leaderlock")]


@pytest.mark.parametrize(
    ("what", "advice"),
    [
        (lambda client: client, "connect in the other one"),
        (lambda client: client.election("a"), "connect in the other one"),
        (lambda client: client.election("a").campaign(), "hand on its token"),
        (lambda _: aio.connect("memory:"), "connect in the other one"),
    ],
)
def test_what_is_handed_to_another_process_by_pickle_says_what_to_hand_on_instead(client, what, advice):
    with pytest.raises(TypeError, match=f"cannot be pickled: {advice}"):
        pickle.dumps(what(client))


# -- closing


def test_closing_frees_every_name_with_one_write(client, rival, backend):
    leases = client.campaign_all([f"n{number}" for number in range(100)])
    swaps = backend.count("swap")

    client.close()

    assert backend.count("swap") == swaps + 1
    assert not any(lease.is_held for lease in leases.values())
    assert len(rival.campaign_all(leases, wait=False)) == 100


def test_a_client_without_leases_leaves_no_session_behind(client, store):
    client.election("a").campaign().resign()
    client.close()

    backend = store.backend()
    assert list(backend.scan("session/", timeout=1)) == []
    backend.close()


def test_closing_twice_and_at_once_from_many_threads_is_fine(client, in_background, eventually):
    client.election("a").campaign()

    closing = [in_background(client.close) for _ in range(5)]
    eventually(lambda: all(closing))
    client.close()

    assert closing == [[None]] * 5


def test_no_thread_is_left_after_closing(open_client, store):
    client = open_client(store.backend(), ttl=0.3)
    client.election("a").campaign().on_lost(print)
    time.sleep(0.3)
    assert own_threads()

    client.close()

    assert own_threads() == []


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.election("a").campaign(),
        lambda client: client.election("a").__enter__(),
        lambda client: client.election("a").leader(),
        lambda client: next(client.election("a").observe()),
        lambda client: client.__enter__(),
        lambda client: client.campaign_all(["a"]),
        lambda client: client.status("a"),
        lambda client: client.names(),
        lambda client: client.resign("a"),
        lambda client: client.init(),
        lambda client: only_on_leader("a", client=client)(print)(),
    ],
)
def test_use_after_close_is_a_usage_error_that_says_what_to_do(client, use):
    client.close()

    with pytest.raises(UsageError, match="closed: open another with connect"):
        use(client)


def test_what_needs_no_store_works_after_close(client):
    lease = client.election("a").campaign()
    client.close()

    assert client.ttl == 15
    assert client.namespace == "default"
    assert "memory" in repr(client)
    assert not lease.is_held
    assert lease.lost_reason is LossReason.CLOSED
    assert lease.wait_lost() is LossReason.CLOSED
    assert not lease.resign()
    assert "lost" in repr(lease)


def test_a_closed_client_s_terms_are_told_to_have_been_closed_before_and_after_the_next(open_client, store):
    client, other = (open_client(store.backend()) for _ in range(2))
    client.election("a").campaign()

    def told():
        return [stint.how for stint in other.status("a").history]

    before = told()
    client.close()
    after = told()
    with other.election("a"):
        next_one = told()

    assert (before, after, next_one) == (["leads"], ["closed"], ["closed", "leads"])


def test_a_term_that_was_not_resigned_is_told_to_have_ended_with_its_session_s_last_sign_of_life(
    client, rival, clock, pass_time
):
    lease = client.election("a").campaign()
    pass_time(lease, 10)
    closed_at = clock.now().wall
    client.close()

    def told():
        return [(stint.how, stint.until) for stint in rival.status("a").history]

    before_the_next = told()
    with rival.election("a"):
        after_the_next = told()

    ending = ("closed", pytest.approx(closed_at, abs=0.01))
    assert (before_the_next, after_the_next) == ([ending], [ending, ("leads", None)])


@pytest.mark.parametrize("is_back", [False, True], ids=["dead", "back"])
def test_a_term_that_was_lost_is_told_to_have_expired_and_not_to_be_closed(
    client, rival, backend, clock, in_background, eventually, pass_time, is_back
):
    lease = client.election("a").campaign()
    pass_time(lease, 5)
    renewed_at = clock.now().wall
    silence = backend.inject(Fault.NEVER_SENT, op="any", times=None)
    clock.advance(15)
    if is_back:
        silence.cancel()
        eventually(lambda: clock.advance(0.1) or not rival.status("a").term)
    seeking = in_background(rival.election("a").campaign)
    eventually(lambda: clock.advance(0.1) or seeking)

    first, _ = rival.status("a").history

    assert (first.how, first.until) == ("expired", pytest.approx(renewed_at, abs=0.2))


@pytest.mark.parametrize("slow", [0.0, 0.3])
def test_closing_ends_a_campaign_in_another_thread_with_a_usage_error(
    open_client, store, backend, in_background, eventually, slow
):
    client = open_client(backend)
    with open_client(store.backend()).election("a"):
        waiting = in_background(client.election("a").campaign)
        eventually(lambda: engine_of(client)._watches)
        backend.delay(slow, op="swap")

        client.close()
        eventually(lambda: waiting)

    assert isinstance(waiting[0], UsageError)
    assert "closed during the campaign" in str(waiting[0])


def test_a_campaign_that_begins_as_its_client_is_being_closed_is_told_so(client):
    """Between the look whether it is closed and the first step."""
    engine = engine_of(client)
    one = Campaigning(engine, "a", patient=True, on_waiting=None)
    client.close()

    with pytest.raises(UsageError, match="the client was closed during the campaign for 'a'"):
        one.run(timeout=0)
    with pytest.raises(UsageError, match="the client was closed during its campaigns"):
        campaign_all(engine, ["a", "b"], patient=True, timeout=0)


def test_closing_is_bounded_though_the_store_is_silent(open_client, backend):
    client = open_client(backend, ttl=2)
    client.election("a").campaign()
    with backend.inject(Fault.HANG, op="any", times=None):
        started = time.monotonic()

        client.close()

        assert time.monotonic() - started < 2


def test_closing_from_a_callback_is_fine(client, clock, eventually):
    lease = client.election("a").campaign()
    lease.on_lost(lambda _: client.close())
    clock.advance(60)

    eventually(lambda: client._is_closed and not own_threads())


def test_leaving_the_context_closes_also_after_an_error(store, clock):
    with pytest.raises(KeyError), connect(store.backend(), clock=clock) as client:
        raise KeyError

    with pytest.raises(UsageError):
        client.names()


# -- being forgotten


def test_a_client_that_nobody_closed_warns_and_stops_with_news(eventually):
    client = connect(MemoryStore().backend(), ttl=0.6)
    lease = client.election("a").campaign()
    lost = threading.Event()
    lease.on_lost(lambda _: lost.set())
    eventually(lambda: "leaderlock-session" in own_threads())

    forget = [client]
    del client
    with pytest.warns(ResourceWarning, match="was not closed"):
        forget.clear()

    assert not lease.is_held
    assert lost.wait(10)
    assert lease.lost_reason is LossReason.CLOSED
    eventually(lambda: not own_threads())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_that_nobody_closed_stops_also_where_warnings_are_errors(eventually):
    client = connect(MemoryStore().backend(), ttl=0.6)
    lease = client.election("a").campaign()

    forget = [client]
    del client
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forget.clear()

    assert not lease.is_held
    eventually(lambda: not own_threads())


def test_a_client_that_is_collected_while_it_leads_is_warned_of_by_the_names_it_led(eventually, caplog):
    client = connect(MemoryStore().backend(), ttl=0.6)
    leases = [client.election(name).campaign() for name in ("a", "b")]

    forget = [client]
    del client
    with pytest.warns(ResourceWarning):
        forget.clear()

    eventually(lambda: "the client that led 'a', 'b' was garbage-collected" in caplog.text)
    assert "Keep the client" in caplog.text
    assert not any(lease.is_held for lease in leases)
    eventually(lambda: not own_threads())


def test_a_client_that_led_nothing_is_collected_without_that_warning(eventually, caplog):
    client = connect(MemoryStore().backend(), ttl=0.6)
    client.election("a").campaign().resign()

    forget = [client]
    del client
    with pytest.warns(ResourceWarning):
        forget.clear()

    eventually(lambda: not own_threads())
    assert "garbage-collected" not in caplog.text


def test_an_observer_that_wakes_for_nothing_does_not_look(client, backend, clock, monkeypatch):
    """Whoever waits with the machine's own clocks wakes once a second, to see whether the client was closed."""
    sightings, wakes = looks(engine_of(client), "a"), []

    def wake_early(_, seconds):
        wakes.append(seconds)
        clock.advance(1)

    monkeypatch.setattr(clock, "wait", wake_early)
    next(sightings)
    next(sightings)

    assert len(wakes) == round(wakes[0])


def test_who_observes_holds_the_client(store):
    watching = connect(store.backend()).election("a").observe()
    gc.collect()

    assert next(watching) is None

    next_one = iter(watching)
    watching.gi_frame.f_locals["self"].client.close()
    assert list(next_one) == []


def test_collecting_a_client_makes_no_call(clock):
    backend = FaultyBackend(MemoryStore().backend())
    client = connect(backend, clock=clock)
    client.election("a").campaign()
    backend.calls.clear()

    forget = [client]
    del client
    with pytest.warns(ResourceWarning):
        forget.clear()

    assert backend.calls == []


def test_a_client_can_be_collected_while_its_own_lock_is_held(clock, eventually):
    """Garbage is collected anywhere, also there."""
    client = connect(MemoryStore().backend(), clock=clock)
    client.election("a").campaign()
    engine = engine_of(client)

    forget = [client]
    del client
    with pytest.warns(ResourceWarning), engine.locked():
        forget.clear()
    eventually(lambda: not own_threads())


def test_a_client_that_is_collected_before_it_has_set_any_timer_leaves_no_thread(store, eventually):
    client = connect(backend := FaultyBackend(store.backend()))
    asked, go_on = threading.Event(), threading.Event()

    def wait_at_store():
        asked.set()
        go_on.wait(20)

    backend.before(wait_at_store, op="read")
    engine_of(client).submit(Campaign([Candidacy("a", patient=True)]))
    assert asked.wait(20)
    assert "leaderlock-engine" not in own_threads()

    forget = [client]
    del client
    with pytest.warns(ResourceWarning):
        forget.clear()
    go_on.set()

    eventually(lambda: not own_threads())


def test_guarded_functions_do_not_keep_a_closed_client_in_memory(store, clock):
    import weakref

    client = connect(store.backend(), clock=clock)
    only_on_leader("a", client=client)(print)()
    client.close()
    gone = weakref.ref(client)

    del client
    gc.collect()

    assert gone() is None


# -- where threads are scarce


def test_a_thread_that_cannot_start_fails_the_campaign_and_not_the_client(client, monkeypatch, caplog):
    started = threading.Thread.start

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(Exception, match="can't start new thread"):
        client.election("a").campaign()
    monkeypatch.setattr(threading.Thread, "start", started)

    assert client.election("b").campaign(timeout=0).is_held


# -- many leases


@pytest.mark.slow
def test_ten_thousand_leases_cost_one_write_a_renewal_four_threads_and_two_kib_each(client, backend, clock, eventually):
    client.election("warm up").campaign().resign()
    gc.collect()
    tracemalloc.start()
    try:
        leases = client.campaign_all([f"jobs/{number:05}" for number in range(10_000)], timeout=60)
        gc.collect()
        kept = sum(
            trace.size
            for trace in tracemalloc.take_snapshot()
            .filter_traces([tracemalloc.Filter(False, "*/testing/*"), tracemalloc.Filter(False, "*/tests/*")])
            .statistics("filename")
        )
    finally:
        tracemalloc.stop()
    assert len(leases) == 10_000
    assert kept / 10_000 < 2048

    any_lease = leases["jobs/00000"]
    eventually(lambda: engine_of(client)._lanes)
    backend.calls.clear()
    for _ in range(6):
        clock.advance(5)
        eventually(lambda: any_lease.remaining > 14)
    assert backend.count("swap") == 6
    assert len(own_threads()) <= 4
    assert all(lease.is_held for lease in leases.values())


# -- namespaces and terms


def test_namespaces_keep_tenants_apart(open_client, store, clock):
    one = open_client(store.backend(namespace="one"), clock=clock)
    other = open_client(store.backend(namespace="other"), clock=clock)

    with one.election("a"), other.election("a", wait=False):
        assert one.names() == other.names() == ["a"]


def test_a_second_client_of_a_process_does_not_change_the_first_one_s_settings(open_client, store, clock):
    settings = [{"ttl": 2.0, "renew_every": 1.0, "label": "one"}, {"ttl": 20.0, "label": "other"}, {}]
    first, second, third = clients = [open_client(store.backend(), clock=clock, **given) for given in settings]

    leases = [client.election(str(number)).campaign() for number, client in enumerate(clients)]

    assert [client.ttl for client in clients] == [2.0, 20.0, 15.0]
    assert [lease.holder.label for lease in leases] == ["one", "other", ""]
    assert [round(lease.remaining) for lease in leases] == [2, 20, 15]
    assert [engine_of(client).terms.timing.renew_every for client in (first, second, third)] == [1.0, 20 / 3, 5.0]


def test_clients_of_different_terms_are_refused_and_told_what_to_do(client, open_client, store, clock):
    client.election("a").campaign()

    for options, backend in [
        ({"longest": 60.0}, store.backend()),
        ({}, store.backend(durability="disk")),
    ]:
        with pytest.raises(BackendRefused, match="give all clients the same terms"):
            open_client(backend, clock=clock, **options).election("b").campaign()
