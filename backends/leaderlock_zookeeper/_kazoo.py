"""The border with kazoo, which has no types: all that is used of it, written down once.

Only the asynchronous half is used: kazoo's synchronous calls have no time-out of their own, and wait without end while
the connection is away.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from inspect import signature
from typing import Any, Final, NamedTuple, Protocol, cast

from leaderlock.errors import BackendNotInstalled

__all__ = [
    "Acl",
    "Client",
    "Event",
    "Request",
    "Result",
    "Transaction",
    "check_tls",
    "check_version",
    "digest_acl",
    "end",
    "exceptions",
    "hang_up",
    "is_client",
    "new_client",
    "oldest_request",
    "patience",
    "rights",
    "send",
    "start",
    "timed_out",
]


def _module(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise BackendNotInstalled(
            f"the driver for ZooKeeper needs kazoo ({error}); `pip install 'leaderlock[zookeeper]'`"
        ) from error


def check_version(version: str) -> None:
    """Raise ``BackendNotInstalled`` where this kazoo lacks what is used below.

    Before 2.10 its thread dies of an error that it does not know, such as that of a quota, and no call is answered.
    """
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < (2, 10):
        raise BackendNotInstalled(
            f"kazoo {version} is too old; 2.10 or later is needed: `pip install 'leaderlock[zookeeper]'`"
        )


check_version(_module("kazoo.version").__version__)
exceptions: Final[Any] = _module("kazoo.exceptions")
_OPEN: Final[Any] = _module("kazoo.security").OPEN_ACL_UNSAFE
timed_out: Final[Any] = _module("kazoo.handlers.threading").KazooTimeoutError


class Event(NamedTuple):
    """What a watch tells; the type ``NONE`` stands for a connection that was lost, and all its watches with it."""

    type: str
    state: str
    path: str


class Result(Protocol):
    """An answer under way."""

    @property
    def exception(self) -> BaseException | None: ...
    def get(self, block: bool = True, timeout: float | None = None) -> Any: ...
    def rawlink(self, callback: Callable[[Result], None]) -> None: ...


class Acl(Protocol):
    """Who may do what with a node."""

    perms: int
    id: Any


class Request(Protocol):
    """What kazoo sends, and how it understands the answer."""

    @property
    def type(self) -> int: ...
    def serialize(self) -> bytes: ...
    def deserialize(self, reply: bytes, offset: int) -> object: ...


class Transaction(Protocol):
    """Writes that are applied together or not at all."""

    def create(self, path: str, value: bytes = b"") -> None: ...
    def delete(self, path: str, version: int = -1) -> None: ...
    def set_data(self, path: str, value: bytes, version: int = -1) -> None: ...
    def commit_async(self) -> Result: ...


class Client(Protocol):
    """What is used of a ``KazooClient``."""

    last_zxid: int
    chroot: str
    default_acl: Sequence[Acl] | None

    @property
    def connected(self) -> bool: ...
    @property
    def client_id(self) -> tuple[int, bytes] | None: ...
    @property
    def client_state(self) -> str: ...
    def add_listener(self, listener: Callable[[str], bool | None]) -> None: ...
    def remove_listener(self, listener: Callable[[str], bool | None]) -> None: ...
    def start_async(self) -> object: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
    def create_async(self, path: str, value: bytes = b"") -> Result: ...
    def set_async(self, path: str, value: bytes, version: int = -1) -> Result: ...
    def get_async(self, path: str) -> Result: ...
    def get_children_async(self, path: str) -> Result: ...
    def exists_async(self, path: str, watch: Callable[[Event], None] | None = None) -> Result: ...
    def transaction(self) -> Transaction: ...


def is_client(client: object) -> bool:
    """Whether it has what is used below of a ``KazooClient``, the private part included."""
    used = ("_call", "_connection", "_pending", "_session_timeout", "add_listener", "handler")
    return all(hasattr(client, name) for name in used)


def new_client(hosts: str, *, reconnect: Mapping[str, object], **settings: object) -> Client:
    """A client of our own, not started.

    kazoo tries to connect to each server for as long as a session lasts, which is longer than most calls do: one host
    without power would fail them. ZooKeeper's own client shares that time among the servers, and so does kazoo for the
    greeting that follows.
    """
    handler: Any = _module("kazoo.handlers.threading").SequentialThreadingHandler()
    connect, servers = handler.create_connection, hosts.count(",") + 1

    def connect_in_time(*, timeout: float, **others: object) -> object:
        return connect(timeout=timeout / servers, **others)

    handler.create_connection = connect_in_time
    # That of this moment for both, or kazoo refuses the pair: gevent may have patched it between two of its imports.
    handler.sleep_func = time.sleep
    retry = {**reconnect, "sleep_func": time.sleep}
    client: Client = _module("kazoo.client").KazooClient(
        hosts=hosts, handler=handler, connection_retry=retry, **settings
    )
    return client


def start(client: Client) -> None:
    """Have it connect, and go on trying. Where there are no threads or descriptors for that, nothing of it is left."""
    try:
        client.start_async()
    except (OSError, RuntimeError):
        # Of its two threads, one may be there, of which kazoo would know nothing.
        cast(Any, client).handler._running = True
        end(client)
        raise


def end(client: Client) -> None:
    """Stop it, and give back what it used."""
    # Protects whoever ends it from a library that finds its sockets closed already, or not made yet.
    with contextlib.suppress(Exception):
        client.stop()
    with contextlib.suppress(Exception):
        client.close()


def send(client: Client, request: Request) -> Result:
    """Hand over a request of our own making. kazoo has no public name for that, and the same private one since 2.0."""
    internals: Any = client
    result: Result = internals.handler.async_result()
    internals._call(request, result)
    return result


def oldest_request(client: Client) -> object | None:
    """What was sent, and waits for its answer the longest. This and the next two have no public names; both ends of our
    range have them under these."""
    internals: Any = client
    try:
        return cast(object, internals._pending[0])
    except IndexError:
        return None


def patience(client: Client) -> float:
    """For how many seconds kazoo lets a server be silent: two thirds of the session that it asks for."""
    internals: Any = client
    return float(internals._session_timeout) / 1000 * 2 / 3


def hang_up(client: Client) -> None:
    """Have kazoo's thread find the connection ended, and look for another server; the session goes on there."""
    internals: Any = client
    link: socket.socket | None = internals._connection._socket
    with contextlib.suppress(OSError):
        if link is not None:
            link.shutdown(socket.SHUT_RDWR)


def rights(client: Client) -> Sequence[Acl]:
    """What is written to a new node, as kazoo itself would."""
    return client.default_acl or _OPEN


def check_tls() -> None:
    """Raise ``BackendNotInstalled`` where this kazoo would take anybody's certificate for the server's."""
    if "check_hostname" not in signature(_module("kazoo.client").KazooClient).parameters:
        raise BackendNotInstalled(
            f"kazoo {_module('kazoo.version').__version__} cannot check the name in a certificate, so TLS needs 2.11 or"
            " later: `pip install 'kazoo>=2.11'`"
        )


def digest_acl(user: str, password: str) -> object:
    """The right of this one user to everything."""
    return _module("kazoo.security").make_digest_acl(user, password, all=True)
