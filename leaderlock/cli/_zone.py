"""The time zone by which this host's cron fires."""

from __future__ import annotations

import os
from typing import Final

from leaderlock.cli._talk import Usage

__all__ = ["local_zone"]

_LINK: Final = "/etc/localtime"
_FOLDER: Final = "/zoneinfo/"


def local_zone() -> str:
    """Its name in the IANA database; UTC, where none is set.

    ``$CRON_TZ`` and ``$TZ`` come first, as in cron and in containers; then what ``/etc/localtime`` is a link to.

    Raises:
        Usage: a variable is set and names no zone. Passed over, the schedule would be read hours off, without a word.
    """
    for variable in ("CRON_TZ", "TZ"):
        value = os.environ.get(variable, "")
        if named := value.removeprefix(":"):
            return _systems() if named == _LINK else _checked(_name_of(named) if named[0] == "/" else named, variable)
    return _systems()


def _checked(name: str, variable: str) -> str:
    from leaderlock import Schedule

    try:
        Schedule("* * * * *", zone=name)
    except ValueError as error:
        raise Usage(
            f"{variable}={os.environ[variable]!r} names no time zone of this host, by which SCHEDULE could be read (a "
            "rule such as 'CET-1CEST' names none): say --zone, such as --zone Europe/Berlin"
        ) from error
    return name


def _systems() -> str:
    if named := _name_of(_LINK):
        return named
    try:
        with open("/etc/timezone", encoding="ascii") as file:
            return file.readline().strip() or "UTC"
    except (OSError, ValueError):
        return "UTC"


def _name_of(path: str) -> str:
    """What a file, or what it is a link to, is called in the time zone database; nothing, if it is not there."""
    for place in (path, os.path.realpath(path)):
        if _FOLDER in place:
            return place.rpartition(_FOLDER)[2]
    return ""
