"""A ZooKeeper node that refuses a stale leader, as one more operation in the user's own transaction.

The watermark is a node of its own. Its value is read and compared with the token; then a transaction that expects the
version that was read raises it and does the user's operations: all of it, or nothing. If the version was another by
then, nothing was done, and the watermark is read anew. So an old reading, as a follower's may be, admits nobody.

Not promised: anything against programs that write without the fence, or that delete the watermark while leaders are
about (a node made anew counts its versions from 0 again).

The client is the user's own ``KazooClient``: it is used, and never started, stopped or closed.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple

from leaderlock.fences._lost import damaged, missing
from leaderlock.fences._token import FenceBusy, admit, check_token, token_in

try:
    _errors: Final[Any] = import_module("kazoo.exceptions")
except ImportError as error:
    raise ImportError(
        f"the fence for ZooKeeper needs kazoo ({error}); `pip install 'leaderlock[zookeeper]'`"
    ) from error

__all__ = ["ZooKeeperFence"]

_CHECK: Final = 13  # the number of ZooKeeper's operation that compares a version
_ATTEMPTS: Final = 10  # each that fails means that another leader has come meanwhile


class _Mark(NamedTuple):
    """What was read, perhaps of a while ago."""

    highest: int | None
    """None: the value is no watermark."""
    version: int


class ZooKeeperFence:
    """A watermark in ZooKeeper, and transactions that are done only under a token that it admits.

    ``path`` is the node in which the watermark lives; it is made at the first stamp, with the folders above it, under
    ``acl`` (else the client's ``default_acl``). ``timeout`` is how many seconds ZooKeeper may take for each answer.

    What kazoo raises passes through. After ``KazooTimeoutError``, a lost connection or session the operations may have
    been done, or will yet be, or not.

    Raises:
        TypeError, ValueError: ``path`` is no absolute path, or ``timeout`` no number of seconds above 0.
    """

    def __init__(self, client: Any, path: str, *, acl: Sequence[Any] | None = None, timeout: float = 10.0) -> None:
        if not isinstance(path, str):
            raise TypeError(f"the watermark's path is a str, as '/orders/fence'; not {path!r}")
        if not path.startswith("/") or path.endswith("/"):
            raise ValueError(f"the watermark's path begins with / and names a node, as '/orders/fence'; not {path!r}")
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise TypeError(f"timeout is a number of seconds, not {timeout!r}")
        if not timeout > 0:
            raise ValueError(f"timeout ({timeout:g} s) must be more than 0")
        self.path = path
        self._client = client
        self._acl = acl
        self._timeout = timeout

    def __repr__(self) -> str:
        return f"ZooKeeperFence({self.path!r})"

    def stamp(self, token: int) -> None:
        """Admit a token without writing; a new leader calls this before it reads. Lays the watermark at first use.

        What this client reads afterwards is no older than the stamp.
        """
        self._run([], token, may_lay=True)

    def commit(self, transaction: Any, *, token: int) -> list[Any]:
        """Commit a ``client.transaction()`` if the token is admitted; returns the results of its operations.

        The transaction is only filled, without ``with``, which would commit it on its own; it counts as committed from
        here on. If an operation fails, all are undone, and its error is raised as kazoo's own, with a note that says
        which it was.

        Raises:
            StaleToken: a newer leader has been here; nothing was done.
            WatermarkLost: there is no watermark, or something else in its place; nothing was done.
            FenceBusy: others changed the watermark again and again meanwhile; nothing was done.
            ValueError: the transaction is empty, was committed, is another client's, or changes the watermark.
        """
        check_token(token)
        if transaction.client is not self._client:
            raise ValueError("the transaction is another client's; make it with that of the fence")
        if transaction.committed:
            raise ValueError("the transaction was committed before; make another")
        if not transaction.operations:
            raise ValueError("the transaction is empty; stamp() admits a token without writing")
        own = f"{self._client.chroot}{self.path}"
        if any(operation.path == own and operation.type != _CHECK for operation in transaction.operations):
            raise ValueError("the transaction changes the watermark itself, which only the fence may do")
        transaction.committed = True  # whatever comes, kazoo does not commit it once more, without the fence
        return self._run(transaction.operations, token)

    def highest(self) -> int:
        """The highest token admitted; 0 where there is no watermark."""
        self._answer(self._client.sync_async(self.path))
        mark = self._read()
        if mark is None:
            return 0
        if mark.highest is None:
            raise damaged(self.path)
        return mark.highest

    def adopt(self, token: int) -> None:
        """Put a watermark in the place of whatever the node holds; one that is intact is never lowered.

        ``token`` is that of a current lease: a stale leader with a lower one is refused from here on.
        """
        self._run([], token, may_lay=True, may_replace=True)

    def _run(
        self, operations: Sequence[Any], token: int, *, may_lay: bool = False, may_replace: bool = False
    ) -> list[Any]:
        check_token(token)
        for attempt in range(_ATTEMPTS):
            if attempt > 0:  # what was read may have been old, or has become so
                self._answer(self._client.sync_async(self.path))
            mark = self._read()
            if mark is None and may_lay:
                if self._lay(token):
                    return []
            elif mark is None or (mark.highest is None and not may_replace):
                if attempt > 0:
                    raise damaged(self.path) if mark else missing(self.path)
            else:
                # A watermark only rises, so whom an old reading refuses, a new one refuses as well.
                admit(token, highest=mark.highest or 0, resource=repr(self.path))
                results = self._send(operations, token, mark)
                if results is not None:
                    return results
        raise FenceBusy(
            f"{self.path} changed {_ATTEMPTS} times in a row between its reading and the transaction; nothing was done"
        )

    def _send(self, operations: Sequence[Any], token: int, mark: _Mark) -> list[Any] | None:
        """The results of the operations; None if the watermark has changed, and nothing was done."""
        request = self._client.transaction()
        if mark.highest == token:
            request.check(self.path, mark.version)
        else:
            request.set_data(self.path, b"%d" % token, mark.version)
        request.operations.extend(operations)
        results: list[Any]
        first, *results = self._answer(request.commit_async())
        if isinstance(first, _errors.BadVersionError | _errors.NoNodeError):
            return None
        for number, result in enumerate([first, *results]):
            # Those before the one that failed were rolled back, those after it never tried.
            is_consequence = isinstance(result, _errors.RolledBackError | _errors.RuntimeInconsistency)
            if isinstance(result, Exception) and not is_consequence:
                what = f"operation {number} of {len(operations)}" if number else f"the fence {self.path}"
                result.add_note(f"raised by {what}; nothing was done")
                raise result
        return results

    def _read(self) -> _Mark | None:
        try:
            value, stat = self._answer(self._client.get_async(self.path))
        except _errors.NoNodeError:
            return None
        # None: somebody made the node without data.
        return _Mark(token_in((value or b"").decode("latin-1")), stat.version)

    def _lay(self, token: int) -> bool:
        """Whether the watermark was made; not so if somebody else was quicker."""
        try:
            self._answer(self._client.create_async(self.path, b"%d" % token, acl=self._acl, makepath=True))
        except _errors.NodeExistsError:
            return False
        return True

    def _answer(self, asked: Any) -> Any:
        # kazoo's other calls have no time-out of their own, and wait without end while the connection is away.
        return asked.get(timeout=self._timeout)
