"""List the installed drivers, by the scheme of their URLs; and, if a store is named, what that store promises.

No server is asked: this is what the driver assumes under the settings in the URL.

examples:
  leaderlock backends
  leaderlock backends --url sqlite:
"""

from __future__ import annotations

import argparse
import os

from leaderlock.cli._options import Options
from leaderlock.cli._store import open_client
from leaderlock.cli._talk import Exit, Talk

__all__ = ["add_arguments", "command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def command(options: Options, talk: Talk) -> int:
    from leaderlock._connect import drivers

    found = [
        {"scheme": scheme, "driver": entry.value, "package": entry.dist.name if entry.dist is not None else ""}
        for scheme, entry in sorted(drivers().items())
    ]
    traits = _traits(options)
    if talk.as_json:
        talk.data_json({"drivers": found, "traits": traits})
        return Exit.OK
    rows = [[f"{row['scheme']}:", row["driver"], row["package"]] for row in found]
    talk.table([["SCHEME", "DRIVER", "PACKAGE"], *rows])
    if traits is not None:
        talk.data("")
        talk.table([["TRAIT", "VALUE"], *([trait, str(value)] for trait, value in traits.items())])
    return Exit.OK


def _traits(options: Options) -> dict[str, object] | None:
    if not (options.url or os.environ.get("LEADERLOCK_URL")):
        return None
    with open_client(options, serves_memory=True) as client:
        return client.traits._asdict()
