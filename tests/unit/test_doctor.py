"""What the core finds by itself, whatever the store; and what it makes of a namespace's registers."""

from __future__ import annotations

import json

import pytest

from leaderlock import ABSENT, BackendRefused, Traits, Write, connect
from leaderlock._census import census
from leaderlock._client import engine_of
from leaderlock._doctor import examine, out_of_use
from leaderlock._protocol.records import Ending, Holder, NameRecord, SessionRecord, SettledRecord
from leaderlock.backend import Seen
from leaderlock.cli import doctor
from leaderlock.cli._talk import Talk
from leaderlock.diagnosis import Finding, Level, Limit, Promise
from leaderlock.testing import Fault, FaultyBackend, MemoryStore

NOW = 1_700_000_000.0


def session(label, *, at=NOW, ended=Ending.NO, host="a"):
    return Seen(SessionRecord(f"w-{label}", 15.0, ended, Holder(host, 1, "program", label), at).encode(), 1)


def name(holder, note=b""):
    return Seen(NameRecord("w", holder, 7, note, NOW).encode(), 1)


def count(names=(), sessions=()):
    return census(
        [(f"name/{key}", seen) for key, seen in names],
        [(f"session/{key}", seen) for key, seen in sessions],
        wall=NOW,
        rho=0.005,
    )


def put(store, key, value):
    backend = store.backend()
    memory = backend.read([key], timeout=1).memory
    backend.swap([Write(key, ABSENT, value)], memory, timeout=1)


def found_on(backend, **terms):
    with connect(backend, **terms) as client:
        return examine(engine_of(client))


def codes(found, least=Level.NOTE):
    return {finding.code for finding in found.findings if finding.level >= least}


def test_sessions_are_alive_silent_or_ended():
    counted = count(
        sessions=[
            ("a", session("a")),
            ("b", session("b", at=NOW - 15.0)),
            ("c", session("c", at=NOW - 15.2)),
            ("d", session("d", ended=Ending.CLOSED)),
            ("e", session("e", ended=Ending.EXPIRED, at=1.0)),
        ]
    )

    assert (counted.living, counted.silent, counted.ended) == (2, 1, 2)
    assert counted.sessions_to_clean == 3


def test_names_are_led_stranded_or_free_and_a_note_is_kept():
    counted = count(
        names=[
            ("a", name("live")),
            ("b", name("gone")),
            ("c", name("old")),
            ("d", name(None)),
            ("e", name(None, b"x")),
        ],
        sessions=[("live", session("x")), ("old", session("y", ended=Ending.CLOSED))],
    )

    assert (counted.led, counted.stranded, counted.free, counted.noted) == (1, 2, 2, 1)
    assert counted.names_to_clean == 1
    assert counted.cleaning == "1 session and 1 name"


def test_programs_are_the_living_sessions_by_label():
    counted = count(
        names=[("a", name("1")), ("b", name("2")), ("c", name("2"))],
        sessions=[("1", session("web", host="h2")), ("2", session("web", host="h1")), ("3", session("cron"))],
    )

    assert [tuple(program) for program in counted.programs] == [("cron", 1, ("a",), 0), ("web", 2, ("h1", "h2"), 3)]


def test_what_cannot_be_read_is_named_and_not_counted():
    counted = count(names=[("a", Seen(b"odd", 1))], sessions=[("b", Seen(b"{}", 1)), ("c", Seen(None, ABSENT))])

    assert counted.unreadable == ("name/a", "session/b")
    assert counted.living + counted.free + counted.stranded == 0
    assert counted.cleaning == ""


def test_a_fresh_namespace_has_nothing_worse_than_notes():
    found = found_on(MemoryStore().backend())

    assert codes(found) == {"unused", "not-examined"}
    assert found.round_trip.reads
    assert found.round_trip.writes
    assert not any(found.exceptions(promise) for promise in Promise)


def test_what_is_written_for_the_measurement_is_removed():
    store = MemoryStore()

    found_on(store.backend())

    assert list(store.backend().scan("", timeout=1)) == []


def test_registers_of_somebody_else_are_a_warning():
    store = MemoryStore()
    put(store, "name/odd", b"not ours")

    found = found_on(store.backend())

    assert codes(found, Level.WARNING) == {"unreadable"}
    assert found.census.unreadable == ("name/odd",)


def test_a_settled_register_of_somebody_else_is_an_error():
    store = MemoryStore()
    put(store, "settled", b"not ours")

    assert codes(found_on(store.backend()), Level.WARNING) == {"terms-unreadable"}


@pytest.mark.parametrize(("keeps_memory", "level"), [(True, Level.WARNING), (False, Level.NOTE)])
def test_a_memory_that_is_not_the_settled_one_may_have_forgotten_leaders(keeps_memory, level):
    store = MemoryStore(keeps_memory=keeps_memory)
    put(store, "settled", SettledRecord("another", 30.0, "memory").encode())

    found = found_on(store.backend())

    [finding] = [finding for finding in found.findings if finding.code == "unsettled"]
    assert finding.level is level
    assert "30.1 s" in finding.advice
    assert found.exceptions(Promise.PROGRESS)
    assert found.settled is None


def test_other_terms_are_an_error_that_says_both():
    store = MemoryStore()
    with connect(store.backend()) as client:
        client.init()

    found = found_on(store.backend(), ttl=40.0, longest=40.0)

    assert codes(found, Level.WARNING) == {"terms-differ"}
    [text] = [finding.text for finding in found.findings if finding.code == "terms-differ"]
    assert "longest=30" in text
    assert "longest=40" in text


def test_who_leads_and_what_waits_is_counted():
    store = MemoryStore()
    put(store, "session/dead", session("gone", at=1.0).value)
    with connect(store.backend(), label="boss") as leader, leader.election("x"):
        found = found_on(store.backend())

    assert (found.census.living, found.census.led, found.census.silent) == (1, 1, 1)
    assert [program.name for program in found.census.programs] == ["boss"]
    assert "to be cleaned away: 1 session" in " ".join(finding.text for finding in found.findings)
    assert found.settled.longest == 30.0


@pytest.mark.parametrize(
    ("fault", "op", "code"),
    [
        (Fault.NEVER_SENT, "any", "unreachable"),
        (Fault.REFUSE, "any", "refused"),
        (Fault.REFUSE, "swap", "write-refused"),
        (Fault.LOST_AFTER, "swap", "write-unacknowledged"),
    ],
)
def test_a_store_that_does_not_serve_is_an_error(fault, op, code):
    faulty = FaultyBackend(MemoryStore().backend())
    faulty.inject(fault, op=op, times=None)

    found = found_on(faulty)

    assert codes(found, Level.WARNING) == {code}
    assert found.exceptions(Promise.PROGRESS) == ["now: nobody can be elected through this client"]


def test_a_store_that_is_wiped_meanwhile_is_an_error():
    store = MemoryStore()
    faulty = FaultyBackend(store.backend())
    faulty.before(lambda: store.forget(wipe=True))

    found = found_on(faulty)

    assert codes(found, Level.WARNING) == {"memory-gone"}


class Talkative(FaultyBackend):
    """A driver that examines its server, as third parties' may."""

    def diagnose(self, *, timeout):
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


@pytest.mark.parametrize(
    ("told", "code"), [(BackendRefused("not you"), "not-examined"), (RuntimeError("a bug"), "driver-failed")]
)
def test_a_driver_that_fails_to_examine_hides_nothing_else(told, code):
    backend = Talkative(MemoryStore().backend())
    backend.told = told

    found = found_on(backend)

    assert codes(found) == {"unused", code}
    assert str(told) in " ".join(finding.text for finding in found.findings)


WARNS = Finding(Level.WARNING, "odd", "it is odd", "mend it", (Limit(Promise.ONE_AT_A_TIME, "on Mondays"),))


@pytest.fixture
def warned():
    backend = Talkative(MemoryStore().backend())
    backend.told = [WARNS, Finding(Level.OK, "fine", "it is fine")]
    return found_on(backend)


def test_the_worst_finding_comes_first_and_its_limits_stand_under_their_promise(warned, capsys):
    doctor._show(warned, "n", Talk(as_json=False))

    lines = capsys.readouterr().out.splitlines()
    findings = lines[lines.index("") + 1 :]
    assert findings[0] == "warning     odd: it is odd"
    assert findings[1].strip() == "mend it"
    assert lines[lines.index("      except on Mondays") - 1].startswith("  P3 ")


def test_for_machines_all_of_it_is_one_object(warned):
    told = json.loads(json.dumps(doctor._as_json(warned, "n")))

    assert told["level"] == "warning"
    assert told["except"] == {"P1": [], "P2": [], "P3": ["on Mondays"], "P4": [], "P5": []}
    assert told["findings"][-2] == {
        "level": "warning",
        "code": "odd",
        "text": "it is odd",
        "advice": "mend it",
        "limits": ["P3"],
    }
    assert told["traits"] == Traits("memory", "memory", True, True, 10_000, 1 << 20, is_local=True)._asdict()
    assert told["round_trip"]["worst"] >= told["round_trip"]["read"] > 0


def test_the_exit_code_follows_the_worst_finding():
    assert [doctor._code(level) for level in Level] == [0, 0, 1, 69]


def test_a_refusal_is_told_from_silence():
    assert out_of_use(BackendRefused("no")).code == "refused"
