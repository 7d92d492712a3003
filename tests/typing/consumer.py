"""A user's program, for the type checkers alone: what they see must be what happens."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, assert_type
from wsgiref.types import StartResponse, WSGIEnvironment

import redis
import redis.asyncio
import sqlalchemy.orm

import leaderlock
from leaderlock import (
    AsyncClient,
    AsyncElection,
    AsyncLease,
    Client,
    Deadline,
    Election,
    Ending,
    Job,
    Lease,
    LossReason,
    Ran,
    Schedule,
    Skipped,
    SkipReason,
    Term,
    Tick,
    aio,
    connect,
    current_tick,
    once_per_tick,
    only_on_leader,
)
from leaderlock.fences import check_refuses_stale
from leaderlock.fences.file import FencedFile
from leaderlock.fences.gate import Gate
from leaderlock.fences.http import AsgiFence, WsgiFence, fencing_headers, fencing_token, stale_response
from leaderlock.fences.redis import AsyncRedisFence, RedisFence
from leaderlock.fences.sql import SqlFence, fence_table
from leaderlock.testing import FaultyBackend, ManualClock, MemoryStore


@only_on_leader("reports")
def send_report(to: str, *, copies: int = 1) -> bool:
    return bool(to) and copies > 0


@only_on_leader("reports", on_loss="cancel")
async def skip_report_async(to: str) -> bool:
    return bool(to)


@only_on_leader("reports", otherwise="wait", on_loss="cancel")
async def send_report_async(to: str, *, copies: int = 1) -> bool:
    return bool(to) and copies > 0


class Janitor:
    @only_on_leader("cleaning", otherwise="raise")
    def clean(self, deep: bool) -> int:
        return int(deep)


def uses_the_faces(url: str) -> None:
    with connect(url, ttl=5.0, label="consumer") as client:
        assert_type(client, Client)
        election = client.election("job")
        assert_type(election, Election)
        with election as lease:
            assert_type(lease, Lease)
            assert_type(lease.token, int)
            assert_type(lease.is_held, bool)
            assert_type(lease.deadline, Deadline)
            assert_type(lease.note, bytes)
            assert_type(lease.lost_reason, LossReason | None)
            lease.on_lost(lambda lost: print(lost.name))
        assert_type(election.campaign(timeout=1.0), Lease)
        with election.campaign() as lease:
            assert_type(lease, Lease)
        assert_type(client.campaign_all(["a", "b"]), dict[str, Lease])
        assert_type(election.leader(), Term | None)
        for term in election.observe():
            assert_type(term, Term | None)


@once_per_tick("0 3 * * *", name="nightly", zone="Europe/Berlin", runs="at-least-once", retries=2)
def nightly(to: str, *, copies: int = 1) -> list[str]:
    tick = current_tick()
    assert_type(tick, Tick | None)
    return [to] * copies


def uses_ticks(client: Client) -> None:
    outcome = nightly("a", copies=2)
    assert_type(outcome, Ran[list[str]] | Skipped)
    if isinstance(outcome, Ran):
        assert_type(outcome.result, list[str])
    else:
        assert_type(outcome.reason, SkipReason)
    if outcome:
        assert_type(outcome, Ran[list[str]])
    with client.tick(Schedule(60), name="job") as tick:
        assert_type(tick, Tick)
        assert_type(tick.token, int)
    assert_type(client.tick("@hourly", name="job").run(len, "abc"), Ran[int] | Skipped)
    job = client.job("job")
    assert_type(job, Job | None)
    if job is not None:
        assert_type([outcome.how for outcome in job.history], list[Ending])


@once_per_tick("@daily", name="weekly")
async def nightly_async(to: str) -> int:
    return len(to)


async def uses_asyncio(url: str) -> None:
    async with aio.connect(url, ttl=5.0, label="consumer") as client:
        assert_type(client, AsyncClient)
        election = client.election("job", on_loss="cancel")
        assert_type(election, AsyncElection)
        async with election as lease:
            assert_type(lease, AsyncLease)
            assert_type(lease.token, int)
            await lease.ensure(1.0)
            assert_type(await lease.wait_lost(0.1), LossReason | None)
            lease.on_lost(lambda lost: print(lost.name))
            assert_type(aio.current(), AsyncLease | None)
        assert_type(await election.campaign(timeout=1.0), AsyncLease)
        async with await election.campaign() as lease:
            assert_type(lease, AsyncLease)
        assert_type(await client.campaign_all(["a", "b"]), dict[str, AsyncLease])
        assert_type(await election.leader(), Term | None)
        async for term in election.observe():
            assert_type(term, Term | None)
        async with client.tick(Schedule(60), name="job") as tick:
            assert_type(tick, Tick)
        assert_type(await client.tick("@hourly", name="job").run(nightly_inner, "abc"), Ran[int] | Skipped)
        assert_type(await nightly_async("a"), Ran[int] | Skipped)
        only_on_leader("x", client=client)


async def nightly_inner(to: str) -> int:
    return len(to)


def errors_form_a_tree() -> None:
    try:
        uses_the_faces("memory:")
    except leaderlock.LeaseLost as lost:
        assert_type(lost.reason, str)
    except leaderlock.StaleToken as stale:
        assert_type(stale.highest, int)
    except leaderlock.LeaderLockError:
        pass


def uses_fences(engine: sqlalchemy.Engine, lease: Lease, folder: str) -> None:
    fence = SqlFence("reports", table=fence_table(sqlalchemy.MetaData()))
    with sqlalchemy.orm.Session(engine) as session, engine.begin() as connection:
        fence.stamp(session, lease.token)
        assert_type(fence.highest(connection), int)
    commands = RedisFence(redis.Redis(), "mark").execute(["SET", "a", 1], token=lease.token)
    assert_type(commands, list[Any])
    assert_type(FencedFile(folder).update(lambda old: (old or b"") + b"x", token=lease.token), bytes)
    with Gate(folder).admitted(lease.token):
        check_refuses_stale(lambda token: FencedFile(folder).write(b"x", token=token))
    assert_type(fencing_headers(lease.token), dict[str, str])
    assert_type(fencing_token("7"), int)


async def uses_fences_async(lease: AsyncLease, folder: str) -> None:
    await AsyncRedisFence(redis.asyncio.Redis(), "mark").execute(["SET", "a", 1], token=lease.token)
    async with Gate(folder).admitted(lease.token):
        pass


def service(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    try:
        start_response("200 OK", [])
    except leaderlock.StaleToken as stale:
        assert_type(stale_response(stale), tuple[int, dict[str, str], bytes])
    return []


async def async_service(
    scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None: ...


FENCED_SERVICES = [WsgiFence(service, "mark"), AsgiFence(async_service, "mark", without_token=["GET"])]


def the_testing_kit() -> None:
    faulty = FaultyBackend(MemoryStore().backend())
    assert_type(connect(faulty, clock=ManualClock()), Client)
    assert_type(leaderlock.current(), Lease | None)


def _may_skip(function: Callable[[str], bool | None]) -> None: ...


async def skipping_is_seen() -> None:
    assert_type(send_report("a"), bool | None)
    assert_type(await skip_report_async("a"), bool | None)
    assert_type(await send_report_async("a"), bool)
    assert_type(Janitor().clean(deep=True), int)


def _same_coroutine(function: Callable[[str], Coroutine[Any, Any, bool] | Awaitable[bool]]) -> None: ...


_may_skip(send_report)
_same_coroutine(send_report_async)
send_report("a", copies=2)
Janitor().clean(deep=True)

# What is wrong must be seen, too: each of these is an error, and an ignored one that is none is reported itself.
nightly(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
once_per_tick("@daily")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
once_per_tick("@daily", name="x", runs="twice")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
send_report(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
send_report("a", copy=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
Janitor().clean()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
only_on_leader("x", otherwise="perhaps")  # type: ignore[call-overload]  # pyright: ignore
aio.connect("memory:").election("x", on_loss="exit")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
