"""When a job is due: cron expressions and fixed intervals, as instants on which all hosts agree."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from leaderlock._ticks.cronline import CronLine, moment

__all__ = ["Schedule", "When", "instant", "moment"]

SHORTEST: Final = 0.01
"""The shortest interval, in seconds: a round trip to a store takes a tenth of that, or all of it."""

LONGEST: Final = 500
"""How many characters a schedule may have: it is kept in a note of 64 KiB."""

NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UTC: Final = {"UTC", "Etc/UTC", "Zulu", "Etc/Zulu", "UCT", "Etc/UCT", "Universal", "Etc/Universal"}
"""What hosts call one and the same zone, so that none takes the others' schedule for another one."""
_FIFTY_YEARS: Final = 50 * 366 * 86_400.0


class Schedule:
    """The instants at which a job is due, the same on every host whatever its own time zone is.

    Args:
        when: a cron expression of five fields (names, ``L``, ``#``), ``"@daily"`` and friends, ``"@every 90s"``; or an
            interval, in seconds or as a ``timedelta``, counted from 1970-01-01T00:00Z.
        zone: the IANA time zone in which a cron expression is read, such as ``"Europe/Berlin"``. Intervals have none.

    Where clocks change, a job at a fixed time runs once: when its time is skipped, at the end of the gap; when it comes
    twice, the first time. A line with a star in its minutes or hours goes by the clock on the wall, and intervals by
    what really passes.

    Raises:
        ValueError, TypeError: it cannot be read, or never comes; the text says what can.
    """

    __slots__ = ("_around", "_every", "_line", "_text", "_zone_name")

    def __init__(self, when: When, *, zone: str | tzinfo = "UTC") -> None:
        if isinstance(when, Schedule):
            raise TypeError("this is a Schedule already: pass it on as it is")
        read_in, self._zone_name = _read_zone(zone)
        self._every, expression = _read(when)
        self._line = CronLine(expression, read_in) if expression else None
        self._text = f"@every {self._every:.12g}s" if self._every else str(when).strip()
        self._around: tuple[float, float] = (math.inf, -math.inf)
        try:
            self.around(0.0)
        except ValueError as error:
            raise ValueError(f"{self._text!r} never comes: {error}") from None

    def __repr__(self) -> str:
        return f"<Schedule {self}>"

    def __str__(self) -> str:
        return self._text if self._every else f"{self._text} ({self._zone_name})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schedule) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def text(self) -> str:
        """What it was made from, as one word for a shell."""
        return self._text

    @property
    def zone(self) -> str:
        """The name of its time zone."""
        return "UTC" if self._every else self._zone_name

    def next(self, after: datetime) -> datetime:
        """The first tick after that instant, in UTC."""
        return moment(self.around(instant(after))[1])

    def previous(self, before: datetime) -> datetime:
        """The last tick before that instant, in UTC."""
        return moment(self.around(math.nextafter(instant(before), -math.inf))[0])

    def nearest(self, now: datetime) -> datetime:
        """The tick nearest to that instant, in UTC: who is up to half an interval early or late means the same one."""
        return moment(self.nearest_to(instant(now)))

    # -- for leaderlock's own: instants as seconds since 1970, rounded to milliseconds

    def nearest_to(self, now: float) -> float:
        before, after = self.around(now)
        return before if now - before <= after - now else after

    def around(self, now: float) -> tuple[float, float]:
        """The last tick that is not after ``now``, and the first that is."""
        around = self._around
        if not around[0] <= now < around[1]:
            # Replaced as a whole: threads that race for it find one answer or the other, both true.
            self._around = around = self._look_around(now)
        return around

    def _look_around(self, now: float) -> tuple[float, float]:
        if self._line is not None:
            return self._line.around(now)
        number = math.floor(now / self._every)
        # In whole numbers: the last bit of a product of floats is another on 32-bit x86, and rounds half a millisecond.
        above, below = self._every.as_integer_ratio()
        ticks = [round((2000 * one * above // below + 1) // 2 / 1000, 3) for one in range(number - 1, number + 3)]
        here = bisect_right(ticks, now)
        return ticks[here - 1], ticks[here]


When: TypeAlias = str | float | timedelta
"""What a :class:`Schedule` is made from."""


def _read(when: object) -> tuple[float, str]:
    """An interval, or an expression of five fields."""
    if isinstance(when, timedelta):
        return _interval(when.total_seconds()), ""
    if isinstance(when, int | float) and not isinstance(when, bool):
        return _interval(float(when)), ""
    if not isinstance(when, str):
        raise TypeError(f"a schedule is a cron expression or a number of seconds, not {type(when).__name__}")
    text = when.strip()
    if len(text) > LONGEST:
        raise ValueError(f"a schedule has at most {LONGEST} characters, and this one {len(text)}")
    if text.lower().startswith("@every"):
        return _interval(_duration(text)), ""
    if text.startswith("@"):
        return 0.0, _named(text)
    fields = text.split()
    if len(fields) in (6, 7):
        raise ValueError(
            f"{when!r} has {len(fields)} fields: libraries disagree whether seconds come first or last, so five are "
            "read (minute, hour, day of month, month, day of week); for seconds use an interval, such as '@every 10s'"
        )
    if len(fields) != 5:
        raise ValueError(
            f"{when!r} is no cron expression: five fields are read (minute, hour, day of month, month, day of week), "
            f"here are {len(fields)}; '@daily' and '@every 90s' are understood too"
        )
    return 0.0, text


def _named(text: str) -> str:
    expression = NAMED.get(text.lower())
    if expression is None:
        why = " (a start is no instant on which hosts could agree)" if text.lower() == "@reboot" else ""
        raise ValueError(f"{text!r} is not a schedule{why}: there are {', '.join(NAMED)} and '@every 90s'")
    return expression


def _interval(seconds: float) -> float:
    if not SHORTEST <= seconds < _FIFTY_YEARS:
        raise ValueError(
            f"an interval of {seconds:g} s cannot be: use at least {SHORTEST:g} s, and less than fifty years"
        )
    return seconds


def _duration(text: str) -> float:
    words = text[len("@every") :].strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", words)
    if not parts or "".join(number + unit for number, unit in parts) != words:
        raise ValueError(f"{text!r} is no interval: write '@every 90s', '@every 5m' or '@every 1h30m'")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _read_zone(zone: object) -> tuple[tzinfo, str]:
    if isinstance(zone, tzinfo):
        return zone, str(zone)
    if not isinstance(zone, str):
        raise TypeError(f"a time zone is a name such as 'Europe/Berlin', not {type(zone).__name__}")
    if zone in _UTC:
        return UTC, "UTC"
    try:
        return ZoneInfo(zone), zone
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"there is no time zone {zone!r} here: use a name of the IANA database, such as 'Europe/Berlin' or 'UTC' "
            "(a system without that database needs `pip install tzdata`)"
        ) from None


def instant(moment: datetime) -> float:
    """Seconds since 1970."""
    if not isinstance(moment, datetime):
        raise TypeError(f"an instant is a datetime, not {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise ValueError(f"{moment.isoformat()} has no time zone, so it is no instant: datetime.now(UTC) has one")
    return moment.timestamp()
