"""One thread of leaderlock's own, started when it is first needed; for the engine, and for drivers that watch."""

from __future__ import annotations

import _thread
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

__all__ = ["OwnThread", "apart", "even_if_collected", "hand_over"]

_Outcome: TypeAlias = BaseException | None

PATIENCE: Final = 0.1
"""Seconds: far more than another thread needs, and no harm to anybody whose lock is held meanwhile."""

STARTING: Final = 20
"""How many times that long a thread may take to start; counted, as a process that is stopped meanwhile is not slow."""

hand_over: Final = _thread.start_new_thread
"""``hand_over(apart, (work, argument))``: have it done on another thread, where no signal is handled.

For what must be done although whoever deals with an interruption is interrupted again. No signal handler runs within a
call of C, nor between an exception and the first call in its ``except``: so this one, whose arguments are at hand, is
made whatever comes. What is written in Python may be interrupted before it has begun.
"""


def apart(work: Callable[..., object], *arguments: object, **options: object) -> None:
    """Do this on a thread of leaderlock's, with a name."""
    threading.Thread(target=work, args=arguments, kwargs=options, name="leaderlock-apart", daemon=True).start()


def even_if_collected(error: BaseException | None, work: Callable[..., object], *arguments: object) -> None:
    """Do this where a block is left by ``error``, also if that is because it is collected as garbage.

    Garbage is collected in the middle of anything: also where this very thread holds a lock of the driver's, or is in a
    step of the engine's. So it is done on another thread then, which is waited for, but not for long. At the
    interpreter's end no thread can be started, and nobody leads any more.
    """
    if not isinstance(error, GeneratorExit):
        work(*arguments)
        return
    done = threading.Event()

    def run() -> None:
        try:
            work(*arguments)
        finally:
            done.set()

    with suppress(RuntimeError):
        hand_over(apart, (run,))
        done.wait(PATIENCE)


def _first(outcomes: queue.SimpleQueue[_Outcome]) -> _Outcome:
    """The outcome of a start. Without memory, a thread may end before it can tell of one, or that it runs."""
    for _ in range(STARTING):
        with suppress(queue.Empty):
            return outcomes.get(timeout=PATIENCE)
    return RuntimeError("a new thread did not come to run")


class OwnThread:
    """A daemon thread that runs once, however often and by whomever it is started, to the end of ``run``.

    With ``failed``, an error that leaves ``run``, as where there is no memory, does not end it: ``failed`` is told of
    it, again until that goes well, and ``run`` is called anew.

    Ctrl-C in the middle of ``threading.Thread.start`` can leave the new thread waiting for ever for a lock that the
    interrupted caller took along. So that is called on another thread, where no signal is handled, and that one is
    started by a single call of C. Interrupted before it knows, ``start`` may do it again: the first thread that comes
    to run is it, the others end.
    """

    def __init__(self, name: str, run: Callable[[], None], failed: Callable[[Exception], None] | None = None) -> None:
        self._name = f"leaderlock-{name}"
        self._run = run
        self._failed = failed
        self._claim = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_started = False

    def start(self) -> None:
        """Start it, unless that was done. Raises ``RuntimeError`` where there can be no more threads."""
        if self._is_started:
            return
        outcomes: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        _thread.start_new_thread(self._start, (outcomes,))
        if (error := _first(outcomes)) is not None:
            raise error
        self._is_started = True

    def join(self, timeout: float) -> None:
        """Wait for its end, at most ``timeout`` seconds; not for itself, nor for what never ran."""
        for thread in tuple(self._threads):
            if thread is not threading.current_thread():
                with suppress(RuntimeError):
                    thread.join(timeout)

    def _start(self, outcomes: queue.SimpleQueue[_Outcome]) -> None:
        try:
            # Refused already here in an isolated subinterpreter.
            thread = threading.Thread(target=self._body, name=self._name, daemon=True)
            self._threads.append(thread)
            thread.start()
        except BaseException as error:  # it belongs to who waits
            outcomes.put(error)
        else:
            outcomes.put(None)

    def _body(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        if self._failed is None:
            self._run()
            return
        broken_by: Exception | None = None
        while True:
            try:
                if broken_by is not None:
                    self._failed(broken_by)
                    broken_by = None
                self._run()
                return
            except Exception as error:  # whatever it is: without this thread, nobody would ever hear of it
                broken_by = error
                time.sleep(PATIENCE)
