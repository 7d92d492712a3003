"""Whether there are threads with which leaderlock can work: its own, or greenlets in their place.

It works under gevent's ``patch_all()``. What else there is of greenlets freezes the whole process at the first wait, or
leaves threads deaf to each other, and says nothing; so it is refused with words, while that can be done. And so is an
isolated subinterpreter, where the first lease would break for want of a thread.
"""

from __future__ import annotations

import _thread
import sys
from collections.abc import Callable
from typing import Any

from leaderlock.errors import UsageError

__all__ = ["check_patches", "threads_now"]


def threads_now() -> object:
    """What starts a thread here and now; another one after gevent's or eventlet's patches."""
    return _thread.start_new_thread


def check_patches(made_with: object) -> None:
    """Refuse what cannot work. ``made_with``: :func:`threads_now` when that which is going to wait was made."""
    if made_with is not threads_now():
        raise UsageError(
            "threads were patched after this client was opened, and its first wait would freeze this process: "
            "call gevent.monkey.patch_all() before connect()"
        )
    can_be_daemons: Callable[[], bool] | None = getattr(_thread, "daemon_threads_allowed", None)  # since Python 3.12
    if can_be_daemons is not None and not can_be_daemons():
        raise UsageError(
            "an isolated subinterpreter cannot start the threads that renew leases: "
            "connect in the main interpreter, or in a process of its own"
        )
    # Asked of what is loaded already: whoever uses neither does not pay for them.
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading") is not monkey.is_module_patched("queue"):
        raise UsageError(
            "gevent patched either threads or queues, and leaderlock's threads would not hear each other: "
            "call gevent.monkey.patch_all() without options, or with thread=False and queue=False"
        )
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        raise UsageError("leaderlock does not work under eventlet's patches: use threads, or gevent")
