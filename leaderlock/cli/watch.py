"""Show who leads NAME now, and again whenever that changes, a line each, until interrupted.

Like `status` it takes no part in the election.

examples:
  leaderlock watch nightly-report
  leaderlock watch nightly-report --json | while read -r line; do notify "$line"; done
"""

from __future__ import annotations

import argparse
import select
import threading
from typing import TYPE_CHECKING

from leaderlock.cli._leaders import leader_as_json
from leaderlock.cli._options import Options, add_name
from leaderlock.cli._store import open_client
from leaderlock.cli._talk import Talk, plain

if TYPE_CHECKING:
    from leaderlock import Client

__all__ = ["add_arguments", "command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_name(parser)


def command(options: Options, talk: Talk) -> int:
    with open_client(options) as client:
        threading.Thread(target=_close_with_reader, args=(client,), name="watch-reader", daemon=True).start()
        for term in client.election(options.name).observe():
            if talk.as_json:
                talk.data_json({"name": options.name, "leader": None if term is None else leader_as_json(term)})
            else:
                talk.data("nobody leads" if term is None else f"{plain(term.holder)}, token {term.token}")
            talk.flush()
    return 0


def _close_with_reader(client: Client) -> None:
    """Who has seen enough (``| head -1``) is not made to wait for the next change, at which a write would fail."""
    poll = select.poll()
    poll.register(1, 0)  # that nobody reads any more is told unasked; of a file nothing ever is
    poll.poll()
    client.close()
