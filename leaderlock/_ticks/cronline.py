"""The instants of a cron expression in a time zone, day by day.

``cronsim`` reads the expression and says which days it means. The instants of a day are reckoned here, from that day
alone: walking from tick to tick, as cronsim does, finds other ticks around a change of the clocks by where one starts
(on Lord Howe Island, which changes by half an hour), and hosts must agree wherever they start.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, NamedTuple

from cronsim import CronSim, CronSimError

__all__ = ["CronLine", "moment"]

FAR: Final = 50 * 366
"""How many days are searched: the 29th of February may be a Monday once in 28 years, or in 40."""

_DAY: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Day(NamedTuple):
    """The ticks of one day, in seconds after its first midnight."""

    start: float
    times: array[int]


_NEVER: Final = array("l")


class CronLine:
    """One expression of five fields, read in one time zone.

    A line with a star in its minutes or hours goes by the clock on the wall: it runs twice in an hour that comes twice,
    and not in one that is skipped. Any other is a list of times of day, each of which comes once a day: a time that is
    skipped at the end of the gap, a time that comes twice the first time.

    Raises:
        ValueError: it cannot be read; the text says which field.
    """

    def __init__(self, expression: str, zone: tzinfo) -> None:
        try:
            self._line = CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
        except CronSimError as error:
            raise ValueError(_bad(expression, str(error))) from None
        self._zone = zone
        minutes, hours, *_ = expression.split()
        self._by_the_wall = minutes.startswith("*") or hours.startswith("*")
        on_the_hour = sorted(self._line.minutes)
        times = (3600 * hour + 60 * minute for hour in sorted(self._line.hours) for minute in on_the_hour)
        # An array: a thousand jobs of every minute would hold over a million numbers otherwise.
        self._times = array("l", times)
        self._near: tuple[date, tuple[_Day, ...]] = (date.min, ())

    def around(self, now: float) -> tuple[float, float]:
        """The last tick that is not after ``now``, and the first that is.

        Raises:
            ValueError: there is none in fifty years.
        """
        today = moment(now).astimezone(self._zone).date()
        before, after = -math.inf, math.inf
        for day in self._days_near(today):
            here = bisect_right(day.times, now - day.start)
            if here:
                before = max(before, day.start + day.times[here - 1])
            if here < len(day.times):
                after = min(after, day.start + day.times[here])
        if before == -math.inf:
            far = self._beyond(today, -_DAY)
            before = far.start + far.times[-1]
        if after == math.inf:
            far = self._beyond(today, _DAY)
            after = far.start + far.times[0]
        return before, after

    def _days_near(self, today: date) -> tuple[_Day, ...]:
        """Three days: what is moved out of a gap may belong to the day before."""
        day, days = self._near
        if day != today:
            days = tuple(map(self._day, (today - _DAY, today, today + _DAY)))
            self._near = (today, days)  # replaced as a whole: threads that race for it all find the truth
        return days

    def _beyond(self, today: date, step: timedelta) -> _Day:
        """The first day that has any ticks, away from the three that are known."""
        day = today + step
        for _ in range(FAR):
            day += step
            found = self._day(day)
            if found.times:
                return found
        raise ValueError(f"no day in fifty years before or after {today} is like that")

    def _day(self, day: date) -> _Day:
        if day.month not in self._line.months or not self._line.match_day(day):
            return _Day(0.0, _NEVER)
        midnight = datetime.combine(day, time(), self._zone)
        start = midnight.timestamp()
        if midnight.utcoffset() == datetime.combine(day + _DAY, time(), self._zone).utcoffset():
            return _Day(start, self._times)
        times = self._by_the_clock(midnight) if self._by_the_wall else self._once_a_day(midnight)
        return _Day(start, array("l", sorted({round(instant - start) for instant in times})))

    def _by_the_clock(self, midnight: datetime) -> Iterator[float]:
        """A day on which the clocks change, minute by real minute."""
        start = midnight.timestamp() - 3 * 3600
        for minute in range(30 * 60):
            local = moment(start + 60 * minute).astimezone(self._zone)
            is_meant = local.hour in self._line.hours and local.minute in self._line.minutes
            if is_meant and local.date() == midnight.date():
                yield start + 60 * minute

    def _once_a_day(self, midnight: datetime) -> Iterator[float]:
        """A day on which the clocks change, by the times of day."""
        for seconds in self._times:
            local = (midnight.replace(tzinfo=None) + timedelta(seconds=seconds)).replace(tzinfo=self._zone)
            while local != local.astimezone(UTC).astimezone(self._zone):  # there is no such time on that day
                local += timedelta(minutes=1)
            yield local.timestamp()


def moment(instant: float) -> datetime:
    """That many seconds since 1970, in UTC."""
    # Not datetime.fromtimestamp, which ends in 2038 where C has 32 bits for the time.
    return _EPOCH + timedelta(seconds=instant)


def _bad(expression: str, why: str) -> str:
    names = ("minute", "hour", "day-of-month", "month", "day-of-week")
    for name, field in zip(names, expression.split(), strict=True):
        if name in why:
            impossible = "; no month that is named has such a day" if name == "day-of-month" and field.isdigit() else ""
            return f"{expression!r} is no cron expression: bad {name} {field!r}{impossible}"
    return f"{expression!r} is no cron expression: {why}"
