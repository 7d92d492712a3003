"""The border to grpcio, which has no types: channels, calls and streams as the rest of the driver sees them.

grpcio sends bytes; the messages are ours. A unary call is made on the caller's own thread. Nothing is retried here or
in the library: its retries are switched off, as a request must travel once or not at all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final, TypeAlias

from leaderlock.errors import BackendUnavailable
from leaderlock_etcd._url import Tls

__all__ = ["CallFailed", "Channel", "Metadata", "Stream", "dial", "open_stream", "request"]

Channel: TypeAlias = Any
Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

_grpc: Final[Any] = import_module("grpc")

_OPTIONS: Final = (
    # A connection of its own for each channel: leaving one that fell silent must not lead back to it.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Proxies of the environment are for the web; etcd is a neighbour.
    ("grpc.enable_http_proxy", 0),
    # An answer over the default of 4 MiB is thrown away after the write was done. How great one may get, we ask for.
    ("grpc.max_receive_message_length", -1),
    # A watch on a server that fell silent notices after 15 s; etcd refuses pings more often than every 5 s. Later cores
    # take the time for an answer from the third, where it is a minute unless told otherwise.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A channel that waits is only the watch's: a call that fails leaves its channel.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


_DESCRIPTORS: Final = 5
"""What gRPC begins with, and a socket."""


class CallFailed(Exception):
    """A call that brought no answer: gRPC's status, and whether the request may have left this process."""

    def __init__(self, code: str, details: str, *, was_sent: bool = True) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details
        self.was_sent = was_sent


def dial(target: str, tls: Tls | None, patience: float) -> Channel:
    """A new channel; it connects with its first call, within ``patience``.

    Raises ``BackendUnavailable`` where a certificate cannot be read, or descriptors have run out.
    """
    _make_room_for_greenlets()
    _check_descriptors()
    # For how long an attempt may take, though the name does not say so.
    options = (*_OPTIONS, ("grpc.min_reconnect_backoff_ms", int(patience * 1000)))
    if tls is None:
        return _grpc.insecure_channel(target, options=options)
    try:
        # For each channel anew, so that renewed certificates come into use.
        ca, cert, key = tls.load()
    except OSError as error:
        raise BackendUnavailable(f"a certificate cannot be read: {error}") from error
    credentials = _grpc.ssl_channel_credentials(root_certificates=ca, private_key=key, certificate_chain=cert)
    return _grpc.secure_channel(target, credentials, options=options)


def _make_room_for_greenlets() -> None:
    """Under gevent's patches the first wait of gRPC's would freeze the process, unless it is told before the channel is
    made. To be told again does no harm, and at import it may be too early: gunicorn's workers patch after a preload."""
    monkey: Any = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        import_module("grpc.experimental.gevent").init_gevent()


def _check_descriptors() -> None:
    """gRPC's first channel ends the whole process where it does not get the descriptors that it works with."""
    found: list[int] = []
    try:
        while len(found) < _DESCRIPTORS:
            found.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        raise BackendUnavailable(f"no connection can be begun: {error.strerror}") from error
    finally:
        for descriptor in found:
            os.close(descriptor)


def request(channel: Channel, method: str, message: bytes, *, timeout: float, metadata: Metadata) -> bytes:
    """Send one message and wait for the answer, at most ``timeout`` seconds."""
    try:
        answer: bytes = channel.unary_unary(method)(message, timeout=timeout, metadata=metadata)
    except _grpc.RpcError as error:
        raise _failed(error) from error
    except ValueError as error:
        raise _closed(error) from error
    return answer


class Stream:
    """The answers of a call that goes on."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._call
        except _grpc.RpcError as error:
            raise _failed(error) from error

    def cancel(self) -> None:
        """End it, from any thread; its reader gets :class:`CallFailed`. May be called twice."""
        self._call.cancel()


def open_stream(channel: Channel, method: str, messages: Iterator[bytes], *, metadata: Metadata) -> Stream:
    """Begin a call that takes and gives any number of messages. ``messages`` is read on a thread of the library's."""
    try:
        return Stream(channel.stream_stream(method)(messages, metadata=metadata))
    except ValueError as error:
        raise _closed(error) from error


def _failed(error: Any) -> CallFailed:
    return CallFailed(error.code().name, error.details() or "")


def _closed(error: ValueError) -> CallFailed:
    # The one ValueError of a call with these arguments: its channel was closed, by whoever owns it.
    return CallFailed("UNAVAILABLE", str(error), was_sent=False)
