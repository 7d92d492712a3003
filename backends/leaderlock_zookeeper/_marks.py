"""Birth marks: which life of the namespace is the current one, and the floor that is counted from it.

**One life at a time.** A life is laid, together with the pointer to it, in one transaction, under a random name that
is never used again. It is gone when its node is gone. Where the pointer names a life that is gone, the next one is
laid by a transaction that also creates and deletes the old life's node: that fails if the old one stands after all,
however far behind the server was that said it did not.

**The floor.** A zxid grows with every write of the whole ensemble, but is of no use as it is: each election adds 2**32,
so that it runs ahead of the clock, and a rebuilt ensemble starts at zero again. So the mark holds a *base*, and

    floor = base + (zxid - zxid of the mark's last write),    as long as the difference is below SPAN.

Once it is not (an election, or SPAN writes), whoever sees it writes the mark anew, by version, with base + SPAN.

1. It rises with every applied swap: under one base it is the zxid moved by a constant; whatever is given under the
   next base is base + SPAN or more, and whatever was given under this one is less.
2. It stays behind the clock, from which the first base is taken: a step of SPAN microseconds (0.26 s) stands for SPAN
   writes, of which no ensemble does a million a second, or for an election, none of which is over so soon. So the base
   of a later life, from the clock again, is above it, even after all data were lost, unless the clock went back.
3. For the same reason it is below 2**53 until the year 2255.
4. It is no older than the answer it is given with, because the zxid is that of the answer itself or a later one's.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Final

from leaderlock.errors import BackendRefused, BackendUnavailable
from leaderlock_zookeeper._errors import looking, refusal_of
from leaderlock_zookeeper._kazoo import Client, exceptions
from leaderlock_zookeeper._link import Link, left
from leaderlock_zookeeper._paths import Layout, is_life
from leaderlock_zookeeper._requests import Node

__all__ = ["SPAN", "Mark", "Marks"]

SPAN: Final = 1 << 18
_LATEST_CLOCK: Final = 1 << 52


@dataclass(frozen=True, slots=True)
class Mark:
    """A birth mark as it was read."""

    base: int
    version: int
    zxid: int

    @classmethod
    def of(cls, node: Node) -> Mark:
        try:
            base = int(node.data)
        except ValueError as error:
            raise BackendRefused(
                f"a birth mark holds {node.data[:40]!r}, which leaderlock did not write there"
            ) from error
        return cls(base, node.version, node.mzxid)

    def floor(self, zxid: int) -> int | None:
        """The floor at ``zxid``; ``None``: the mark must be written anew first."""
        passed = zxid - self.zxid
        if passed < 0:
            raise BackendUnavailable("ZooKeeper's answers came from two states of it; read again")
        return self.base + passed if passed < SPAN else None


class Marks:
    """Finds, lays and rewrites the marks of one namespace."""

    def __init__(self, link: Link, layout: Layout) -> None:
        self._link = link
        self._layout = layout

    def find(self, deadline: float, *, least: int) -> str:
        """The current life; lays one, with a floor of at least ``least``, where there is none."""
        while True:
            client = self._link.ready(deadline)
            with looking(self._link.place):
                try:
                    data, stat = client.get_async(self._layout.pointer).get(timeout=left(deadline))
                except exceptions.NoNodeError:
                    life, version = None, -1
                else:
                    life, version = self._named(data or b""), stat.version  # None: somebody made it without data
                if life is not None and self._stands(client, life, deadline):
                    return life
                self._lay(client, life, version, deadline, least)

    def rewrite(self, life: str, mark: Mark, deadline: float) -> None:
        """Begin the next span; somebody else may have been faster, or the life be gone."""
        client = self._link.ready(deadline)
        with looking(self._link.place):
            written = client.set_async(self._layout.life(life), b"%d" % (mark.base + SPAN), version=mark.version)
            try:
                written.get(timeout=left(deadline))
            except (exceptions.BadVersionError, exceptions.NoNodeError):
                return

    def _stands(self, client: Client, life: str, deadline: float) -> bool:
        return client.exists_async(self._layout.life(life)).get(timeout=left(deadline)) is not None

    def _lay(self, client: Client, gone: str | None, version: int, deadline: float, least: int) -> None:
        life = os.urandom(16).hex()
        # Bounded, so that a clock set to a far century cannot push floors out of their range for good.
        base = max(min(time.time_ns() // 1000, _LATEST_CLOCK), least)
        transaction = client.transaction()
        if gone is None:
            transaction.create(self._layout.pointer, life.encode())
        else:
            # The proof that it is gone: see above.
            transaction.create(self._layout.life(gone))
            transaction.delete(self._layout.life(gone))
            transaction.set_data(self._layout.pointer, life.encode(), version)
        transaction.create(self._layout.life(life), b"%d" % base)
        answers = transaction.commit_async().get(timeout=left(deadline))
        for answer in answers:
            if isinstance(answer, Exception) and (refusal := refusal_of(answer, self._link.place)):
                raise refusal
        if gone is None and any(isinstance(answer, exceptions.NoNodeError) for answer in answers):
            self._make_ancestors(client, deadline)
        # Any other failure: somebody else has laid one. Who calls looks again.

    def _make_ancestors(self, client: Client, deadline: float) -> None:
        for path in self._layout.ancestors:
            try:
                client.create_async(path).get(timeout=left(deadline))
            except exceptions.NodeExistsError:
                continue
            except exceptions.NoNodeError as error:
                raise BackendRefused(f"{self._link.place}: its chroot does not exist; create it") from error
            except exceptions.NoAuthError as error:
                # Whoever may not touch the upper nodes may still be given one of his own: which of them is missing,
                # if any, the next step will tell.
                if path == self._layout.ancestors[-1]:
                    raise refusal_of(error, self._link.place) or error from error

    def _named(self, data: bytes) -> str:
        life = data.decode(errors="replace")
        if not is_life(life):
            raise BackendRefused(
                f"{self._link.place}: {self._layout.pointer} holds {data[:40]!r}, which leaderlock did not write; name"
                " another root"
            )
        return life
