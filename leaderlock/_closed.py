"""What is owed to who is still at work with a client that was closed."""

from __future__ import annotations

import threading
from typing import Final

from leaderlock.errors import UsageError

__all__ = ["closed", "end_quietly"]

_at_end: Final = threading.Event()


def end_quietly() -> None:
    """The interpreter ends, and clients are closed by that, not by anybody who should have known better."""
    _at_end.set()


def closed(text: str = "this client is closed: open another with connect()") -> UsageError | SystemExit:
    """What to raise. Python would stop a daemon thread that is at work at the interpreter's end a moment later, without
    a word: so it ends like that here, which ``SystemExit`` does in a thread.

    Not so in threads that Python did not start (greenlets too): who started them may take that for the program's end.
    """
    thread = threading.current_thread()
    is_foreign = isinstance(thread, threading._DummyThread)  # pyright: ignore[reportPrivateUsage] - there is no other way
    if _at_end.is_set() and thread.daemon and not is_foreign:
        return SystemExit()
    return UsageError(text)
