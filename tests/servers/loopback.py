"""What servers on loopback have in common: ports that are free, and waiting for what will happen."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["PATIENCE", "free_port", "free_ports", "is_taken", "until"]

PATIENCE = 40.0
T = TypeVar("T")


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now. Another process may be faster; a server that cannot start says so."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


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


def until(condition: Callable[[], T], what: str) -> T:
    """The first true answer of ``condition``; fails the test where none comes."""
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"did not happen within {PATIENCE:g} s: {what}"
        threading.Event().wait(0.01)
    return answer
