"""A lease as its holder sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from leaderlock._bell import Bell
from leaderlock._engine import Engine
from leaderlock._protocol.candidacy import (
    Candidacy,
    Elected,
    Errand,
    LossReason,
    Lost,
    News,
    NoteSaved,
    Released,
    State,
)
from leaderlock._protocol.clocks import Deadline
from leaderlock._protocol.events import Resign
from leaderlock._protocol.records import Holder
from leaderlock._saving import Saving, check_note
from leaderlock._timeouts import check_timeout
from leaderlock.errors import BackendUnavailable, LeaseLost

__all__ = ["Lease", "Listener"]

Listener: TypeAlias = Callable[[News], None]


class Lease:
    """Leadership of one name while it lasts, with a token that is higher than every earlier leader's.

    Not promised: that :attr:`is_held` is still true when your next packet arrives, as a process may be paused between
    the check and the write. Hand :attr:`token` to the resource and let a fence refuse the older one.

    Made by :meth:`Election.campaign`. All methods may be called from any thread.
    """

    __slots__ = ("__weakref__", "_boot", "_candidacy", "_engine", "_is_released", "_listeners", "_note", "_on_lost")

    def __init__(
        self,
        engine: Engine,
        name: str,
        *,
        patient: bool,
        listener: Listener | None = None,
        errand: Errand | None = None,
    ) -> None:
        self._engine = engine
        self._candidacy = Candidacy(name, patient=patient, audience=self, errand=errand)
        self._boot = engine.clock.boot
        self._note = b""
        self._is_released = False
        self._listeners: tuple[Listener, ...] = () if listener is None else (listener,)
        self._on_lost: tuple[Callable[[Lease], object], ...] = ()

    def __repr__(self) -> str:
        return f"<Lease {self.name!r} token={self.token} {self.state}, {max(self.remaining, 0.0):.1f} s left>"

    # -- what it is

    @property
    def name(self) -> str:
        """The name that is led."""
        return self._candidacy.name

    @property
    def token(self) -> int:
        """The fencing token: positive, below 2**53, above that of every earlier term of this name; never changes."""
        return self._candidacy.token

    @property
    def holder(self) -> Holder:
        """Who leads under this lease: this process."""
        return self._engine.terms.holder

    @property
    def state(self) -> str:
        """Where the term stands, as a word: ``leading``, ``jeopardy``, ``resigned``, ``lost``…"""
        return self._candidacy.state.value

    @property
    def is_held(self) -> bool:
        """Whether this lease is held now: a comparison of clocks with the deadline, without lock or I/O."""
        until = self._candidacy.standing.until
        # One clock decides while the end is further away than the two can differ; then both are read.
        return self._boot() < until.surely or until.is_ahead(self._engine.clock.now())

    @property
    def deadline(self) -> Deadline:
        """Until when the lease is held at least, as a pair of instants on this host's steady clocks (seconds).

        Every renewal moves it. Once the lease is over, it is in the past.
        """
        return self._candidacy.standing.until

    @property
    def remaining(self) -> float:
        """Seconds until the deadline as it stands; zero or less when the lease is over."""
        return max(self._candidacy.standing.until.remaining(self._engine.clock.now()), -1.0)

    @property
    def lost_reason(self) -> LossReason | None:
        """Why it was lost; ``None`` while it is held, and after it was resigned."""
        if self._engine.is_forked:
            return LossReason.FORKED
        if self._candidacy.reason is None and self._candidacy.leads and not self.is_held:
            # The engine has not run since.
            in_jeopardy = self._candidacy.state is State.JEOPARDY
            return LossReason.STORE_UNREACHABLE if in_jeopardy else LossReason.EXPIRED
        return self._candidacy.reason

    def check(self) -> None:
        """Return if the lease is held now.

        Raises:
            LeaseLost: it is not; ``.reason`` says why.
        """
        if not self.is_held:
            raise self.loss()

    def loss(self) -> LeaseLost:
        """For leaderlock's other faces: what is owed to who acts after the end."""
        if self._candidacy.state is State.RESIGNED:
            return LeaseLost(f"the lease of {self.name!r} was resigned: campaign again to act", reason="resigned")
        reason = (self.lost_reason or LossReason.EXPIRED).value
        return LeaseLost(
            f"the lease of {self.name!r} (token {self.token}) was lost: {reason}; stop acting", reason=reason
        )

    # -- what one does with it

    def ensure(self, seconds: float) -> None:
        """Return only when at least ``seconds`` are left, renewing first if there are fewer.

        Also renews first when this machine may have stood still since the last renewal (its wall clock jumped).

        Raises:
            LeaseLost: the lease is over.
            BackendUnavailable: the lease is held, but the store has not answered in time to promise that much.
            ValueError, TypeError: no renewal can leave so much, or it is no number of seconds.
        """
        enough = self.leaves(seconds)
        if not enough():
            self._engine.renew(enough, self._engine.terms.timing.attempt)
        self.check_leaves(seconds, enough)

    def leaves(self, seconds: float) -> Callable[[], bool]:
        """For leaderlock's other faces: what says whether a renewal has left enough, or the lease is over."""
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise TypeError(f"ensure({seconds!r}): it takes a number of seconds")
        timing = self._engine.terms.timing
        most = timing.ttl * (1 - timing.rho)
        if not 0 <= seconds < most:
            raise ValueError(
                f"ensure({seconds!r}): it takes 0 s or more, and a renewal leaves less than {most:g} s; use a longer "
                "ttl or ask for less"
            )

        def enough() -> bool:
            return not self.is_held or (self.remaining >= seconds and not self._engine.is_suspect())

        return enough

    def check_leaves(self, seconds: float, enough: Callable[[], bool]) -> None:
        """For leaderlock's other faces: raise what :meth:`ensure` owes where it was not ``enough``."""
        self.check()
        if not enough():
            raise BackendUnavailable(
                f"the lease of {self.name!r} has {self.remaining:.1f} s left and could not be renewed to {seconds:g} s"
            )

    @property
    def note(self) -> bytes:
        """The name's note as this term found or last saved it: only the holder writes it, and it outlives the term."""
        return self._note

    def save_note(self, note: bytes, *, timeout: float | None = None) -> None:
        """Write the note, and return when the store has it.

        A register of 64 KiB that only the present leader can write: "processed up to here".

        Raises:
            LeaseLost: the lease ended before the note was acknowledged; a later leader will not find it unless it does.
            BackendUnavailable: not acknowledged within ``timeout`` seconds (default: while the lease lasts); it may be
                saved yet, and the next ``save_note`` comes after it.
            BackendRefused: the store said no; the lease goes on, with the note that it had.
            TypeError, ValueError: not bytes, or more than 64 KiB; or ``timeout`` is no number of seconds.
        """
        check_timeout(timeout)
        saving = Saving(self, note)
        budget = self._engine.terms.timing.ttl if timeout is None else timeout
        until = self._engine.clock.boot() + budget
        self.listen(saving.hear)
        try:
            self._engine.drive(saving.event, self.name, timeout)
            self.wait_for(saving.is_over, until)
        finally:
            self.unlisten(saving.hear)
        saving.conclude(budget)

    def resign(self, *, timeout: float | None = None, note: bytes | None = None) -> bool:
        """Stop leading, now, and free the name in the store; with ``note``, save that in the same write.

        The claim ends before the store is told. Returns whether the store has acknowledged the release within
        ``timeout`` seconds (default: a ttl); if not, it is told as soon as it answers, and the name is free at the
        latest a ttl after this session's end. Resigning what is not held does nothing.

        Raises:
            UsageError: in a forked child, where the lease is its parent's.
            TypeError, ValueError: the note is not bytes, or more than 64 KiB; or ``timeout`` is no number of seconds.
        """
        check_timeout(timeout)
        farewell = self.farewell(note)
        if self._engine.is_closed:
            return self._candidacy.state is State.RESIGNED
        budget = self._engine.terms.timing.ttl if timeout is None else timeout
        until = self._engine.clock.boot() + budget
        try:
            self._engine.drive(farewell, self.name, budget)
            return self.wait_for(lambda: self._is_released, until)
        except BaseException:
            self._engine.post(farewell)  # Ctrl-C before it came to that: a lease nobody holds any more
            raise

    def farewell(self, note: bytes | None = None) -> Resign:
        """For leaderlock's other faces: the event that ends this term, checked; see :meth:`resign`."""
        if note is not None:
            check_note(note)
        if self._engine.is_forked:
            self._engine.refuse()
        return Resign(self._candidacy, note)

    def wait_lost(self, timeout: float | None = None) -> LossReason | None:
        """Wait until the lease is over, at most ``timeout`` seconds; return why it was lost.

        ``None``: it is still held, or was resigned.
        """
        check_timeout(timeout)
        self.wait_for(
            lambda: not self._candidacy.leads, None if timeout is None else self._engine.clock.boot() + timeout
        )
        return self.lost_reason

    def on_lost(self, callback: Callable[[Lease], object]) -> None:
        """Have ``callback(lease)`` called, on a thread of leaderlock's, when the lease is lost (not when resigned).

        Callbacks run one after the other and should be short; what they raise is logged. If the lease is lost already,
        the call comes at once.
        """
        if not callable(callback):
            raise TypeError(f"on_lost takes a function, not {type(callback).__name__}")
        if self._engine.is_forked:
            self._engine.refuse()
        with self._engine.locked():
            self._on_lost = (*self._on_lost, callback)
            if self._candidacy.reason is not None:
                self._engine.callbacks.call(lambda: callback(self))

    # -- for leaderlock's own

    @property
    def engine(self) -> Engine:
        """For leaderlock's other faces."""
        return self._engine

    @property
    def is_released(self) -> bool:
        """For leaderlock's other faces: whether the store has acknowledged the release, or needs none."""
        return self._is_released

    @property
    def candidacy(self) -> Candidacy:
        """For leaderlock's other faces: what the protocol knows of this term."""
        return self._candidacy

    def tell(self, news: News) -> None:
        """For the engine."""
        match news:
            case Elected(_, note) | NoteSaved(_, note):
                self._note = note
            case Released():
                self._is_released = True
            case Lost():
                for callback in self._on_lost:
                    self._engine.callbacks.call(lambda callback=callback: callback(self))  # type: ignore[misc]
            case _:
                pass
        for listener in self._listeners:
            listener(news)

    def listen(self, listener: Listener) -> None:
        """For leaderlock's other faces: be told everything, with the engine's lock held."""
        with self._engine.locked():
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        with self._engine.locked():
            self._listeners = tuple(other for other in self._listeners if other != listener)

    def wait_for(self, done: Callable[[], bool], until: float | None, *, attending: bool = False) -> bool:
        """For leaderlock's other faces: wait until the news make it ``done()``, or until that instant of the first
        clock; returns whether they did. ``attending``: as :meth:`Engine.attend` says."""
        if done():
            return True
        bell = Bell()

        def hear(_: News) -> None:
            bell.ring()

        self.listen(hear)
        try:
            if attending:
                return self._engine.attend(self.name, bell, done, until) or done()
            return self._engine.wait_for(bell, done, until) or done()
        finally:
            self.unlisten(hear)
