"""An etcd key that refuses a stale leader, as a comparison in the user's own transaction.

The watermark is a key of its own. A transaction compares the token with it, raises it, and does the user's operations,
in one step of the cluster: all of it, or nothing.

Not promised: anything against programs that write without the fence; anything that the cluster forgot, as when an older
snapshot is restored.

The client is the user's own: one of the package etcd3, or of those that kept its words (pyetcd and other forks); what
it raises passes through. Nothing is imported here for it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

from leaderlock.fences._lost import damaged, missing
from leaderlock.fences._token import MAX_TOKEN, admit, check_token

__all__ = ["EtcdFence"]

_WIDTH: Final = 16  # digits of the greatest token, and of the one above it, with which it is compared
_WATERMARK: Final = re.compile(rb"(?!0*\Z)[0-9]{%d}" % _WIDTH)


class _Client(Protocol):
    """An ``etcd3.Etcd3Client``, as far as it is needed."""

    @property
    def transactions(self) -> Any: ...

    def transaction(self, compare: Any, success: Any = ..., failure: Any = ...) -> Any: ...


class EtcdFence:
    """A watermark in etcd, and operations that are done only under a token that it admits.

    ``key`` is where the watermark lives. After an error of the client the operations may have been done, or not.

    Raises:
        TypeError: the client is not of etcd3's kind, or one of asyncio's; or ``key`` is no name.
    """

    def __init__(self, client: _Client, key: str | bytes) -> None:
        if not hasattr(client, "transactions") or inspect.iscoroutinefunction(client.transaction):
            raise TypeError(
                f"the client is one of the package etcd3 or its like, and none of asyncio's; not {client!r}"
            )
        if not isinstance(key, str | bytes) or not key:
            raise TypeError(f"the watermark's key is a str or bytes, and not empty, as '/orders/fence'; not {key!r}")
        self.key = key
        self._client = client

    def __repr__(self) -> str:
        return f"EtcdFence({self.key!r})"

    def stamp(self, token: int) -> None:
        """Admit a token without writing; a new leader calls this before it reads. Lays the watermark at first use."""
        check_token(token)
        is_absent = self._client.transactions.version(self.key) == 0
        is_laid, _ = self._client.transaction(compare=[is_absent], success=[self.put(token)], failure=[])
        if not is_laid:
            self._transact([], token)

    def transaction(self, success: Sequence[Any], *, token: int) -> list[Any]:
        """Do operations of ``client.transactions`` if the token is admitted; returns their responses.

        They may be 127 at most, as etcd takes 128, and must not touch the watermark: etcd refuses two writes of a key.

        Raises:
            StaleToken: a newer leader has been here; nothing was done.
            WatermarkLost: there is no watermark, or something else in its place; nothing was done.
            ValueError: there is no operation.
        """
        check_token(token)
        if not success:
            raise ValueError("there is no operation to do; stamp() admits a token without writing")
        return self._transact(success, token)

    def compare(self, token: int) -> list[Any]:
        """Comparisons for a transaction that you compose yourself: they are true if the token is admitted.

        That transaction must :meth:`put` the token where it succeeds. Where it does not, call :meth:`stamp`: either
        that raises and says why, or one of your own comparisons was false.
        """
        # As bytes, in which a fixed width makes numbers compare as numbers; a missing key compares as false. The lower
        # bound keeps out what is shorter, as an empty value; what passes both counts as the number that it begins with.
        watermark = self._client.transactions.value
        return [watermark(self.key) > _digits(0), watermark(self.key) < _digits(check_token(token) + 1)]

    def put(self, token: int) -> Any:
        """The operation that raises the watermark, to go with :meth:`compare`."""
        return self._client.transactions.put(self.key, _digits(check_token(token)))

    def highest(self) -> int:
        """The highest token admitted; 0 where there is no watermark."""
        value = self._value()
        return 0 if value is None else self._parsed(value)

    def adopt(self, token: int) -> None:
        """Put a watermark in the place of whatever the key holds; one that is intact is never lowered.

        ``token`` is that of a current lease: a stale leader with a lower one is refused from here on.
        """
        check_token(token)
        value = self._value()
        if value is not None and not _is_watermark(value):
            is_still_there = self._client.transactions.value(self.key) == value
            self._client.transaction(compare=[is_still_there], success=[self.put(token)], failure=[])
        self.stamp(token)

    def _transact(self, success: Sequence[Any], token: int) -> list[Any]:
        is_admitted, responses = self._client.transaction(
            compare=self.compare(token),
            success=[self.put(token), *success],
            failure=[self._client.transactions.get(self.key)],
        )
        if is_admitted:
            return list(responses[1:])
        [found] = responses
        if not found:
            raise missing(self.key)
        [(value, _)] = found
        admit(token, highest=self._parsed(value), resource=repr(self.key))
        raise AssertionError(f"etcd refused token {token} at watermark {value!r}")

    def _value(self) -> bytes | None:
        # In a transaction, as a read is linearizable there; what the client's own get() does is its owner's choice.
        _, [found] = self._client.transaction(compare=[], success=[self._client.transactions.get(self.key)], failure=[])
        return found[0][0] if found else None

    def _parsed(self, value: bytes) -> int:
        if not _is_watermark(value):
            raise damaged(self.key)
        return int(value)


def _is_watermark(value: bytes) -> bool:
    return _WATERMARK.fullmatch(value) is not None and int(value) <= MAX_TOKEN


def _digits(number: int) -> str:
    return f"{number:0{_WIDTH}d}"
