"""From a URL to a client."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Final

from leaderlock._backoff import WaitStrategy
from leaderlock._client import Client
from leaderlock._clock import Clock, SteadyClock
from leaderlock._engine import Terms
from leaderlock._naming import check_namespace
from leaderlock._protocol.clocks import Timing
from leaderlock._protocol.records import Holder
from leaderlock.backend import Backend
from leaderlock.errors import BackendNotInstalled

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "connect", "default_client", "default_namespace", "drivers"]

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
    wait: WaitStrategy | None = None,
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
        wait: a ``tenacity.wait_*`` object that says how long to wait after a failure; cut to a quarter of the ttl.
        clock: for tests: :class:`leaderlock.testing.ManualClock`.
        options: the driver's own.

    Raises:
        ValueError, TypeError: the URL, a duration or an option cannot work; the text says what can.
        BackendNotInstalled: the driver's client library is missing; the text says what to install.
        BackendRefused: the store at that URL cannot be used (damaged, read-only, not ours…).
    """
    _check_renew_every(renew_every)
    if clock is not None and not all(callable(getattr(clock, part, None)) for part in ("boot", "now", "wait")):
        raise TypeError(f"clock is a leaderlock.testing.ManualClock, for tests, not {clock!r}")
    steady = clock or SteadyClock()
    timing = Timing(ttl=ttl, rho=steady.rho, longest=longest, renew_every=renew_every or 0.0)
    if wait is not None and not callable(wait):
        raise TypeError(f"wait is one of tenacity's wait_* objects, not {type(wait).__name__}")
    if not isinstance(label, str):
        raise TypeError(f"label is a string, not {type(label).__name__}")
    if not label.isprintable():
        bad = next(character for character in label if not character.isprintable())
        raise ValueError(f"label has the unprintable character {bad!r}; use printable ones only: {label!r}")
    if len(label) > LONGEST_LABEL:
        raise ValueError(f"label has {len(label)} characters; use at most {LONGEST_LABEL}: each renewal writes it")
    terms = Terms(timing=timing, holder=_this_process(label), wait=wait)
    if namespace is None:
        namespace = default_namespace()
    opener = _opener(url, check_namespace(namespace), options)
    return Client(opener, terms, steady, namespace=namespace)


def _check_renew_every(renew_every: object) -> None:
    wanted = f"renew_every ({renew_every!r}) is a number of seconds above zero; None stands for ttl/3"
    if renew_every is None:
        return
    if isinstance(renew_every, bool) or not isinstance(renew_every, int | float):
        raise TypeError(wanted)
    if not renew_every > 0:
        raise ValueError(wanted)


def default_namespace() -> str:
    """The namespace of whoever names none."""
    return os.environ.get("LEADERLOCK_NAMESPACE") or "default"


def _opener(url: str | Backend | None, namespace: str, options: dict[str, object]) -> Callable[[], Backend]:
    if isinstance(url, Backend):
        if options:
            raise TypeError(f"a backend is taken as it is; these options go where it is made: {', '.join(options)}")
        backend = url
        return lambda: backend
    place = _url(url)
    open_backend = _driver(place.partition(":")[0])
    return lambda: open_backend(place, namespace=namespace, **options)


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
        raise TypeError(f"a store is given by a URL or a Backend, not {type(url).__name__}")
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
        known = ", ".join(sorted(f"{name}:" for name in found))
        extra = _EXTRAS.get(scheme)
        if extra is not None:
            raise BackendNotInstalled(f"no driver for {scheme}: URLs is installed; `pip install 'leaderlock[{extra}]'`")
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


_default_lock = threading.Lock()
_default: list[Client] = []


def default_client() -> Client:
    """The client that decorators use when none is given: one a process, at ``$LEADERLOCK_URL``, opened on first use."""
    with _default_lock:
        if not _default:
            _default.append(connect())
        return _default[0]


def _forget_lock() -> None:
    global _default_lock  # noqa: PLW0603 - in a forked child, another thread of the parent's may have held it
    _default_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)
