"""A lease as its holder sees it: what every face of it shows, and the face for threads."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from types import TracebackType
from typing import NoReturn

from leaderlock._checks import check_timeout
from leaderlock._course import Course, tell_loss
from leaderlock._current import enter, leave
from leaderlock._protocol.candidacy import LossReason, State
from leaderlock._protocol.clocks import Deadline
from leaderlock._protocol.records import Holder
from leaderlock._saving import Saving
from leaderlock._thread import apart, even_if_collected, hand_over
from leaderlock._unrun import check_plain
from leaderlock.errors import LeaseLost

__all__ = ["BaseLease", "Lease", "course_of"]


class BaseLease:
    """What a lease tells without I/O, to threads and to coroutines alike."""

    __slots__ = ("__weakref__", "_boot", "_candidacy", "_course")

    def __init__(self, course: Course) -> None:
        self._course = course
        self._candidacy = course.candidacy
        self._boot = course.engine.clock.boot

    def __repr__(self) -> str:
        left = max(self.remaining, 0.0)
        return f"<{type(self).__name__} {self.name!r} token={self.token} {self.state}, {left:.1f} s left>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a lease is this process's and cannot be pickled: hand on its token, or campaign over there")

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
        return self._course.engine.terms.holder

    @property
    def state(self) -> str:
        """Where the term stands, as a word: ``leading``, ``jeopardy``, ``resigned``, ``lost``…"""
        is_parents = self._candidacy.leads and self._course.engine.is_forked
        return (State.LOST if is_parents else self._candidacy.state).value

    @property
    def is_held(self) -> bool:
        """Whether this lease is held now: a comparison of clocks with the deadline, without lock or I/O."""
        # One clock decides while the end is further away than the two can differ; then both are read.
        return self._boot() < self._candidacy.standing.until.surely or self._course.is_held

    @property
    def deadline(self) -> Deadline:
        """Until when the lease is held at least, as a pair of instants on this host's steady clocks (seconds).

        Every renewal moves it. Once the lease is over, it is in the past.
        """
        return self._candidacy.standing.until

    @property
    def remaining(self) -> float:
        """Seconds until the deadline as it stands; zero or less when the lease is over."""
        return self._course.remaining

    @property
    def lost_reason(self) -> LossReason | None:
        """Why it was lost; ``None`` while it is held, and after it was resigned."""
        return self._course.lost_reason

    @property
    def note(self) -> bytes:
        """The name's note as this term found or last saved it: only the holder writes it, and it outlives the term."""
        return self._course.note

    def check(self) -> None:
        """Return if the lease is held now; needs no I/O.

        Raises:
            LeaseLost: it is not; ``.reason`` says why.
        """
        if not self.is_held:
            raise self._course.loss()


class Lease(BaseLease):
    """Leadership of one name while it lasts, with a token that is higher than every earlier leader's.

    Not promised: that :attr:`is_held` is still true when your next packet arrives, as a process may be paused between
    the check and the write. Hand :attr:`token` to the resource and let a fence refuse the older one.

    Made by :meth:`Election.campaign`. All methods may be called from any thread. ``with lease:`` is what ``with
    election:`` is once that has won. A lease does not keep its client: keep that for as long as you lead.
    """

    __slots__ = ("_entered",)

    def __init__(self, course: Course) -> None:
        super().__init__(course)
        self._entered: list[Token[Lease | None]] = []

    def ensure(self, seconds: float) -> None:
        """Return only when at least ``seconds`` are left, renewing first if there are fewer.

        Also renews first when this machine may have stood still since the last renewal (its wall clock jumped).

        Raises:
            LeaseLost: the lease is over.
            BackendUnavailable: the lease is held, but the store has not answered in time to promise that much.
            ValueError, TypeError: no renewal can leave so much, or it is no number of seconds.
        """
        course = self._course
        enough = course.leaves(seconds)
        if not enough():
            course.engine.here.renew(enough, course.engine.terms.timing.attempt)
        course.check_leaves(seconds, enough)

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
        course, engine = self._course, self._course.engine
        saving = Saving(course, note)
        budget = engine.terms.timing.ttl if timeout is None else timeout
        until = engine.clock.boot() + budget
        course.listen(saving.hear)
        try:
            engine.here.drive(saving.event, self.name, timeout)
            course.wait_for(saving.is_over, until)
        finally:
            course.unlisten(saving.hear)
        saving.conclude(budget)

    def resign(self, *, timeout: float | None = None, note: bytes | None = None) -> bool:
        """Stop leading, now, and free the name in the store; with ``note``, save that in the same write.

        The claim ends before the store is told. Returns whether the store has acknowledged the release, and the note,
        within ``timeout`` seconds (default: a ttl). If not, it is told as soon as it answers while the session lasts;
        then the note is not saved, and the name is free at the latest a ttl after the session's end. Resigning what is
        not held does nothing.

        Raises:
            UsageError: in a forked child, where the lease is its parent's.
            TypeError, ValueError: the note is not bytes, or more than 64 KiB; or ``timeout`` is no number of seconds.
        """
        check_timeout(timeout)
        course, engine = self._course, self._course.engine
        farewell = course.farewell(note)
        if engine.is_closed:
            return course.is_acknowledged
        budget = engine.terms.timing.ttl if timeout is None else timeout
        until = engine.clock.boot() + budget
        try:
            engine.here.drive(farewell, self.name, budget)
            course.wait_for(lambda: course.is_released, until)
            return course.is_acknowledged
        except BaseException:  # Ctrl-C before it came to that: a lease nobody holds any more
            try:
                engine.post(farewell)
            except BaseException:  # and again
                hand_over(apart, (engine.post, farewell))
                raise
            raise

    def wait_lost(self, timeout: float | None = None) -> LossReason | None:
        """Wait until the lease is over, at most ``timeout`` seconds; return why it was lost.

        ``None``: it is still held, or was resigned.
        """
        check_timeout(timeout)
        until = None if timeout is None else self._course.engine.clock.boot() + timeout
        self._course.wait_for(lambda: not self._candidacy.leads, until)
        return self.lost_reason

    def on_lost(self, callback: Callable[[Lease], object]) -> None:
        """Have ``callback(lease)`` called, on a thread of leaderlock's, when the lease is lost (not when resigned).

        Callbacks run one after the other and should be short; what they raise is logged. If the lease is lost already,
        the call comes at once.

        Raises:
            TypeError: not a function, or a coroutine function.
            RuntimeError: there can be no more threads, so the call could not be made.
        """
        check_plain("on_lost", callback)
        self._course.on_lost(lambda: callback(self))

    def __enter__(self) -> Lease:
        try:
            self.check()
            self._entered.append(enter(self))
        except BaseException:  # Ctrl-C at the threshold: nobody will leave a body that nobody has entered
            try:
                self.resign(timeout=0)
            except BaseException:  # and again
                hand_over(apart, (self.resign,), {"timeout": 0})
                raise
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        course = self._course
        try:
            if self._entered:
                leave(self._entered.pop())
            if self.state == "resigned":
                return
            self.check()
            if isinstance(error, GeneratorExit):
                even_if_collected(error, course.engine.post, course.farewell())
            elif not self.resign(timeout=course.engine.terms.leave_within):
                course.warn_unreleased()
        except LeaseLost as lost:
            tell_loss(lost, error)
        except BaseException:  # Ctrl-C on the way out
            try:
                self.resign(timeout=0)
            except BaseException:  # and again
                hand_over(apart, (self.resign,), {"timeout": 0})
                raise
            raise


def course_of(lease: Lease) -> Course:
    """For leaderlock's own: what stands behind it."""
    return lease._course  # pyright: ignore[reportPrivateUsage] - this is the one way in
