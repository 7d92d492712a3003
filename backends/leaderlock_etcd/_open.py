"""From a URL, or from a client that the user has, to a backend. grpcio is imported only then."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from leaderlock.backend import Backend
from leaderlock.errors import BackendNotInstalled
from leaderlock_etcd._url import DEFAULT_PREFIX, check_prefix, place_of_url

if TYPE_CHECKING:
    from leaderlock_etcd._lines import EtcdClient

__all__ = ["from_client", "open_backend"]


def open_backend(url: str, *, namespace: str, **options: object) -> Backend:
    """A backend on the cluster that ``url`` names; ``ca``, ``cert`` and ``key`` may be given as options, too.

    The servers are not asked yet.
    """
    place = place_of_url(url, options)
    _check_installed()
    from leaderlock_etcd._backend import EtcdBackend
    from leaderlock_etcd._caller import Login
    from leaderlock_etcd._lines import Own

    login = Login(user=place.user, password=place.password)
    source = Own(place.targets, place.tls)
    return EtcdBackend(source, login, prefix=place.prefix, namespace=namespace, shown=place.shown)


def from_client(client: EtcdClient, *, namespace: str = "default", prefix: str = DEFAULT_PREFIX) -> Backend:
    """A backend that talks over the gRPC channel of a client that you have, as ``etcd3.client()`` returns.

    ``client.channel`` and ``client.metadata`` (the headers with its token) are read at every call; nothing else of it
    is used, and it is never closed. Which server is asked, and a token that has expired, are its own affair.
    """
    for name in ("channel", "metadata"):
        if not _has(client, name):
            raise TypeError(f"{type(client).__name__} has no {name!r}: hand in an etcd client with a gRPC channel")
    _check_installed()
    from leaderlock_etcd._backend import EtcdBackend
    from leaderlock_etcd._caller import Login
    from leaderlock_etcd._lines import Theirs

    shown = f"etcd ({type(client).__module__}.{type(client).__qualname__})"
    login = Login(client=client)
    return EtcdBackend(Theirs(client, shown), login, prefix=check_prefix(prefix), namespace=namespace, shown=shown)


def _has(client: object, name: str) -> bool:
    try:
        return hasattr(client, name)
    except Exception:
        # Protects the caller from a client that has it, and cannot give it just now: each call asks anew.
        return True


def _check_installed() -> None:
    needed = "`pip install 'leaderlock[etcd]'`"
    try:
        version: str = import_module("grpc").__version__
    except ImportError as error:
        raise BackendNotInstalled(f"etcd needs grpcio ({error}); {needed}") from error
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < (1, 60):
        raise BackendNotInstalled(f"grpcio {version} is too old; 1.60 or later is needed: {needed}")
