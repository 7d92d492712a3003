"""The time zone by which this host's cron fires."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["local_zone"]

_FOLDER: Final = "/zoneinfo/"


def local_zone() -> str:
    """Its name in the IANA database; UTC, where none is set.

    ``$CRON_TZ`` and ``$TZ`` come first, as in cron and in containers; then what ``/etc/localtime`` is a link to.
    """
    for variable in ("CRON_TZ", "TZ"):
        named = os.environ.get(variable, "").removeprefix(":")
        if named:
            return named.rpartition(_FOLDER)[2]
    _, found, named = os.path.realpath("/etc/localtime").partition(_FOLDER)
    if found:
        return named
    try:
        with open("/etc/timezone", encoding="ascii") as file:
            return file.readline().strip() or "UTC"
    except (OSError, ValueError):
        return "UTC"
