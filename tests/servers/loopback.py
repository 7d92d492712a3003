"""What servers on loopback have in common: ports that are free, and waiting for what will happen."""

from __future__ import annotations

import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TypeVar

__all__ = ["PATIENCE", "free_port", "free_ports", "host_away", "is_taken", "until"]

PATIENCE = 40.0
T = TypeVar("T")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Another process may be faster; a server that cannot start says so.

    Below those that the kernel gives to outgoing connections, and a container's resolver to itself.
    """
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            one = stack.enter_context(socket.socket())
            with suppress(OSError):
                one.bind(("127.0.0.1", 10_000 + secrets.randbelow(18_000)))
                ports.append(one.getsockname()[1])
        return ports


def free_port() -> int:
    return free_ports(1)[0]


def is_taken(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


@contextmanager
def host_away() -> Iterator[int]:
    """A port at which no attempt to connect is answered, as where a host has no power: the queue there is full."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def until(condition: Callable[[], T], what: str) -> T:
    """The first true answer of ``condition``; fails the test where none comes."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"did not happen within {PATIENCE:g} s: {what}"
        threading.Event().wait(0.01)
    return answer
