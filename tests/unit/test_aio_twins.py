"""What sync offers, asyncio offers, with the same words: names, parameters, defaults."""

from __future__ import annotations

import inspect

import pytest

import leaderlock
from leaderlock import AsyncClient, AsyncElection, AsyncLease, AsyncTicking, Client, Election, Lease, Ticking, aio

TWINS = [(Client, AsyncClient), (Election, AsyncElection), (Lease, AsyncLease), (Ticking, AsyncTicking)]

OURS = {"on_waiting"}
"""A property of the one, so that it is passed on, and an attribute of the other."""

MORE = {"on_loss"}
"""What only a task can be offered."""

NOT_AWAITED = {"election", "tick", "now", "check", "on_lost", "observe"}
"""No I/O; ``observe`` is an asynchronous generator."""


def members(one: type) -> dict[str, object]:
    return {name: value for name, value in vars(one).items() if not name.startswith("_") and name not in OURS}


def parameters(function: object) -> dict[str, tuple[object, object]]:
    found = inspect.signature(function).parameters.values()
    return {one.name: (one.kind, one.default) for one in found if one.name not in MORE}


@pytest.mark.parametrize(("sync", "twin"), TWINS, ids=lambda one: one.__name__)
def test_both_have_the_same_members(sync, twin):
    assert set(members(sync)) == set(members(twin))


@pytest.mark.parametrize(("sync", "twin"), TWINS, ids=lambda one: one.__name__)
def test_both_take_the_same_arguments_and_what_waits_is_awaited(sync, twin):
    for name, value in members(sync).items():
        other = members(twin)[name]
        assert isinstance(other, property) == isinstance(value, property), name
        if isinstance(value, property):
            continue
        assert parameters(other) == parameters(value), name
        assert inspect.iscoroutinefunction(other) == (name not in NOT_AWAITED), name


def test_both_connect_alike():
    assert parameters(aio.connect) == parameters(leaderlock.connect)
