"""The driver: a hash for each register, and one script for each of ``read`` and ``swap``.

**Keys** are ``leaderlock:{namespace}:key``, in which the braces make a Redis Cluster keep a namespace in one place. A
register is a hash of ``stamp`` and ``value``, without an expiry. The same without a key is the namespace's mark, a hash
of ``birth``, ``floor`` and ``replid``, and the channel on which each swap tells which registers it changed.

**The index** is in the mark: a field for each register, named as its key is, so that ``scan`` walks what is ours, and
past nobody else's keys. The command that raises the floor sets it, at each write; a deletion removes it. It cannot be
lost alone: where the mark goes, the memory goes. ``scan`` shows what ``swap`` has written since the mark was laid. What
is left from before (of a mark deleted by hand), or was made by hand, it shows once it is written again; a field without
a register it does not show.

**Stamps** are drawn from the mark, one for each call of ``swap``: the greatest so far plus one, or the server's clock
in microseconds where that is more. So they are the floor, too. Whoever first reads on another memory raises it to the
server's clock, since the mark may be older than what was granted, and above the highest floor he has seen himself.

**Memory** is the mark's random birth id and the server's ``master_replid``, which changes at each restart and each
promotion; both are compared inside the script. (To compare once per connection is not sound: a master that is demoted
and promoted again keeps its connections, and has lost writes.) Where every write is on the disk before it is
acknowledged, a restart loses nothing, and the memory is the birth id alone. An address that leads to another server,
and later back to the first, shows again what that one remembered, and nothing of what was granted in between: who has
seen it go lays another birth id there.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from leaderlock.backend import (
    ABSENT,
    Answer,
    Backend,
    Conflict,
    Seen,
    Stamp,
    Swapped,
    Traits,
    View,
    Wake,
    Write,
    check_count,
    check_writes,
    signal_safe,
)
from leaderlock.errors import BackendRefused, BackendUnavailable, MemoryGone, OutcomeUnknown
from leaderlock.watching import Watches
from leaderlock_redis._clients import master_of_client
from leaderlock_redis._durability import Durability, durability_in_url
from leaderlock_redis._errors import refusal
from leaderlock_redis._links import Links
from leaderlock_redis._masters import Master
from leaderlock_redis._scripts import READ, SCAN, SWAP
from leaderlock_redis._url import master_of_url
from leaderlock_redis._watch import Watcher, key_of
from leaderlock_redis._wire import Reply, ServerError, pack

if TYPE_CHECKING:
    from leaderlock.diagnosis import Finding

__all__ = ["RedisBackend", "from_client", "open_backend"]

# A script holds the server, and everybody else who uses it, until it ends: 100 writes for about a millisecond.
_MAX_BATCH: Final = 100
_MAX_VALUE: Final = 1 << 20
_MOST_SHOWN: Final = 4096
# So many are read for one to two.
_PAGE: Final = b"500"
_DAY: Final = 86_400 * 1_000_000
_NOTHING: Final = Seen(None, ABSENT)


def open_backend(url: str, *, namespace: str, durability: str | None = None, **options: object) -> Backend:
    """A backend on the server that ``url`` names; it is first asked at the first use.

    ``durability`` is what an acknowledged write survives: ``"memory"`` (the server's life), ``"disk"`` (its death), or
    ``"replicas:k"`` (a failover to one of k replicas). It may be said in the URL's query instead.
    """
    if options:
        raise TypeError(f"redis has no option {sorted(options)[0]!r}; it has durability, and what the URL's query says")
    url, said = durability_in_url(url)
    if durability is not None and said not in (None, durability):
        raise ValueError(f"the URL says durability={said}, and the option {durability!r}; say it once")
    kept = next((word for word in (durability, said) if word is not None), "memory")
    return RedisBackend(master_of_url(url), namespace=namespace, durability=kept)


def from_client(client: object, *, namespace: str = "default", durability: str = "memory") -> Backend:
    """A backend with the settings of a client that is there: address, user, TLS. Its sockets are not used.

    ``client`` is a ``redis.Redis``, a Sentinel's ``master_for(name)``, or either of ``redis.asyncio``; a
    ``redis.RedisCluster``; or the same of valkey.
    """
    return RedisBackend(master_of_client(client), namespace=namespace, durability=durability)


class RedisBackend(Backend):
    """Registers of one namespace on one Redis or Valkey master."""

    def __init__(self, master: Master, *, namespace: str, durability: str = "memory") -> None:
        kept = Durability.parse(durability)
        if kept.is_disk and master.can_move:
            raise ValueError(
                "durability='disk' is about one server's restarts, and a failover loses what no replica has; where"
                " servers take over from each other use 'replicas:k', or leave it out"
            )
        self._space = _space(namespace)
        self._links = Links(master, self._space, kept)
        self._is_disk = kept.is_disk
        self._lock = signal_safe(threading.Lock())
        self._highest = 0
        self._memory = ""
        self._left: set[str] = set()
        """Memories that were seen to go."""
        self._watches = Watches("redis-watch", self._watcher, check=self._links.check)
        self._traits = Traits(
            store="redis",
            durability=kept.word,
            keeps_memory=kept.is_disk,
            pushes=True,
            max_batch=_MAX_BATCH,
            max_value=_MAX_VALUE,
        )

    @property
    def traits(self) -> Traits:
        return self._traits

    def read(self, keys: Collection[str], *, timeout: float) -> View:
        wanted = list(keys)
        check_count(self._traits, len(wanted))
        deadline, known = time.monotonic() + timeout, self._memory
        view = self._read(wanted, timeout)
        while view.memory in self._left:
            view = self._read(wanted, deadline - time.monotonic(), instead_of=view.memory)
        self._note(view, known)
        return view

    def swap(self, writes: Sequence[Write], memory: str, *, timeout: float) -> list[Answer]:
        check_writes(self._traits, writes)
        self._links.check()
        if memory in self._left:
            raise MemoryGone(f"{self._links.place}: another server has answered since; nothing was written")
        birth, line = self._parts(memory)
        words = [b"EVAL", SWAP, b"%d" % (len(writes) + 1), self._space]
        words += [self._place(write.key) for write in writes]
        words += [birth, line]
        for write in writes:
            expected = _text(write.expected)
            words += [expected, write.value] if write.value is not None else [b"-" + expected, b""]
        if len(writes) == 1 and _is_shown(writes[0]):
            words.append(memory.encode())
        reply, missing = self._links.write(pack(*words), timeout)
        if reply == b"gone":
            raise MemoryGone(
                f"{self._links.place}: the server remembers something other than it did; nothing was written"
            )
        stamp, *registers = self._checked(reply, wrote=True)
        done, gone = Swapped(int(stamp)), Swapped(ABSENT)
        answers = [
            (done if register else gone) if isinstance(register, int) else Conflict(self._seen(register))
            for register in registers
        ]
        if missing and any(isinstance(answer, Swapped) for answer in answers):
            raise OutcomeUnknown(f"{self._links.place}: written, but {missing}; it may be lost again")
        return answers

    def scan(self, prefix: str, *, timeout: float) -> Iterator[tuple[str, Seen]]:
        self._links.check()
        return self._pages(prefix, timeout)

    def watch(self, keys: Collection[str], wake: Wake) -> Callable[[], None]:
        return self._watches.add([*map(self._place, keys)], wake)

    def diagnose(self, *, timeout: float) -> Sequence[Finding]:
        """What the server does and hides; see :class:`leaderlock.diagnosis.Diagnoses`."""
        from leaderlock_redis._doctor import examine

        return examine(self._links, self._traits.durability, timeout)

    def close(self) -> None:
        self._links.close()
        self._watches.close()  # also after a first close that was interrupted here

    def _watcher(self) -> Watcher:
        return Watcher(self._links, self._space)

    def _pages(self, prefix: str, timeout: float) -> Iterator[tuple[str, Seen]]:
        pattern = re.sub(rb"([\\*?\[\]])", rb"\\\1", self._place(prefix)) + b"*"
        start = server = cursor = b"0"
        shown: set[bytes] = set()
        deadline = time.monotonic() + timeout
        while (remaining := deadline - time.monotonic()) > 0:
            request = pack(b"EVAL", SCAN, b"1", self._space, cursor, pattern, _PAGE)
            (reply,) = self._links.ask([request], remaining)
            replid, following, found = self._checked(reply)
            if cursor != start and replid != server:
                cursor = start  # where another server was to go on means nothing to this one
                continue
            server, cursor = replid, following
            for place, register in found:
                seen = self._seen(register)
                # A scan may come upon the same key more than once.
                if place not in shown and seen.stamp != ABSENT:
                    shown.add(place)
                    yield key_of(place, self._space), seen
                    deadline = time.monotonic() + timeout
            if cursor == start:
                return
        raise BackendUnavailable(
            f"{self._links.place}: {timeout:g} s did not do to look through the namespace's registers; wait longer"
        )

    def _read(self, wanted: Sequence[str], timeout: float, *, instead_of: str = "") -> View:
        """One look. ``instead_of``: a memory that must not be found any more; where it is, another takes its place."""
        places = [self._space, *map(self._place, wanted)]
        words = [os.urandom(16).hex().encode(), b"%d" % self._highest, self._parts(instead_of)[0]]
        (reply,) = self._links.ask([pack(b"EVAL", READ, b"%d" % len(places), *places, *words)], timeout)
        birth, floor, replid, *registers = self._checked(reply)
        return View(dict(zip(wanted, map(self._seen, registers), strict=True)), *self._mark(birth, floor, replid))

    def _note(self, view: View, known: str) -> None:
        """Remember what was seen by somebody who had known ``known`` before."""
        with self._lock:
            self._highest = max(self._highest, view.floor)
            # A thread that was slow, and brings the old one after another brought the new, has not seen that one go.
            if view.memory != self._memory == known:
                self._left.add(known)
                self._memory = view.memory

    def _place(self, key: str) -> bytes:
        return self._space + key.encode("utf-8", "surrogateescape")

    def _parts(self, memory: str) -> tuple[bytes, bytes]:
        """The birth id, and the line of INFO that must be there where the replication id is a part of the memory."""
        if self._is_disk:
            return memory.encode(), b""
        birth, _, replid = memory.partition(".")
        return birth.encode(), b"master_replid:%b\r" % replid.encode()

    def _mark(self, birth: bytes, floor: bytes, replid: bytes) -> tuple[int, str]:
        """Floor and memory."""
        height = int(floor)
        if height > time.time() * 1_000_000 + _DAY:
            raise BackendRefused(
                f"{self._links.place}: its floor of tokens ({height} µs since 1970) is over a day ahead of this host's"
                " clock; set the clock that is wrong, the server's or this host's"
            )
        return height, birth.decode() if self._is_disk else f"{birth.decode()}.{replid.decode()}"

    def _checked(self, reply: Reply, *, wrote: bool = False) -> Reply:
        if isinstance(reply, ServerError):
            raise refusal(reply, self._links.place, wrote=wrote)
        return reply

    def _seen(self, register: Reply) -> Seen:
        stamp, value = self._checked(register) or (None, None)
        if stamp is None:
            return _NOTHING
        return Seen(value, int(stamp))


def _space(namespace: str) -> bytes:
    if not namespace:
        raise ValueError("a namespace must not be empty")
    # A brace of the namespace's own would end the part by which a cluster chooses the place.
    escaped = re.sub(r"[%{}]", lambda found: f"%{ord(found[0]):02X}", namespace)
    return b"leaderlock:{%b}:" % escaped.encode()


def _text(stamp: Stamp) -> bytes:
    """As the script compares it. A stamp of another store is nobody's here: left as it is, the text "12" would equal
    the number, and a negative one would be an order to delete."""
    return b"%d" % stamp if isinstance(stamp, int) and stamp >= 0 else b"another's"


def _is_shown(write: Write) -> bool:
    """Whether those who watch are told what was written. Sessions are rewritten all the time, and nobody waits for what
    one says but for its end."""
    return write.key.startswith("name/") and write.value is not None and len(write.value) <= _MOST_SHOWN
