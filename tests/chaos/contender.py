"""A process that campaigns, leads for moments, counts, and resigns, until it is killed.

Every line it writes is a record of ``histories``; instants are of CLOCK_BOOTTIME, which all processes of a host share.
What is true of a look was true between the two instants around it, so a term is only ever recorded as certainly held
from after its first true look to before its last.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Protocol

import leaderlock_redis._sentinel
from leaderlock import CampaignTimeout, LeaderLockError, Lease, StaleToken, _engine, connect
from leaderlock._calls import Calls
from leaderlock._protocol.events import Answered, Event, Put, Viewed
from leaderlock.backend import Conflict, Stamp
from leaderlock.fences import FenceBusy
from leaderlock.fences.file import FencedFile

LOOK_EVERY = 0.01
LAG = 0.03
"""How late this process must wake from a hundredth of a second for it to be worth a record."""
SLOW = 0.1
"""How long a call at the store must take for it to be worth a record, in seconds; one that fails always is."""
MANY = 40
"""So many calls within a second are worth a record, too: nobody has that much to ask."""


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Journal:
    """One line a record, in one write each, so that a kill leaves whole ones."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, kind: str, *words: object) -> None:
        texts = (f"{word:.6f}" if isinstance(word, float) else str(word) for word in words)
        os.write(self._file, (" ".join((kind, *texts)) + "\n").encode())


class Term(Protocol):
    """Leadership for a while, by whatever lock."""

    token: int
    """0: the lock has none."""

    @property
    def is_held(self) -> bool: ...

    @property
    def until(self) -> float:
        """How long the claim stands if nothing further is heard; 0.0: the lock does not say."""

    def end(self) -> None: ...

    def abandon(self) -> None:
        """It was lost: tidy up whatever may be left of it."""


class Lock(Protocol):
    def acquire(self, timeout: float) -> Term | None: ...


class LeaseTerm:
    """A lease of ours."""

    def __init__(self, lease: Lease, journal: Journal) -> None:
        self.lease = lease
        self.token = lease.token
        lease.on_lost(lambda lost: journal.note("news", lost.token, now(), getattr(lost.lost_reason, "value", "-")))

    @property
    def is_held(self) -> bool:
        return self.lease.is_held

    @property
    def until(self) -> float:
        return self.lease.deadline.boot

    def end(self) -> None:
        self.lease.resign(timeout=0.5)

    def abandon(self) -> None:
        pass  # leaderlock does so by itself


def telling(journal: Journal) -> type[Calls]:
    """leaderlock's calls, which also write down what a candidate waited for and saw."""
    lately: deque[float] = deque(maxlen=MANY)
    seen: dict[str, Stamp] = {}

    class TellingCalls(Calls):
        def _swap(self, puts: tuple[Put, ...], timeout: float) -> Event:
            began = now()
            answer = super()._swap(puts, timeout)
            self._tell("+".join(put.kind.name.lower() for put in puts), began, answer)
            if isinstance(answer, Answered):
                for put, said in zip(answer.puts, answer.answers, strict=True):
                    if isinstance(said, Conflict):
                        journal.note(
                            "conflict", now(), put.kind.name, put.write.key, put.write.expected, said.seen.stamp
                        )
            return answer

        def _read(self, keys: tuple[str, ...], timeout: float) -> Event:
            began = now()
            answer = super()._read(keys, timeout)
            self._tell("read", began, answer)
            if isinstance(answer, Viewed):
                for key, found in answer.view.seen.items():
                    if seen.get(key) != found.stamp:
                        seen[key] = found.stamp
                        journal.note("saw", now(), key, found.stamp, answer.view.memory, answer.view.floor)
            return answer

        def _tell(self, what: str, began: float, answer: Event) -> None:
            ended, error = now(), getattr(answer, "error", None)
            if error is not None or ended - began > SLOW:
                journal.note("call", what, began, ended, "answered" if error is None else repr(error))
            lately.append(ended)
            if len(lately) == MANY and ended - lately[0] < 1.0:
                journal.note("hurry", lately[0], ended, what)
                lately.clear()

    return TellingCalls


class BootTime(logging.Formatter):
    """What libraries log, in the time of the records."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return f"{now():.3f}"


class Elections:
    """leaderlock, as a program uses it."""

    def __init__(self, url: str, ttl: float, journal: Journal) -> None:
        _engine.Calls = telling(journal)  # type: ignore[misc]
        self._client = connect(url, ttl=ttl, longest=ttl)
        self._journal = journal

    def acquire(self, timeout: float) -> LeaseTerm | None:
        try:
            return LeaseTerm(self._client.election("job").campaign(timeout=timeout), self._journal)
        except CampaignTimeout as still:
            self._journal.note("waited", now(), still)
            return None
        except LeaderLockError:
            time.sleep(0.05)  # refused: by a full disk, say
            return None


class Counters:
    """Two numbers that only a leader may raise: one behind a fence, one not."""

    def __init__(self, folder: Path, journal: Journal, dice: random.Random) -> None:
        self._fence = FencedFile(folder / "fenced", timeout=1.0)
        self._plain = folder / "plain"
        self._journal = journal
        self._dice = dice

    def stamp(self, term: Term) -> None:
        if term.token:
            self._fence.stamp(term.token)

    def raise_both(self, term: Term) -> None:
        """Read, think for a moment, look whether one still leads, write: what every program does."""
        fenced = int(self._fence.read() or b"0") + 1 if term.token else 0
        plain = int(self._plain.read_text() or "0") + 1 if self._plain.exists() else 1
        time.sleep(self._dice.random() * 0.01)
        if not term.is_held:
            return
        if fenced:
            self.write_fenced(fenced, term.token)
        began = now()
        aside = self._plain.with_name(f"plain-{os.getpid()}")
        aside.write_text(str(plain))
        aside.replace(self._plain)
        self._journal.note("plain", plain, began, now())

    def write_fenced(self, count: int, token: int) -> None:
        began = now()
        try:
            self._fence.write(b"%d" % count, token=token)
        except StaleToken:
            self._journal.note("refused", token, count, began, now())
        else:
            self._journal.note("fenced", token, count, began, now())

    def write_late(self, token: int) -> None:
        """What a leader does that does not know of its loss: the fence has to refuse it once there is another."""
        if token:
            self.write_fenced(int(self._fence.read() or b"0") + 1, token)


def lead(term: Term, counters: Counters, journal: Journal, dice: random.Random) -> None:
    """One term, to its end."""
    ends = time.monotonic() + (dice.uniform(0.05, 0.5) if dice.random() < 0.4 else dice.uniform(1.0, 10.0))
    until, is_stamped = 0.0, False
    while time.monotonic() < ends:
        before = now()
        if not term.is_held:
            journal.note("ended", term.token, before, "lost")
            term.abandon()
            return
        after = now()
        claimed = term.until
        if until and claimed > until:
            journal.note("renewed", term.token, after, until - after)
        until = max(until, claimed)
        journal.note("held", term.token, before, after, until)
        try:
            if not is_stamped:
                counters.stamp(term)
                is_stamped = True
            counters.raise_both(term)
        except (StaleToken, FenceBusy):
            pass  # somebody was stopped while he had the file, or leads already: the next look tells
        time.sleep(LOOK_EVERY)
    journal.note("ended", term.token, now(), "resigned" if term.is_held else "lost")
    term.end()


def watch_lag(journal: Journal) -> None:
    """Write down whenever this process did not run: being stopped, or on a busy machine."""
    last = now()
    while True:
        time.sleep(0.01)
        woke = now()
        if woke - last > 0.01 + LAG:
            journal.note("lag", last, woke)
        last = woke


def main(kind: str, url: str, place: str, slot: str, ttl: str, seed: str) -> None:
    folder, dice = Path(place), random.Random(int(seed))
    journal = Journal(folder / f"{kind}-{slot}-{os.getpid()}")
    threading.Thread(target=watch_lag, args=(journal,), daemon=True).start()
    lines = logging.StreamHandler()
    lines.setFormatter(BootTime("%(asctime)s %(process)d %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    lock: Lock
    if kind == "ours":
        if url.startswith("redis+sentinel:"):
            # Sentinels say where the servers find each other. The ways of this worker have the same ports there.
            defaults = leaderlock_redis._sentinel.BySentinel.__init__.__kwdefaults__
            defaults["forced_host"] = url.partition("://")[2].partition(":")[0]
        lock = Elections(url, float(ttl), journal)
    else:
        from tests.chaos.natives import NATIVES

        lock = NATIVES[url.partition(":")[0]](url, float(ttl))
    counters = Counters(folder, journal, dice)
    late = 0
    parent = os.getppid()
    while os.getppid() == parent:  # not longer than the campaign that started it
        term = lock.acquire(2.0)
        if late:
            # Written by who led before, as if nobody had told it; allowed as long as nobody else has stamped.
            try:
                counters.write_late(late)
            except FenceBusy:
                continue
            late = 0
        if term is None:
            continue
        try:
            lead(term, counters, journal, dice)
        except LeaderLockError as error:
            journal.note("trouble", now(), type(error).__name__)
        late = term.token if kind == "ours" and not term.is_held and dice.random() < 0.5 else 0
        time.sleep(dice.uniform(0.0, 0.1))


if __name__ == "__main__":
    main(*sys.argv[1:])
