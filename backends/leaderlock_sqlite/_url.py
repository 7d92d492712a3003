"""Which file a URL means.

``sqlite:///relative.db`` is relative to the working directory at the time of opening, ``sqlite:////absolute.db`` is
absolute (the convention of SQLAlchemy), and bare ``sqlite:`` is one file per user, in the state directory.
"""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path
from urllib.parse import unquote

__all__ = ["names_no_file", "path_of_url"]

_NAMED = "sqlite:///relative/path.db or sqlite:////absolute/path.db"
_FORMS = f"use {_NAMED}, or sqlite: for this user's own file"


def names_no_file(url: str) -> bool:
    """Whether the URL leaves the choice of the file to us."""
    return url.partition(":")[2] in ("", "//", "///")


def path_of_url(url: str) -> Path:
    """The absolute path that ``url`` means. Nothing is opened or created."""
    scheme, colon, rest = url.partition(":")
    if scheme.lower() != "sqlite" or not colon:
        raise ValueError(f"{url!r} is not a sqlite URL; {_FORMS}")
    if re.search(r"[?#]", rest):
        raise ValueError(f"{url!r} has a query or a fragment, and there are none for sqlite; write ? as %3F, # as %23")
    if names_no_file(url):
        return _state_file()
    if not rest.startswith("///"):
        raise ValueError(f"{url!r} names {_first_part(rest)!r} where a host would stand, and sqlite has none; {_FORMS}")
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        raise ValueError(f"{url!r} has a % that is not followed by two hexadecimal digits; write % itself as %25")
    name = unquote(rest[3:], errors="strict")
    if name.startswith(":memory:"):
        raise ValueError(f"{url!r} would be a store of this process alone, which can elect nobody; name a file")
    if "\0" in name or name.endswith("/"):
        raise ValueError(f"{url!r} does not name a file; {_FORMS}")
    try:
        return Path(os.path.abspath(name))
    except FileNotFoundError as error:
        raise ValueError(
            f"{url!r} is relative to the working directory, and that was deleted; change to one that is there, or name"
            " an absolute path: sqlite:////absolute/path.db"
        ) from error


def _first_part(rest: str) -> str:
    return rest.removeprefix("//").split("/", 1)[0] if rest.startswith("//") else rest


def _state_file() -> Path:
    # The XDG rule: a relative path in the variable is to be ignored. And one that is empty is not set: a process that
    # believed it would have a file of its own, and lead alone.
    configured = os.environ.get("XDG_STATE_HOME", "")
    base = Path(configured) if os.path.isabs(configured) else _home() / ".local" / "state"
    return base / "leaderlock" / "leaderlock.db"


def _home() -> Path:
    home = os.environ.get("HOME", "")
    try:
        return Path(home) if os.path.isabs(home) else Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise ValueError(f"this user has no home directory to keep the file of 'sqlite:' in; use {_NAMED}") from error
