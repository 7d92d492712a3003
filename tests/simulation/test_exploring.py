"""Small worlds, every history of them; and rules broken on purpose, which these must show."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from .breakages import BREAKAGES
from .cores import load
from .exploring.search import explore
from .exploring.spaces import SPACES, Space


def space(name: str, faults: int, acts: int, kinds: str | None = None, ttls: float = 1.5) -> Space:
    whole = replace(SPACES[name], faults=faults, acts=acts, ttls=ttls)
    return whole if kinds is None else replace(whole, kinds=frozenset(kinds.split(",")))


WHOLE: Final = {
    "calls late, cut or doubled, crashes, pauses, old reads": space("travels", 1, 0),
    "clocks at the edge": space("edge", 1, 0),
    "unequal ttls": space("unequal", 1, 0, ttls=1.3),
    "one kernel": space("one-kernel", 1, 0, ttls=1.3),
    "calls refused or never sent": space("noes", 1, 0, ttls=1.3),
    "who does not wait": space("jobs", 1, 0, ttls=1.3),
    "sessions deleted by hand": space("hands", 1, 0, "delete session"),
    "a wipe": space("losses", 1, 0, "wipe"),
    "notes, resignations and closing": space("notes", 0, 1),
    "two faults: calls cut, crashes": space("travels", 2, 0, "cut,crash"),
}

SEEN: Final = {
    "a rival waits its own ttl": space("unequal", 1, 0),
    "takes without the session seen ended": space("travels", 0, 0),
    "buries without the stamp": space("unequal", 1, 0),
    "an absent session is believed ended at once": space("hands", 1, 0, "delete session"),
    "the observation is kept on a changed write": space("travels", 0, 0),
    "the boot clock's until is too early": space("one-kernel", 1, 0),
    "the wait is cut short by a seventh": space("unequal", 1, 0),
    "the wait has no drift margin": space("edge", 1, 0),
    "the claim has no drift margin": space("edge", 1, 0),
    "a passed deadline is revived": space("unequal", 1, 0),
    "the claim ends at the release's answer": space("notes", 0, 1),
    "an unknown release is forgotten": space("travels", 1, 1, "cut", 0.5),
    "a note by force": space("notes", 1, 2, "cut", 0.3),
    "a release without the stamp": space("travels", 1, 1, "cut", 0.5),
    "a release by deletion": space("notes", 0, 1),
    "a release drops the token": space("notes", 0, 1),
    "the token may equal the last one": space("notes", 0, 1),
    "no floor": space("losses", 1, 0, "wipe"),
    "another memory's floor": space("losses", 1, 0, "wipe"),
    "taking on unsettled memory": space("losses", 1, 0, "wipe,rollback"),
    "settling at once": space("losses", 1, 0, "wipe,rollback"),
    "orphans are never released": space("travels", 1, 3, "cut", 0.3),
}
"""By name, breakages that are seen within seconds, and where. Others need more faults than are explored here."""


@pytest.mark.parametrize("what", WHOLE)
def test_no_history_of_a_small_world_violates_anything(what: str):
    found = explore(WHOLE[what])

    assert found.violation is None, str(found)
    assert found.is_complete
    assert found.leaves > 3


@pytest.mark.parametrize("name", SEEN)
def test_a_broken_rule_is_seen(name: str):
    [breakage] = [breakage for breakage in BREAKAGES if breakage.name == name]

    found = explore(SEEN[name], load(breakage.changes))

    assert found.violation is not None
    assert found.violation.kind != "error", str(found)


def test_an_exploration_says_by_which_way_it_came_to_a_violation():
    name = "the wait has no drift margin"
    [breakage] = [breakage for breakage in BREAKAGES if breakage.name == name]

    lines = str(explore(SEEN[name], load(breakage.changes))).splitlines()

    assert any("PAUSES" in line for line in lines)
    assert lines[-1].startswith("overlap: b leads while a does")
