"""The guardian: a command that runs under a lease is gone before the lease's deadline.

It holds when the wrapper that renews the lease is killed with -9, stopped, or hangs: the guardian is a process of its
own and the command's parent; it reads deadlines from a socket and ends the command when they run out, or when the
socket closes. What belongs to the command is found by parentage, so daemons that left its process group go too.

Times, before the deadline: TERM (and CONT) when ``grace`` is left, KILL when the margin is left, which is a quarter of
a second or, for short leases, a tenth of what was left at the start. Once TERM has been sent the end is decided; later
deadlines do not take it back. A command that ends by itself takes what it left running with it, so daemons must be run
in the foreground.

Not promised: reach over what is no descendant (containers started through a daemon, ``ssh``, ``at``), over processes
that another user owns (put ``sudo`` before leaderlock, not behind it), over a program that forks away from KILL on
purpose, or over one stuck in the kernel; outside Linux, over what left the process group. When guardian *and* wrapper
are killed at once, only the direct child dies with them; when the guardian is stopped and the wrapper killed, nobody is
left to end the command.

The command runs in a session of its own. It can read the terminal, and gets Ctrl-C through the wrapper; it has no job
control and no ``/dev/tty``, and Ctrl-Z stops only the wrapper, so the lease runs out and the command is ended. Lending
it the terminal instead would put the rest of a pipeline or script into the background.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from leaderlock._clock import SteadyClock
from leaderlock._protocol.clocks import FOREVER, Deadline
from leaderlock.cli._keeper import SLICE, Why, line, run_keeper
from leaderlock.cli._kin import LINUX, adopt_orphans, bury_others, reap, signal_kin
from leaderlock.errors import LeaderLockError, UsageError

__all__ = ["FORWARDED", "Guardian", "Outcome", "Why", "start"]

FORWARDED: Final = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCONT,
)
"""What a wrapper should hand to :meth:`Guardian.forward`: the command's session gets nothing from the terminal."""

_MARGIN: Final = 0.25


class Outcome(NamedTuple):
    """The end of one run."""

    why: Why
    status: int | None
    """The command's raw wait status; None if it is not known, or the command never ran."""
    detail: str = ""
    """What went wrong, when it was not started."""

    @property
    def exit_code(self) -> int:
        """The command's exit code, or 128 + n when signal n killed it."""
        if self.status is None:
            return 128 + signal.SIGKILL
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code


def start() -> Guardian:
    """Fork the guardian. It must be the first thing a wrapper does: before threads, and before heavy imports.

    Raises:
        LeaderLockError: there are no processes or descriptors for it.
    """
    if threading.active_count() > 1:
        raise UsageError("the guardian must be forked before any thread is started; call start() first")
    # Ignored, as `trap '' CHLD` of a parent leaves it to us, it has the kernel reap children: the guardian before the
    # wrapper, and the command, with its exit code, before the guardian.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # The wrapper inherits the command's processes when the guardian dies, and can end them then.
    adopt_orphans()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        ours, its = socket.socketpair()
        try:
            pid = os.fork()
        except OSError:
            ours.close()
            its.close()
            raise
    except OSError as error:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        raise LeaderLockError(f"no process can be started to guard the command: {error.strerror}") from error
    if pid == 0:
        ours.close()
        run_keeper(its)
    if os.getpid() == 1:  # in a container: to the first falls whatever is left behind there, as by `docker exec`

        def bury(*_: object) -> None:
            bury_others(pid)

        signal.signal(signal.SIGCHLD, bury)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    its.close()
    return Guardian(pid, ours)


class Guardian:
    """The wrapper's handle. The wrapper must have no other children: they would be taken for the command's.

    ``extend``, ``forward`` and ``end`` never block, and may be called from any thread and from signal handlers.
    ``spawn``, ``wait`` and ``close`` belong to one thread.
    """

    def __init__(self, pid: int, channel: socket.socket) -> None:
        channel.setblocking(False)
        self.pid = pid
        self.child: int | None = None
        """The command's process id, once it is known; also its group and its session."""
        self._channel = channel
        self._clock = SteadyClock()
        self._queue: deque[bytes] = deque()
        self._newest: deque[bytes] = deque(maxlen=1)  # only the newest deadline matters to a guardian that lags behind
        self._unsent = b""
        self._sending = threading.Lock()
        self._received = b""
        self._failure = ""
        self._deadline = FOREVER
        self._margin = 0.0
        self._running = False
        self._lost = False
        self._outcome: Outcome | None = None

    def __enter__(self) -> Guardian:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def spawn(self, argv: Sequence[str], *, env: Mapping[str, str], deadline: Deadline, grace: float) -> None:
        """Start a command, in the wrapper's directory and on its stdin, stdout and stderr. One at a time."""
        if self._running or self._lost:
            raise UsageError("a command is running already; wait for it" if self._running else "the guardian is gone")
        left = deadline.remaining(self._clock.now())
        if not 0 <= grace < left:
            raise ValueError(f"grace ({grace:g} s) must be at least 0 and less than the lease has left ({left:g} s)")
        self._margin = min(_MARGIN, left / 10)
        self._deadline, self._outcome, self._failure, self.child, self._running = deadline, None, "", None, True
        self._newest.clear()  # a deadline of an earlier run
        message = {"kind": "spawn", "argv": list(argv), "env": dict(env), "grace": grace, "margin": self._margin}
        self._post(message | {"deadline": deadline[:2]})

    def extend(self, deadline: Deadline) -> None:
        """Tell the guardian of a renewal."""
        self._deadline = deadline
        self._newest.append(line({"kind": "deadline", "deadline": deadline[:2]}))
        self._flush()

    def forward(self, number: int) -> None:
        """Send a signal to the command's process group."""
        self._post({"kind": "signal", "number": int(number)})

    def end(self, grace: float) -> None:
        """TERM now, KILL after ``grace`` seconds or shortly before the deadline. Asked again, it can only hasten."""
        self._post({"kind": "end", "grace": grace})

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """Wait until the command and everything it started are gone; None if they are not within ``timeout`` seconds.

        It also watches the guardian: when that dies, or lets the deadline come too near, the caller's thread kills
        the command itself. So a wrapper should spend its time in here.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while self._running:
            self._flush()
            overdue_in = self._deadline.remaining(self._clock.now()) - self._margin / 2
            left = SLICE if until is None else until - time.monotonic()
            alive = self._receive(max(0.0, min(SLICE, left, overdue_in)))
            if not self._running:
                break
            # Whether it is overdue was asked before that look: a wrapper that was stopped first hears what was said.
            if not alive or overdue_in <= 0:
                self._finish(Outcome(Why.GUARDIAN_LOST, self._take_over()))
            elif until is not None and time.monotonic() >= until:
                return None
        if self._outcome is None:
            raise UsageError("nothing to wait for; call spawn() first")
        return self._outcome

    def close(self) -> None:
        """Kill whatever still runs, and the guardian. To end a command gently, call ``end()`` and ``wait()`` before."""
        if not self._lost:
            self._take_over()
        self._running = False
        self._channel.close()

    def _post(self, message: dict[str, Any]) -> None:
        self._queue.append(line(message))
        self._flush()

    def _flush(self) -> None:
        # Whoever finds the lock taken, by another thread or by the very frame that a signal handler interrupted, leaves
        # its message in the queue; the lock's holder looks at the queue again after letting go.
        while (self._unsent or self._queue or self._newest) and self._sending.acquire(blocking=False):
            try:
                if not self._send_one():
                    return
            finally:
                self._sending.release()

    def _send_one(self) -> bool:
        """Send the oldest message, or what is left of it; false when the socket takes no more."""
        with contextlib.suppress(IndexError):
            self._unsent = self._unsent or (self._queue or self._newest).popleft()
        try:
            sent = self._channel.send(self._unsent)
        except BlockingIOError:
            return False
        except OSError:  # the guardian is gone, which wait() finds out by reading
            self._queue.clear()
            self._newest.clear()
            self._unsent = b""
            return False
        self._unsent = self._unsent[sent:]
        return True

    def _receive(self, seconds: float) -> bool:
        """Take in what the guardian says within ``seconds``; false when it has hung up."""
        poll = select.poll()
        backlog = self._unsent or self._queue or self._newest
        poll.register(self._channel, select.POLLIN | (select.POLLOUT if backlog else 0))
        if not any(events & ~select.POLLOUT for _, events in poll.poll(seconds * 1000)):
            return True
        try:
            data = self._channel.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        *lines, self._received = (self._received + data).split(b"\n")
        for received in lines:
            self._hear(json.loads(received))
        return bool(data)

    def _hear(self, message: dict[str, Any]) -> None:
        match message["kind"]:
            case "started":
                self.child = message["pid"]
            case "failed":
                self._failure = message["detail"]
            case _:
                why = Why.NOT_STARTED if self._failure else Why(message["why"])
                self._finish(Outcome(why, message["status"], self._failure))

    def _finish(self, outcome: Outcome) -> None:
        self._running, self._outcome = False, outcome

    def _take_over(self) -> int | None:
        """Kill guardian and command from here; the command's wait status, if it could be had."""
        self._lost = True
        os.kill(self.pid, signal.SIGKILL)  # not reaped yet, so the number is still its own
        os.waitpid(self.pid, 0)
        status: int | None = None
        # On Linux all are descendants now. The group's number may be another's, if the guardian reaped its leader.
        group = self.child if self._running and not LINUX else None
        give_up = time.monotonic() + 5.0  # a process that is stuck in the kernel must not hold up the wrapper as well
        while True:
            signal_kin(signal.SIGKILL, group)
            ended, childless = reap()
            if self.child in ended:
                status = ended[self.child]
            if childless or time.monotonic() > give_up:
                return status
            time.sleep(0.002)
