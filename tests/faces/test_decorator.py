"""``@only_on_leader`` on functions: who runs, who is skipped, who waits, and what a loss does."""

from __future__ import annotations

import functools
import threading

import pytest

from leaderlock import BackendRefused, BackendUnavailable, NotLeader, UsageError, current, only_on_leader
from leaderlock._client import engine_of
from leaderlock.testing import Fault

# -- who runs


def test_a_leader_runs_with_its_lease_as_current_and_the_result_comes_back(client):
    @only_on_leader("a", client=client)
    def job(factor, *, plus):
        """Its own words."""
        return current().token * factor + plus

    token = job(1, plus=0)

    assert token > 0
    assert job(2, plus=1) == 2 * token + 1
    assert current() is None
    assert (job.__name__, job.__doc__) == ("job", "Its own words.")


def test_who_does_not_lead_skips_or_raises_and_does_not_run(client, rival):
    ran = []
    with rival.election("a"):
        skip = only_on_leader("a", client=client)(lambda: ran.append(1))
        refuse = only_on_leader("a", client=client, otherwise="raise")(lambda: ran.append(2))

        assert skip() is None
        with pytest.raises(NotLeader, match=r"'a' is led: somebody else leads, rival \(.+\).+the campaign goes on"):
            refuse()
    assert ran == []


def test_who_waits_runs_once_the_other_has_gone(client, rival, in_background, eventually):
    lease = rival.election("a").campaign()
    job = only_on_leader("a", client=client, otherwise="wait")(lambda: current().token)

    running = in_background(job)
    assert running == []
    lease.resign()
    eventually(lambda: running)

    assert running[0] > lease.token


def test_importing_a_guarded_function_asks_nobody(client, backend):
    only_on_leader("a", client=client)(lambda: None)

    assert backend.calls == []


def test_later_calls_only_compare_clocks(client, backend):
    job = only_on_leader("a", client=client)(lambda: current().token)
    job()
    backend.calls.clear()

    for _ in range(100):
        job()

    assert backend.calls == []


def test_functions_guarded_by_one_name_share_its_term(client):
    first = only_on_leader("a", client=client)(current)
    second = only_on_leader("a", client=client, otherwise="raise")(current)

    assert first() is second()


def test_many_first_calls_at_once_start_one_campaign(client, in_background, eventually):
    job = only_on_leader("a", client=client)(lambda: current().token)

    running = [in_background(job) for _ in range(10)]
    eventually(lambda: all(running))

    assert {outcome[0] for outcome in running} == {job()}


def test_the_body_s_own_error_passes_and_the_lease_stays(client):
    @only_on_leader("a", client=client)
    def job():
        raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError):
            job()
    assert current() is None


def test_a_store_that_does_not_answer_is_an_answer_too(client, backend):
    backend.inject(Fault.NEVER_SENT, op="any", times=None)

    assert only_on_leader("a", client=client)(lambda: "ran")() is None


def test_calling_after_close_is_a_usage_error(client):
    job = only_on_leader("a", client=client)(lambda: "ran")
    job()
    client.close()

    with pytest.raises(UsageError, match="closed"):
        job()


def test_a_name_that_this_client_leads_already_is_a_usage_error_until_it_is_free(client):
    job = only_on_leader("a", client=client)(lambda: "ran")
    with client.election("a"), pytest.raises(UsageError, match="already leads"):
        job()

    assert job() == "ran"


# -- terms


def test_it_is_elected_again_after_a_loss_with_a_new_token(client, clock, eventually):
    """And not only the first time."""
    job = only_on_leader("a", client=client)(lambda: current().token)
    tokens = [job()]
    for _ in range(3):
        clock.advance(60)
        eventually(lambda: clock.advance(0.1) or job() is not None)
        tokens.append(job())

    assert tokens == sorted(set(tokens))


def test_a_campaign_that_cannot_start_is_warned_of_the_second_time(client, clock, eventually, monkeypatch, caplog):
    """The first time, the client may be closing: then there is no second one."""
    to_come = []
    monkeypatch.setattr(engine_of(client), "later", lambda _, campaign: to_come.append(campaign))
    only_on_leader("a", client=client)(lambda: "ran")()
    clock.advance(60)
    eventually(lambda: to_come)

    with client.election("a"):
        to_come[0]()
        at_first = caplog.text
        to_come[1]()

    assert "cannot start" not in at_first
    eventually(lambda: "'a' cannot start and is repeated: this client already leads" in caplog.text)


def test_a_callback_that_never_returns_does_not_keep_it_from_being_elected_again(client, clock, eventually):
    stuck = threading.Event()
    job = only_on_leader("a", client=client)(current)
    lease = job()
    lease.on_lost(lambda _: stuck.wait(20))

    clock.advance(60)
    try:
        eventually(lambda: clock.advance(0.1) or job() is not None)
        assert job().token > lease.token
    finally:
        stuck.set()


def test_a_leader_that_was_asked_to_go_stands_back_for_a_ttl(client, rival, clock, in_background, eventually):
    job = only_on_leader("a", client=client)(lambda: current().token)
    job()

    asking = in_background(lambda: rival.resign("a"))
    eventually(lambda: clock.advance(0.5) or asking)
    assert job() is None

    with rival.election("a", wait=False) as lease:
        assert lease.is_held
    clock.advance(10)
    assert job() is None
    eventually(lambda: clock.advance(0.5) or job() is not None)


def test_ctrl_c_in_the_first_call_does_not_spoil_the_ones_after_it(client, backend, clock, eventually):
    job = only_on_leader("a", client=client)(lambda: "ran")

    def interrupt():
        raise KeyboardInterrupt

    backend.before(interrupt, op="any")
    with pytest.raises(KeyboardInterrupt):
        job()

    eventually(lambda: clock.advance(0.1) or job() == "ran")


# -- what can be guarded


def test_methods_are_guarded_static_and_class_methods_in_both_orders(client):
    guard = only_on_leader("a", client=client)

    class Jobs:
        @guard
        def plain(self, value):
            return self, value

        @guard
        @staticmethod
        def static(value):
            return value

        @staticmethod
        @guard
        def static_too(value):
            return value

        @guard
        @classmethod
        def klass(cls, value):
            return cls, value

        @classmethod
        @guard
        def klass_too(cls, value):
            return cls, value

    jobs = Jobs()
    assert jobs.plain(1) == (jobs, 1)
    assert (jobs.static(2), Jobs.static_too(3)) == (2, 3)
    assert (jobs.klass(4), Jobs.klass_too(5)) == ((Jobs, 4), (Jobs, 5))


def test_partials_and_callable_objects_are_guarded(client):
    class Job:
        def __call__(self, value):
            return value, current().token > 0

    guard = only_on_leader("a", client=client)
    assert guard(Job())(1) == (1, True)
    assert guard(functools.partial(Job(), 2))() == (2, True)


def generator():
    yield


async def async_generator():
    yield


class AsyncCallable:
    async def __call__(self):
        pass


@pytest.mark.parametrize("thing", [7, "x", None, AsyncCallable, int, generator, async_generator, AsyncCallable()])
def test_what_would_run_outside_the_guard_is_refused(client, thing):
    with pytest.raises(TypeError, match="only_on_leader"):
        only_on_leader("a", client=client)(thing)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"otherwise": "ignore"}, ValueError, "'skip', 'raise', 'wait'"),
        ({"otherwise": True}, ValueError, "'skip', 'raise', 'wait'"),
        ({"on_loss": "kill"}, ValueError, "'finish', 'cancel', 'exit'"),
        ({"client": "sqlite:"}, TypeError, "what connect"),
        ({"name": ""}, ValueError, "must not be empty"),
        ({"name": 7}, TypeError, "the name of an election is a string"),
        ({"name": print}, TypeError, r"write @only_on_leader\('name'\)"),
    ],
)
def test_bad_options_are_refused_where_the_function_is_decorated(options, error, text):
    with pytest.raises(error, match=text):
        only_on_leader(**{"name": "a", **options})


def test_what_cannot_be_cancelled_is_refused():
    with pytest.raises(ValueError, match="needs a coroutine function"):
        only_on_leader("a", on_loss="cancel")(lambda: None)


def test_without_a_client_the_store_is_the_environment_s(run_program, tmp_path):
    program = """
from leaderlock import current, only_on_leader
@only_on_leader("a")
def job(): return current().token
@only_on_leader("b")
def other(): return current().holder
print(job() > 0, other().pid > 0)
"""
    done = run_program(program, LEADERLOCK_URL=f"sqlite:///{tmp_path}/s")
    assert (done.stdout, done.stderr) == ("True True\n", "")

    done = run_program(program, LEADERLOCK_URL="")
    assert "ValueError: no store is given" in done.stderr
    assert "redis://" in done.stderr


# -- current


def test_the_innermost_lease_is_current_and_threads_do_not_inherit_it(client, in_background, eventually):
    with client.election("a") as outer:
        with client.election("b") as inner:
            assert current() is inner
            elsewhere = in_background(current)
        assert current() is outer
    eventually(lambda: elsewhere)

    assert elsewhere == [None]
    assert current() is None


# -- what does not run inside the call


def wrapped(function):
    @functools.wraps(function)
    def logged(*args, **kwargs):
        return function(*args, **kwargs)

    return logged


async def coroutine(ran):
    ran.append("coroutine")


def generator(ran):
    ran.append("generator")
    yield


async def async_generator(ran):
    ran.append("async generator")
    yield


@pytest.mark.parametrize("function", [coroutine, generator, async_generator])
@pytest.mark.parametrize("hide", [wrapped, lambda function: lambda ran: function(ran) or ran])
def test_a_body_that_a_wrapper_hides_does_not_run_unguarded(client, function, hide):
    ran = []
    job = only_on_leader("a", client=client)(hide(function))

    with pytest.raises(TypeError, match=r"after the call, unguarded.*beneath what wraps the `async def`"):
        job(ran)
    assert ran == []
    assert current() is None


# -- a store that says no


def test_a_refusal_is_warned_of_once_for_all_names_and_for_as_long_as_it_lasts(
    client, backend, clock, eventually, caplog
):
    backend.inject(Fault.REFUSE, op="read", times=None)
    jobs = [only_on_leader(name, client=client)(lambda: "ran") for name in ("a", "b", "c")]

    assert [job() for job in jobs] == [None] * 3
    reads = backend.count("read")
    clock.advance(6)
    eventually(lambda: backend.count("read") > reads)

    assert caplog.text.count("failed and is repeated") == 1


def test_a_decorated_function_says_why_it_cannot_be_led(client, backend):
    refused = backend.inject(Fault.REFUSE, op="read", times=None)
    job = only_on_leader("a", client=client, otherwise="raise")(lambda: "ran")

    with pytest.raises(NotLeader, match="cannot be led here") as caught:
        job()

    assert isinstance(caught.value.__cause__, BackendRefused)
    assert str(caught.value.__cause__) in str(caught.value)
    refused.cancel()


def test_a_decorated_function_says_that_the_store_does_not_answer(client, backend):
    away = backend.inject(Fault.NEVER_SENT, op="read", times=None)
    job = only_on_leader("a", client=client, otherwise="raise")(lambda: "ran")

    with pytest.raises(NotLeader, match="cannot be led here") as caught:
        job()

    assert isinstance(caught.value.__cause__, BackendUnavailable)
    away.cancel()
