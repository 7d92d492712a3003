"""One request and its answer: on which line, with which token, and what an error means."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from leaderlock.errors import BackendUnavailable, OutcomeUnknown
from leaderlock_etcd._errors import error_of, is_about_token, is_refusal
from leaderlock_etcd._grpc import CallFailed, Channel, Metadata, request
from leaderlock_etcd._lines import EtcdClient, Line, Lines
from leaderlock_etcd._messages import (
    AUTHENTICATE,
    RANGE,
    TXN,
    RangeAnswer,
    TxnAnswer,
    authenticate_request,
    authenticate_token,
    range_answer,
    txn_answer,
)

__all__ = ["Caller", "Login"]

T = TypeVar("T")

_LONGEST_CONNECTING: Final = 4.0
_NO_LOGIN_NEEDED: Final = "authentication is not enabled"


class Login:
    """The headers that say who asks: a token that is asked for when it is needed, or those of a user's client."""

    def __init__(self, *, user: str | None = None, password: str = "", client: EtcdClient | None = None) -> None:
        self._request = None if user is None else authenticate_request(user, password)
        self._client = client
        self._metadata: Metadata | None = None

    @property
    def can_repeat(self) -> bool:
        """Whether a token that is refused can be exchanged for another."""
        return self._request is not None

    def forget(self) -> None:
        """Ask for another token next time."""
        self._metadata = None

    def metadata(self, channel: Channel, deadline: float) -> Metadata:
        """The headers of the next call; asks for a token if there is none."""
        if self._client is not None:
            return tuple(self._client.metadata or ())
        if self._request is None:
            return ()
        known = self._metadata
        if known is None:
            known = self._metadata = self._ask(channel, self._request, deadline)
        return known

    @staticmethod
    def _ask(channel: Channel, message: bytes, deadline: float) -> Metadata:
        timeout = max(0.0, deadline - time.monotonic())
        try:
            answer = request(channel, AUTHENTICATE, message, timeout=timeout, metadata=())
        except CallFailed as failed:
            # As etcd's own clients do: a password that nobody asks for does no harm.
            if _NO_LOGIN_NEEDED in failed.details:
                return ()
            raise
        return (("token", authenticate_token(answer)),)


class Caller:
    """Makes calls; each is over within its deadline, and leaves its line if that brought no answer."""

    def __init__(self, lines: Lines, login: Login, shown: str, probe: bytes) -> None:
        self._lines = lines
        self._login = login
        self._shown = shown
        self._probe = probe

    def range(self, message: bytes, deadline: float) -> RangeAnswer:
        """Read a range."""
        return self._decoded(range_answer, self._call(RANGE, message, deadline, is_write=False), is_write=False)

    def txn(self, message: bytes, deadline: float, *, is_write: bool) -> TxnAnswer:
        """Run a transaction. ``is_write``: a lost answer leaves something in doubt."""
        return self._decoded(txn_answer, self._call(TXN, message, deadline, is_write=is_write), is_write=is_write)

    def _decoded(self, decode: Callable[[bytes], T], answer: bytes, *, is_write: bool) -> T:
        try:
            return decode(answer)
        except ValueError as error:
            kind = OutcomeUnknown if is_write else BackendUnavailable
            raise kind(f"{self._shown}: the answer is not etcd's ({error})") from error

    def _call(self, method: str, message: bytes, deadline: float, *, is_write: bool) -> bytes:
        if deadline <= time.monotonic():
            self._lines.check()
            raise BackendUnavailable(f"{self._shown}: no time was left to send the request")
        others = len(self._lines.source.targets) - 1
        while True:
            # Half of what is left, as a server that is away should leave time for the next. More is of no use: after
            # the two round trips of connecting come two more, for the probe and for what was asked.
            line = self._lines.take(min(max(0.0, deadline - time.monotonic()) / 2, _LONGEST_CONNECTING))
            try:
                return self._call_once(line, method, message, deadline, is_write=is_write)
            except CallFailed as failed:
                if others == 0 or not _is_unreached(failed, line) or deadline <= time.monotonic():
                    raise error_of(failed, self._shown, is_write=is_write) from failed
                others -= 1

    def _call_once(self, line: Line, method: str, message: bytes, deadline: float, *, is_write: bool) -> bytes:
        try:
            return self._call_on(line, method, message, deadline, is_write=is_write)
        except BaseException as error:
            if not (isinstance(error, CallFailed) and is_refusal(error)):
                self._lines.leave(line)
            raise
        finally:
            self._lines.give_back(line)

    def _call_on(self, line: Line, method: str, message: bytes, deadline: float, *, is_write: bool) -> bytes:
        if is_write and not line.is_proven:
            # gRPC says UNAVAILABLE for a server that it never reached and for one that fell silent in the middle. So
            # no write opens a connection: a read goes first, and if that fails the write was never sent for certain.
            try:
                self._send(line, RANGE, self._probe, deadline)
            except CallFailed as failed:
                failed.was_sent = False
                raise
        return self._send(line, method, message, deadline)

    def _send(self, line: Line, method: str, message: bytes, deadline: float) -> bytes:
        try:
            return self._send_once(line, method, message, deadline)
        except CallFailed as failed:
            if not (is_about_token(failed) and self._login.can_repeat):
                raise
            # Said before anything was done, so that the repetition is the only one that counts.
            self._login.forget()
        return self._send_once(line, method, message, deadline)

    def _send_once(self, line: Line, method: str, message: bytes, deadline: float) -> bytes:
        try:
            metadata = self._login.metadata(line.channel, deadline)
        except CallFailed as failed:
            failed.was_sent = False
            raise
        timeout = deadline - time.monotonic()
        answer = request(line.channel, method, message, timeout=max(0.0, timeout), metadata=metadata)
        line.is_proven = True
        return answer


def _is_unreached(failed: CallFailed, line: Line) -> bool:
    """Whether the server was away, and nothing is in doubt: a write goes only where a read was answered before."""
    return failed.code == "UNAVAILABLE" and not line.is_proven
