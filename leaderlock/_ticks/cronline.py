"""The instants of a cron expression in a time zone, day by day.

``cronsim`` reads the expression and says which days it means. The instants of a day are reckoned here, from that day
alone: walking from tick to tick, as cronsim does, finds other ticks around a change of the clocks by where one starts
(on Lord Howe Island, which changes by half an hour), and hosts must agree wherever they start.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

from cronsim import CronSim, CronSimError

__all__ = ["CronLine"]

FAR: Final = 50 * 366
"""How many days are searched: the 29th of February may be a Monday once in 28 years, or in 40."""

_DAY: Final = timedelta(days=1)


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
        self._times = tuple(
            hour * 60 + minute for hour in sorted(self._line.hours) for minute in sorted(self._line.minutes)
        )
        self._near: tuple[date, list[float]] = (date.min, [])

    def around(self, now: float) -> tuple[float, float]:
        """The last tick that is not after ``now``, and the first that is.

        Raises:
            ValueError: there is none in fifty years.
        """
        today = datetime.fromtimestamp(now, self._zone).date()
        ticks = self._days_near(today)
        here = bisect_right(ticks, now)
        before = ticks[here - 1] if here else max(self._beyond(today, -_DAY))
        after = ticks[here] if here < len(ticks) else min(self._beyond(today, _DAY))
        return before, after

    def _days_near(self, today: date) -> list[float]:
        """The ticks of three days: what is moved out of a gap may belong to the day before."""
        day, ticks = self._near
        if day != today:
            ticks = sorted({tick for near in (today - _DAY, today, today + _DAY) for tick in self._ticks_of(near)})
            self._near = (today, ticks)  # replaced as a whole: threads that race for it all find the truth
        return ticks

    def _beyond(self, today: date, step: timedelta) -> list[float]:
        """The ticks of the first day that has any, away from the three that are known."""
        day = today + step
        for _ in range(FAR):
            day += step
            ticks = self._ticks_of(day)
            if ticks:
                return ticks
        raise ValueError(f"no day in fifty years before or after {today} is like that")

    def _ticks_of(self, day: date) -> list[float]:
        if day.month not in self._line.months or not self._line.match_day(day):
            return []
        midnight = datetime.combine(day, time(), self._zone)
        if midnight.utcoffset() == datetime.combine(day + _DAY, time(), self._zone).utcoffset():
            start = midnight.timestamp()
            return [start + 60.0 * minute for minute in self._times]
        return list(self._by_the_clock(midnight) if self._by_the_wall else self._once_a_day(midnight))

    def _by_the_clock(self, midnight: datetime) -> Iterator[float]:
        """A day on which the clocks change, minute by real minute."""
        start = int(midnight.timestamp()) - 3 * 3600
        for instant in range(start, start + 30 * 3600, 60):
            local = datetime.fromtimestamp(instant, self._zone)
            is_meant = local.hour in self._line.hours and local.minute in self._line.minutes
            if is_meant and local.date() == midnight.date():
                yield float(instant)

    def _once_a_day(self, midnight: datetime) -> Iterator[float]:
        """A day on which the clocks change, by the times of day."""
        for minute in self._times:
            local = (midnight.replace(tzinfo=None) + timedelta(minutes=minute)).replace(tzinfo=self._zone)
            while local != local.astimezone(UTC).astimezone(self._zone):  # there is no such time on that day
                local += timedelta(minutes=1)
            yield local.timestamp()


def _bad(expression: str, why: str) -> str:
    names = ("minute", "hour", "day-of-month", "month", "day-of-week")
    for name, field in zip(names, expression.split(), strict=True):
        if name in why:
            impossible = "; no month that is named has such a day" if name == "day-of-month" and field.isdigit() else ""
            return f"{expression!r} is no cron expression: bad {name} {field!r}{impossible}"
    return f"{expression!r} is no cron expression: {why}"
