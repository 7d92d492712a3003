"""When a job is due: what can be read, which tick is meant, and what happens where clocks change."""

from __future__ import annotations

import math
import re
import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from leaderlock import Schedule


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(schedule: Schedule, start: datetime, end: datetime) -> list[str]:
    found, tick = [], schedule.next(start)
    while tick < end:
        found.append(tick.isoformat(timespec="minutes")[5:16])
        tick = schedule.next(tick)
    return found


@pytest.mark.parametrize(
    ("when", "after", "expected"),
    [
        ("*/5 * * * *", "2026-01-01T00:01", "2026-01-01T00:05"),
        ("0 3 * * *", "2026-01-01T03:00", "2026-01-02T03:00"),
        ("0 9 * * MON-FRI", "2026-01-02T10:00", "2026-01-05T09:00"),
        ("0 0 1 JAN,jul *", "2026-01-02T00:00", "2026-07-01T00:00"),
        ("0 0 L * *", "2026-02-01T00:00", "2026-02-28T00:00"),
        ("0 0 * * 5L", "2026-01-01T00:00", "2026-01-30T00:00"),
        ("0 0 * * MON#2", "2026-01-01T00:00", "2026-01-12T00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00"),
        ("@yearly", "2026-01-02T00:00", "2027-01-01T00:00"),
        ("@annually", "2026-01-02T00:00", "2027-01-01T00:00"),
        ("@monthly", "2026-01-02T00:00", "2026-02-01T00:00"),
        ("@weekly", "2026-01-02T00:00", "2026-01-04T00:00"),
        ("@Daily", "2026-01-02T00:00", "2026-01-03T00:00"),
        ("@midnight", "2026-01-02T00:00", "2026-01-03T00:00"),
        ("@hourly", "2026-01-02T00:00", "2026-01-02T01:00"),
        ("@every 90s", "2026-01-01T00:00", "2026-01-01T00:01:30"),
        ("@every 1h30m", "2026-01-01T00:00", "2026-01-01T01:30"),
        (90, "2026-01-01T00:00", "2026-01-01T00:01:30"),
        (timedelta(minutes=7), "1970-01-01T00:00", "1970-01-01T00:07"),
        (0.25, "2026-01-01T00:00:00.300000", "2026-01-01T00:00:00.500000"),
    ],
)
def test_the_next_tick(when, after, expected):
    assert Schedule(when).next(at(after)) == at(expected)


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("0 0 31 2 *", "no month that is named has such a day"),
        ("0 0 30 2 *", "bad day-of-month '30'"),
        ("0 0 31 4,6,9,11 *", "bad day-of-month '31'"),
        ("61 * * * *", "bad minute '61'"),
        ("* 24 * * *", "bad hour '24'"),
        ("* * * * FRI-SUN", "bad day-of-week 'FRI-SUN'"),
        ("*/0 * * * *", "bad minute"),
        ("* * * *", "here are 4"),
        ("", "here are 0"),
        ("0 0 3 * * *", "libraries disagree whether seconds come first or last"),
        ("0 0 3 * * * 2026", "7 fields"),
        ("0,1," * 200 + "2 * * * *", "at most 500 characters"),
        ("@reboot", "no instant on which hosts could agree"),
        ("@sometimes", "there are @yearly"),
        ("@every", "write '@every 90s'"),
        ("@every 5 parsecs", "write '@every 90s'"),
        ("@every 0s", "an interval of 0 s cannot be"),
        (0, "an interval of 0 s cannot be"),
        (0.0001, "use at least"),
        (-5, "an interval of -5 s cannot be"),
        (float("nan"), "cannot be"),
        (float("inf"), "cannot be"),
        (timedelta(0), "an interval of 0 s cannot be"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused_at_once_with_the_reason(when, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Schedule(when)


@pytest.mark.parametrize("when", [None, True, ["* * * * *"], b"* * * * *", Schedule(5)])
def test_what_is_no_schedule_at_all_is_a_type_error(when):
    with pytest.raises(TypeError):
        Schedule(when)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "", "europe berlin"])
def test_an_unknown_time_zone_is_refused_with_a_way_out(zone):
    with pytest.raises(ValueError, match="such as 'Europe/Berlin'"):
        Schedule("@daily", zone=zone)


def test_what_hosts_call_utc_is_one_zone():
    assert len({Schedule("@daily", zone=zone) for zone in ("UTC", "Etc/UTC", "Zulu", "Universal")}) == 1


def test_a_time_zone_may_be_an_object():
    plus_two = timezone(timedelta(hours=2))

    assert Schedule("0 3 * * *", zone=plus_two).next(at("2026-01-01T00:00")) == at("2026-01-01T01:00")


@pytest.mark.parametrize("ask", ["next", "previous", "nearest"])
def test_a_datetime_without_a_time_zone_is_no_instant(ask):
    with pytest.raises(ValueError, match=r"datetime\.now\(UTC\) has one"):
        getattr(Schedule("@daily"), ask)(datetime(2026, 1, 1))


def test_who_is_up_to_half_an_interval_early_or_late_means_the_same_tick():
    schedule = Schedule("0 * * * *")

    means = {schedule.nearest(at("2026-01-01T12:00") + timedelta(minutes=off)) for off in range(-29, 31)}

    assert means == {at("2026-01-01T12:00")}


@given(every=st.sampled_from([0.0125, 0.0375, 7.0005, 1 / 3, 0.1, 60.0]), number=st.integers(10**9, 10**11))
def test_the_tick_of_an_interval_is_its_exact_multiple_in_milliseconds_on_every_processor(every, number):
    exact = Fraction(every) * number

    tick = Schedule(every).nearest_to(float(exact))

    assert tick == float(Decimal(math.floor(exact * 1000 + Fraction(1, 2))) / 1000)


def test_previous_is_before_and_next_is_after():
    schedule = Schedule("0 3 * * *")

    assert schedule.previous(at("2026-01-02T03:00")) == at("2026-01-01T03:00")
    assert schedule.next(at("2026-01-02T03:00")) == at("2026-01-03T03:00")


@pytest.mark.parametrize("when", ["@every 5000d", "0 0 29 2 *", "30 4 * * *", "*/30 * * * *"])
def test_there_are_ticks_beyond_2038_where_c_has_32_bits_for_the_time(when):
    schedule = Schedule(when, zone="Europe/Berlin")
    on_a_day_of_change = datetime(2038, 3, 28, 0, 10, tzinfo=UTC)

    first = schedule.next(on_a_day_of_change)
    second = schedule.next(first)

    assert on_a_day_of_change < first < second
    assert schedule.previous(second) == schedule.nearest(first) == first


def test_it_says_what_it_is():
    assert str(Schedule("0 3 * * *", zone="Europe/Berlin")) == "0 3 * * * (Europe/Berlin)"
    assert str(Schedule(90)) == "@every 90s"
    assert Schedule(90) == Schedule("@every 1m30s") != Schedule(91)
    assert len({Schedule("@daily"), Schedule("@daily"), Schedule("@daily", zone="Asia/Tokyo")}) == 2


# -- where clocks change: Berlin at 02:00 -> 03:00 on 2026-03-29 (01:00 UTC), 03:00 -> 02:00 on 2026-10-25 (01:00 UTC)


def test_a_fixed_time_in_the_skipped_hour_runs_once_at_the_end_of_the_gap():
    schedule = Schedule("30 2 * * *", zone="Europe/Berlin")

    assert ticks(schedule, at("2026-03-28T00:00"), at("2026-03-31T00:00")) == [
        "03-28T01:30",
        "03-29T01:00",
        "03-30T00:30",
    ]


def test_a_fixed_time_in_the_repeated_hour_runs_once_the_first_time():
    schedule = Schedule("30 2 * * *", zone="Europe/Berlin")

    assert ticks(schedule, at("2026-10-24T00:00"), at("2026-10-27T00:00")) == [
        "10-24T00:30",
        "10-25T00:30",
        "10-26T01:30",
    ]


def test_jobs_of_every_few_minutes_go_by_what_really_passes():
    schedule = Schedule("*/30 * * * *", zone="Europe/Berlin")

    for night in ("2026-03-29", "2026-10-25"):
        assert len(ticks(schedule, at(f"{night}T00:00") - timedelta(seconds=1), at(f"{night}T04:00"))) == 8


def test_two_callers_in_the_repeated_hour_mean_the_same_tick():
    schedule = Schedule("30 2 * * *", zone="Europe/Berlin")
    first, second = at("2026-10-25T00:30"), at("2026-10-25T01:30")

    assert schedule.nearest(first) == schedule.nearest(second) == first


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu", "UTC"]
LINES = ["30 2 * * *", "0 3 * * *", "*/15 * * * *", "30 * * * *", "0 */2 * * *", "15,45 1-3 * * *", "*/7 1-3 * * *",
         "0 0 * * *", "30 1 * * SUN", "0 0 L * *", "* * * * *"]  # fmt: skip
CHANGES = [at("2026-03-29T01:00"), at("2026-10-25T01:00"), at("2026-03-08T07:00"), at("2026-11-01T06:00"),
           at("2026-04-04T15:00"), at("2026-10-03T15:30"), at("2026-02-15T02:00")]  # fmt: skip


@given(st.sampled_from(ZONES), st.sampled_from(LINES), st.sampled_from(CHANGES), st.integers(-100_000, 100_000))
def test_from_wherever_one_looks_the_ticks_are_the_same(zone, line, change, offset):
    """cronsim's own walk finds another tick on Lord Howe Island when it starts just behind the change."""
    here = change + timedelta(seconds=offset)
    schedule = Schedule(line, zone=zone)

    before, after = schedule.previous(here), schedule.next(here)

    fresh = Schedule(line, zone=zone)
    assert before < here < after
    assert fresh.next(before) in (after, here)
    assert fresh.previous(after) in (before, here)
    assert fresh.nearest(here) in (before, here, after)


@given(st.sampled_from(LINES), st.sampled_from(ZONES), st.integers(0, 3_000))
def test_on_days_without_a_change_the_ticks_are_cronsims(line, zone, day):
    start = at("2020-01-01T12:00") + timedelta(days=day)
    theirs = CronSim(line, start.astimezone(ZoneInfo(zone)))
    expected = next(found.astimezone(UTC) for found in theirs if found > start)
    offsets = {(start + timedelta(hours=hour)).astimezone(ZoneInfo(zone)).utcoffset() for hour in range(0, 24 * 40, 6)}

    assert Schedule(line, zone=zone).next(start) == expected or len(offsets) > 1


def test_in_the_hour_that_comes_twice_a_line_with_a_star_goes_by_the_wall():
    """Debian's cron does the same; so does a crontab line that `leaderlock cron` stands in."""
    schedule = Schedule("*/30 2 * * *", zone="Europe/Berlin")

    spring = ticks(schedule, at("2026-03-28T12:00"), at("2026-03-29T12:00"))
    autumn = ticks(schedule, at("2026-10-24T12:00"), at("2026-10-25T12:00"))

    assert spring == []
    assert autumn == ["10-25T00:00", "10-25T00:30", "10-25T01:00", "10-25T01:30"]


def test_where_half_an_hour_comes_twice_it_is_run_twice():
    schedule = Schedule("15 * * * *", zone="Australia/Lord_Howe")

    assert ticks(schedule, at("2026-04-04T14:00"), at("2026-04-04T17:00")) == [
        "04-04T14:15",
        "04-04T15:45",
        "04-04T16:45",
    ]
    schedule = Schedule("45 * * * *", zone="Australia/Lord_Howe")
    assert ticks(schedule, at("2026-04-04T14:00"), at("2026-04-04T17:00")) == [
        "04-04T14:45",
        "04-04T15:15",
        "04-04T16:15",
    ]


def test_a_day_that_a_zone_left_out_ends_in_the_next():
    schedule = Schedule("0 9 * * *", zone="Pacific/Apia")  # there was no 30 December 2011

    found = ticks(schedule, at("2011-12-29T00:00"), at("2011-12-31T12:00"))

    assert found == ["12-29T19:00", "12-30T10:00", "12-30T19:00"]


def test_it_is_read_by_many_threads_at_once():
    schedule, wrong = Schedule("*/5 * * * *"), []

    def look(start: int) -> None:
        for number in range(300):
            now = at("2026-01-01T00:00") + timedelta(seconds=7 * number + 1000 * start)
            before = schedule.nearest(now)
            if abs((before - now).total_seconds()) > 150:
                wrong.append((now, before))

    threads = [threading.Thread(target=look, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
