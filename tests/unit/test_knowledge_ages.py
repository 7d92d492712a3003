"""What was once read of a name may not be built on for ever, nor be mixed up with what was read since."""

import itertools

import pytest

from leaderlock._protocol.candidacy import Candidacy
from leaderlock._protocol.clocks import Instant, Timing
from leaderlock._protocol.events import Answered, Ask, Campaign, Failure, Kind, Put, Unanswered, Viewed, Withdraw
from leaderlock._protocol.machine import Machine
from leaderlock._protocol.records import SETTLED, Ending, Holder, NameRecord, SessionRecord, SettledRecord
from leaderlock._protocol.setting import Setting
from leaderlock.backend import ABSENT, Seen, Swapped, View
from leaderlock.errors import OutcomeUnknown

NOW = Instant(100.0, 100.0, 1e9)
SETTLED_HERE = Seen(SettledRecord("M", 30.0, "disk").encode(), 1)
SETTLED_ELSEWHERE = Seen(SettledRecord("another", 30.0, "disk").encode(), 1)


@pytest.fixture
def machine():
    ids = itertools.count(1)
    setting = Setting(
        timing=Timing(ttl=15, rho=0.005),
        holder=Holder("host", 1, "program", ""),
        durability="disk",
        keeps_memory=True,
        kernel=None,
        new_id=lambda: f"id{next(ids)}",
    )
    return Machine(setting)


def view(name: Seen, settled: Seen = SETTLED_HERE, *, floor: int = 5, memory: str = "M") -> View:
    return View({"name/n": name, SETTLED: settled}, floor, memory)


def puts(effects, kind):
    return [effect for effect in effects if isinstance(effect, Put) and effect.kind is kind]


def test_a_name_seen_absent_days_ago_is_looked_at_again_since_its_floor_may_have_been_passed(machine):
    given_up = Candidacy("n", patient=True)
    machine.handle(Campaign([given_up]), NOW)
    machine.handle(Viewed(view(Seen(None, ABSENT), SETTLED_ELSEWHERE), NOW), NOW)
    machine.handle(Withdraw(given_up), NOW)
    later = NOW.plus(3 * 86_400.0)
    machine.handle(Viewed(View({SETTLED: SETTLED_HERE}, 1000, "M"), later), later)

    effects = machine.handle(Campaign([Candidacy("n", patient=True)]), later)

    assert not puts(effects, Kind.TAKE)
    assert [effect.keys for effect in effects if isinstance(effect, Ask)] == [("name/n",)]


def test_a_name_seen_absent_on_another_memory_is_looked_at_again_however_soon(machine):
    given_up = Candidacy("n", patient=True)
    machine.handle(Campaign([given_up]), NOW)
    machine.handle(Viewed(view(Seen(None, ABSENT), SETTLED_ELSEWHERE), NOW), NOW)
    machine.handle(Withdraw(given_up), NOW)
    later = NOW.plus(1.0)
    machine.handle(Viewed(View({SETTLED: SETTLED_ELSEWHERE}, 1000, "another"), later), later)

    effects = machine.handle(Campaign([Candidacy("n", patient=True)]), later)

    assert not puts(effects, Kind.TAKE)
    assert [effect.keys for effect in effects if isinstance(effect, Ask)] == [("name/n",)]


def test_a_name_seen_a_moment_ago_is_taken_on_that_guess(machine):
    given_up = Candidacy("n", patient=True)
    machine.handle(Campaign([given_up]), NOW)
    machine.handle(Viewed(view(Seen(None, ABSENT), SETTLED_ELSEWHERE), NOW), NOW)
    machine.handle(Withdraw(given_up), NOW)
    later = NOW.plus(1.0)
    machine.handle(Viewed(View({SETTLED: SETTLED_HERE}, 1000, "M"), later), later)

    effects = machine.handle(Campaign([Candidacy("n", patient=True)]), later)

    assert [put.record.token for put in puts(effects, Kind.TAKE)] == [5]


def test_a_touch_writes_what_the_take_expected_and_not_what_a_lagging_read_showed_since(machine):
    newer = NameRecord("w2", None, 5, b"new note", 1e9)
    older = NameRecord("w1", "their session", 5, b"old note", 1e9)
    candidacy = Candidacy("n", patient=True)
    machine.handle(Campaign([candidacy]), NOW)
    effects = machine.handle(Viewed(view(Seen(newer.encode(), 7)), NOW), NOW)
    machine.handle(Answered(puts(effects, Kind.OPEN), [Swapped(2)]), NOW)
    machine.handle(Viewed(View({"name/n": Seen(older.encode(), 6)}, 5, "M"), NOW), NOW)
    machine.handle(Unanswered(puts(effects, Kind.TAKE), Failure.UNKNOWN, OutcomeUnknown("lost")), NOW)

    [touch] = puts(machine.handle(Withdraw(candidacy), NOW), Kind.TOUCH)

    assert touch.write.expected == 7
    assert (touch.record.session, touch.record.note) == (None, b"new note")


def test_who_has_seen_another_memory_does_not_take_an_empty_namespace_for_a_first_use(machine):
    machine.handle(Campaign([Candidacy("n", patient=True)]), NOW)
    machine.handle(Viewed(view(Seen(None, ABSENT), SETTLED_ELSEWHERE), NOW), NOW)
    later = NOW.plus(1.0)

    effects = machine.handle(Viewed(view(Seen(None, ABSENT), Seen(None, ABSENT), memory="wiped"), later), later)

    assert not puts(effects, Kind.SETTLE)


HELD = Seen(NameRecord("w1", "theirs", 5, b"", 1e9).encode(), 6)


def alive(write: str) -> Seen:
    return Seen(SessionRecord(write, 15.0, Ending.NO, Holder("other", 2, "program", ""), 1e9).encode(), 3)


def short_campaigns(machine, seconds, *, write=lambda _: "s1", memory=lambda _: "M"):
    """Campaign for five seconds at a time, as a loop with a time-out does; what was buried, and when."""
    for at in range(0, seconds, 5):
        candidacy, now, then = Candidacy("n", patient=True), NOW.plus(float(at)), NOW.plus(at + 4.9)
        machine.handle(Campaign([candidacy]), now)
        for moment in (now, then):
            seen = {"name/n": HELD, "session/theirs": alive(write(at)), SETTLED: settled(memory(at))}
            # Twice: the first answer may be to a question from before, or bring up the next question.
            answers = [machine.handle(Viewed(View(seen, 5, memory(at)), moment), moment) for _ in range(2)]
            if any(puts(effects, Kind.BURY) for effects in answers):
                return at + (moment is then) * 4.9
        machine.handle(Withdraw(candidacy), then)
    return None


def settled(memory: str) -> Seen:
    return Seen(SettledRecord(memory, 30.0, "disk").encode(), 1)


def test_campaigns_shorter_than_a_ttl_outlive_a_dead_leader_all_the_same(machine):
    assert short_campaigns(machine, 60) == 19.9  # the first look after 15.075 s of silence that follows another look


def test_campaigns_shorter_than_a_ttl_do_not_bury_who_moved_between_them(machine):
    assert short_campaigns(machine, 60, write=lambda at: f"s{at // 10}") is None


def test_what_was_observed_between_campaigns_is_forgotten_with_the_memory_it_was_seen_on(machine):
    assert short_campaigns(machine, 60, memory=lambda at: f"M{at // 10}") is None


def test_a_holder_that_died_with_the_old_memory_is_buried_as_soon_as_the_new_one_is_settled(machine):
    machine.handle(Campaign([Candidacy("n", patient=True)]), NOW)
    seen = {"name/n": HELD, "session/theirs": alive("s1"), SETTLED: SETTLED_ELSEWHERE}
    machine.handle(Viewed(view(HELD, SETTLED_ELSEWHERE), NOW), NOW)
    machine.handle(Viewed(View(seen, 5, "M"), NOW), NOW)
    settled_at = NOW.plus(30.0 * 1.005)

    effects = machine.handle(Viewed(View(seen, 5, "M"), settled_at), settled_at)
    answered = machine.handle(Answered(puts(effects, Kind.SETTLE), [Swapped(2)]), settled_at)

    assert len(puts(answered, Kind.BURY)) == 1
