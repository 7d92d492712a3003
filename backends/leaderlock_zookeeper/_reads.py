"""The reading half of the driver: many nodes in few requests, where the server can do that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from leaderlock.backend import ABSENT, Seen
from leaderlock_zookeeper._kazoo import Result, exceptions, send
from leaderlock_zookeeper._link import Link, left
from leaderlock_zookeeper._requests import Children, Node, ReadMany

__all__ = ["Reads", "seen_in", "slices"]

T = TypeVar("T")

_TOGETHER: Final = 100
"""Nodes in one request. The server makes the whole reply before it sends any of it: some 6 MB where each has a note of
the greatest length."""


class Reads:
    """Asks for nodes on one connection in the order given, so that the last is read no earlier than the others.

    What goes wrong is raised as kazoo has it: what it means depends on what was asked before.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._knows_many = True

    def nodes(self, paths: Sequence[str], deadline: float) -> list[Node | None]:
        """Each as it stands; ``None`` where there is none."""
        return self._look(paths, deadline, children=False)

    def children(self, paths: Sequence[str], deadline: float) -> list[Children | None]:
        """The names below each; ``None`` where there is no such node."""
        return self._look(paths, deadline, children=True)

    def _look(self, paths: Sequence[str], deadline: float, *, children: bool) -> list[Any]:
        if self._knows_many:
            try:
                return self._together(paths, deadline, children=children)
            except exceptions.UnimplementedError:
                self._knows_many = False
                self._outlive(deadline)
        return self._singly(paths, deadline, children=children)

    def _together(self, paths: Sequence[str], deadline: float, *, children: bool) -> list[Any]:
        sent: list[Result] = []
        try:
            for some in slices(paths, _TOGETHER):
                client = self._link.now()
                sent.append(send(client, ReadMany([client.chroot + path for path in some], children=children)))
        except exceptions.ConnectionLoss:
            if sent:
                sent[0].get(timeout=left(deadline))  # raises why the connection went, if that was for what was asked
            raise
        return [_found(answer) for result in sent for answer in result.get(timeout=left(deadline))]

    def _singly(self, paths: Sequence[str], deadline: float, *, children: bool) -> list[Any]:
        if children:
            sent = [self._link.now().get_children_async(path) for path in paths]
        else:
            sent = [self._link.now().get_async(path) for path in paths]
        found: list[Any] = []
        for result in sent:
            try:
                answer = result.get(timeout=left(deadline))
            except exceptions.NoNodeError:
                found.append(None)
            else:
                found.append(answer if children else Node(answer[0] or b"", answer[1].version, answer[1].mzxid))
        return found

    def _outlive(self, deadline: float) -> None:
        """A server before 3.6 hangs up on whoever asks for what it does not know: wait for the next connection.

        What is asked until then goes down with the old one; what is answered was asked on another.
        """
        while True:
            try:
                self._link.now().exists_async("/").get(timeout=left(deadline))
                return
            except (exceptions.ConnectionLoss, exceptions.SessionExpiredError):
                self._link.wait(deadline)


def seen_in(node: Node | None) -> Seen:
    """What a register held."""
    return Seen(None, ABSENT) if node is None else Seen(node.data, node.version + 1)


def _found(answer: Node | Children | Exception) -> Node | Children | None:
    if isinstance(answer, exceptions.NoNodeError):
        return None
    if isinstance(answer, Exception):
        raise answer
    return answer


def slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in their order, so many at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
