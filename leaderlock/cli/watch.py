"""Show who leads NAME now, and again whenever that changes, a line each, until interrupted.

Like `status` it takes no part in the election.

examples:
  leaderlock watch nightly-report
  leaderlock watch nightly-report --json | while read -r line; do notify "$line"; done
"""

from __future__ import annotations

import argparse

from leaderlock.cli._options import Options, add_name, open_client
from leaderlock.cli._talk import Talk

__all__ = ["add_arguments", "command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)


def command(options: Options, talk: Talk) -> int:
    with open_client(options) as client:
        for term in client.election(options.name).observe():
            if talk.as_json:
                leader = None if term is None else {**term.holder._asdict(), "token": term.token}
                talk.data_json({"name": options.name, "leader": leader})
            else:
                talk.data("nobody leads" if term is None else f"{term.holder}, token {term.token}")
            talk.flush()
    return 0
