"""The node of a Redis Cluster that keeps a namespace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, cast

from leaderlock_redis._masters import Master
from leaderlock_redis._settings import Address, Settings, shown_address
from leaderlock_redis._wire import Reply, ServerError, pack

__all__ = ["InCluster"]

_MOST_NODES: Final = 1000


class InCluster(Master):
    """Asks any node, and then the one that this one names.

    A node that does not keep it says which one does, and does nothing; so asking that one instead repeats nothing.
    """

    can_move = True
    is_in_cluster = True

    def __init__(
        self, settings: Settings, nodes: Sequence[Address], *, remap: Callable[[Address], Address] | None = None
    ) -> None:
        self._settings = settings
        self._nodes = list(dict.fromkeys(nodes))
        self._named = tuple(self._nodes)
        self._remap = remap
        self._turn = 0
        self._keeper: Address | None = None

    @property
    def place(self) -> str:
        return f"{self._settings.scheme}+cluster://{','.join(map(shown_address, self._named))}"

    def settings(self, deadline: float) -> Settings:
        return self._settings.at(self._keeper or self._nodes[self._turn % len(self._nodes)])

    def has_moved(self, settings: Settings, deadline: float) -> bool:
        return self._keeper is not None and settings.address != self._keeper

    def failed(self, settings: Settings) -> None:
        if settings.address == self._keeper:
            self._keeper = None
        if settings.address == self._nodes[self._turn % len(self._nodes)]:
            self._turn += 1

    def follow(self, reply: Reply, settings: Settings) -> bool:
        if not (isinstance(reply, ServerError) and str(reply).startswith("MOVED ")):
            return False
        host, _, port = str(reply).split()[2].rpartition(":")
        # No host: the one that was asked, which does not know by what name it was found.
        address = host or (settings.address or self._nodes[0])[0], int(port)
        self._keeper = self._known_as(address)
        return True

    def questions(self) -> Sequence[bytes]:
        return (pack(b"CLUSTER", b"SLOTS"),)

    def learn(self, answers: Sequence[Reply], settings: Settings) -> None:
        """Remember all nodes, for the day when none of those that were named is there."""
        for answer in answers:
            shares = cast("list[list[Reply]]", answer) if isinstance(answer, list) else []
            for share in shares:
                for node in share[2:]:
                    match node:
                        case [bytes(host), int(port), *_] if host:
                            self._remember(self._known_as((host.decode(), port)))
                        case _:
                            continue

    def _remember(self, address: Address) -> None:
        if address not in self._nodes and len(self._nodes) < _MOST_NODES:
            self._nodes.append(address)

    def _known_as(self, address: Address) -> Address:
        return self._remap(address) if self._remap is not None else address
