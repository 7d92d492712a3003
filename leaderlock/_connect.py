"""From a URL to a client."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final, NamedTuple

from leaderlock._backoff import WaitStrategy, check_back_off
from leaderlock._client import Client
from leaderlock._clock import Clock, SteadyClock
from leaderlock._locks import LateLock
from leaderlock._naming import check_namespace
from leaderlock._protocol.clocks import Timing
from leaderlock._protocol.records import Holder
from leaderlock._terms import Terms
from leaderlock.backend import Backend
from leaderlock.errors import BackendNotInstalled

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from leaderlock._aio.client import AsyncClient

__all__ = [
    "GROUP",
    "Opening",
    "check_client",
    "connect",
    "default_client",
    "default_namespace",
    "drivers",
    "prepare",
    "threads_client",
]

GROUP: Final = "leaderlock.backends"
VARIABLE: Final = "LEADERLOCK_URL"
LONGEST_LABEL: Final = 200

_EXTRAS: Final = {
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    **{
        f"{kind}+{how}": "redis" for how in ("sentinel", "cluster") for kind in ("redis", "rediss", "valkey", "valkeys")
    },
    "zk": "zookeeper",
    "zookeeper": "zookeeper",
    "etcd": "etcd",
    "etcds": "etcd",
}

OURS: Final = {"sqlite": "sqlite", **_EXTRAS}
"""Our own drivers' packages, without their prefix. They are registered like everybody's, and a test compares the two;
but to read what is registered takes 40 ms, which is too much for a line of a crontab."""


def connect(
    url: str | Backend | None = None,
    *,
    ttl: float = 15.0,
    namespace: str | None = None,
    longest: float = 30.0,
    renew_every: float | None = None,
    label: str = "",
    back_off: WaitStrategy | None = None,
    clock: Clock | None = None,
    **options: object,
) -> Client:
    """Return a client of the store at ``url``: one session, one thread, any number of leases.

    No server is asked before something is sought. All durations are in seconds.

    Args:
        url: ``sqlite:///path``, ``sqlite:`` (this host's processes of this user), or another driver's; ``None``:
            ``$LEADERLOCK_URL``. A :class:`Backend` of your own is taken too, and closed with the client; it cannot be
            used in a forked child.
        ttl: how long a lease outlives its last renewal: how long a dead leader is waited for, and how long a live
            one may be stopped before it is replaced. Longer than your longest pause.
        namespace: keeps tenants of one store apart; ``None``: ``$LEADERLOCK_NAMESPACE``, or ``default``, which all
            share who name none.
        longest: the longest ttl of any client of this namespace; all clients must say the same.
        renew_every: how often the session is renewed; a third of the ttl if not given, at most half of it.
        label: who this is, for people, in ``leaderlock status``; the program's name if not given. Printable characters.
        back_off: a ``tenacity.wait_*`` object that says how long to wait after a failure; cut to a quarter of the ttl.
        clock: for tests: :class:`leaderlock.testing.ManualClock`.
        options: the driver's own.

    Raises:
        ValueError, TypeError: the URL, a duration or an option cannot work; the text says what can.
        BackendNotInstalled: the driver's client library is missing; the text says what to install.
        BackendRefused: the store at that URL cannot be used (damaged, read-only, not ours…).
        UsageError: eventlet, or half of gevent, has taken the place of threads, so that the first wait would not end;
            or this is an isolated subinterpreter, where the threads that renew cannot start.
    """
    opening = prepare(
        url,
        ttl=ttl,
        namespace=namespace,
        longest=longest,
        renew_every=renew_every,
        label=label,
        back_off=back_off,
        clock=clock,
        options=options,
    )
    return opening.open()


class Opening(NamedTuple):
    """A client that was asked for, checked as far as that goes without I/O."""

    url: str | Backend
    terms: Terms
    clock: Clock
    namespace: str
    options: dict[str, object]

    def open(self) -> Client:
        return Client(_opener(self.url, self.namespace, self.options), self.terms, self.clock, namespace=self.namespace)


def prepare(
    url: str | Backend | None,
    *,
    ttl: float,
    namespace: str | None,
    longest: float,
    renew_every: float | None,
    label: str,
    back_off: WaitStrategy | None,
    clock: Clock | None,
    options: dict[str, object],
) -> Opening:
    """For leaderlock's other faces: what :func:`connect` checks before it opens anything."""
    if clock is not None and not all(callable(getattr(clock, part, None)) for part in ("boot", "now", "wait")):
        raise TypeError(f"clock is a leaderlock.testing.ManualClock, for tests, not {clock!r}")
    steady = clock or SteadyClock()
    timing = Timing(ttl=ttl, rho=steady.rho, longest=longest, renew_every=renew_every)
    check_back_off(back_off)
    if not isinstance(label, str):
        raise TypeError(f"label is a string, not {type(label).__name__}")
    if not label.isprintable():
        bad = next(character for character in label if not character.isprintable())
        raise ValueError(f"label has the unprintable character {bad!r}; use printable ones only: {label!r}")
    if len(label) > LONGEST_LABEL:
        raise ValueError(f"label has {len(label)} characters; use at most {LONGEST_LABEL}: each renewal writes it")
    terms = Terms(timing=timing, holder=_this_process(label), back_off=back_off)
    if namespace is None:
        namespace = default_namespace()
    store = url if isinstance(url, Backend) else _url(url)
    if isinstance(url, Backend) and options:
        raise TypeError(f"a backend is taken as it is; these options go where it is made: {', '.join(options)}")
    return Opening(store, terms, steady, check_namespace(namespace), options)


def default_namespace() -> str:
    """The namespace of whoever names none."""
    return os.environ.get("LEADERLOCK_NAMESPACE") or "default"


def _opener(url: str | Backend, namespace: str, options: dict[str, object]) -> Callable[[], Backend]:
    if isinstance(url, Backend):
        return lambda: url
    open_backend = _driver(url.partition(":")[0])
    return lambda: open_backend(url, namespace=namespace, **options)


def _url(url: object) -> str:
    if url is None:
        url = os.environ.get(VARIABLE) or None
    if url is None:
        raise ValueError(
            f"no store is given: pass a URL or set {VARIABLE}. `sqlite:` serves the processes of this host; for "
            "several hosts name a store that they share, such as redis://…, zk://… or etcd://…. (There is no default, "
            "because a private file in each container would elect one leader per container)"
        )
    if not isinstance(url, str):
        raise TypeError(
            f"a store is given by a URL or a Backend, not {type(url).__name__}; a client of a store is lent through "
            "its driver, as by leaderlock_redis.from_client(client)"
        )
    if url != url.strip() or not url.isprintable():
        # Without the URL, which may have a password. A store of another name would be another leader.
        raise ValueError(
            "the URL begins or ends with white space, or has a character that cannot be printed (from a file whose line"
            f" ends? from {VARIABLE}?); take it out, or percent-encode it if it is meant"
        )
    if ":" not in url:
        raise ValueError(f"{url!r} is not a URL: for a file of this host say 'sqlite:///{url}'")
    return url


def _driver(scheme: str) -> Callable[..., Backend]:
    if scheme in OURS:
        module = f"leaderlock_{OURS[scheme]}"
        try:
            ours: Callable[..., Backend] = import_module(module).open_backend
        except ImportError as error:
            if error.name != module:
                raise _not_importable(scheme, error) from error
        else:
            return ours
    found = drivers()
    if scheme not in found:
        if scheme in OURS:
            raise BackendNotInstalled(
                f"leaderlock_{OURS[scheme]}, the driver for {scheme}: URLs, is not here, though it is installed with "
                "leaderlock: whatever copied or froze this program must be told to take it along"
            )
        known = ", ".join(sorted(f"{name}:" for name in {*OURS, *found}))
        raise ValueError(f"no driver for {scheme!r}: URLs; there are {known} (others come as packages)")
    entry = found[scheme]
    try:
        opener: Callable[..., Backend] = getattr(import_module(entry.module), entry.attr)
    except ImportError as error:
        raise _not_importable(scheme, error) from error
    return opener


def _not_importable(scheme: str, error: ImportError) -> BackendNotInstalled:
    extra = _EXTRAS.get(scheme, scheme)
    return BackendNotInstalled(
        f"the driver for {scheme}: URLs cannot be imported ({error}); `pip install 'leaderlock[{extra}]'`"
    )


def drivers() -> dict[str, EntryPoint]:
    """The installed drivers, by the scheme of their URLs: ours are registered the way third parties' are."""
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _this_process(label: str) -> Holder:
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "python"
    return Holder(host=socket.gethostname(), pid=os.getpid(), program=program, label=label)


def check_client(client: object) -> None:
    """For decorators: refuse what is no client, and say what is."""
    if client is None or isinstance(client, Client):
        return
    from leaderlock._aio.client import AsyncClient  # whoever has one has paid for asyncio

    if not isinstance(client, AsyncClient):
        raise TypeError(f"client is what connect() returns, not {type(client).__name__}")


def threads_client(client: Client | AsyncClient | None, function: object) -> Client | None:
    """For decorators, around what is no coroutine function: a client whose calls block.

    Raises:
        TypeError: it is one for asyncio.
    """
    if client is None or isinstance(client, Client):
        return client
    raise TypeError(f"an AsyncClient serves coroutine functions; for {function!r} take leaderlock.connect()'s client")


_default_lock: Final = LateLock()
_default: list[Client] = []


def default_client() -> Client:
    """The client that decorators use when none is given: one a process, at ``$LEADERLOCK_URL``, opened on first use."""
    with _default_lock.here():
        if not _default:
            _default.append(connect())
        return _default[0]
