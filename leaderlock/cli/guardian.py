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
import ctypes
import enum
import errno
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from leaderlock._clock import SteadyClock
from leaderlock._protocol.clocks import FOREVER, Deadline
from leaderlock.errors import UsageError

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

_LINUX: Final = sys.platform.startswith("linux")
_SLICE: Final = 1.0  # poll's own clock stops in suspend, so the steady clocks are asked at least this often
_MARGIN: Final = 0.25
_UNCATCHABLE: Final = {signal.SIGKILL, signal.SIGSTOP}
_FAULTS: Final = {getattr(signal, "SIG" + name) for name in ("SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS")}


class Why(enum.Enum):
    """How a run ended."""

    EXITED = "exited"
    """By itself; what it had left running was ended too."""
    NOT_STARTED = "not started"
    """The command was not found (127) or could not be executed (126)."""
    ASKED = "asked"
    """By :meth:`Guardian.end`."""
    DEADLINE = "deadline"
    """No later deadline came in time: the lease ran out, or the wrapper was stopped."""
    WRAPPER_GONE = "wrapper gone"
    """The socket closed. Nobody is left to read this one."""
    GUARDIAN_LOST = "guardian lost"
    """The guardian died or did not act in time; the wrapper killed the command itself."""


@dataclass(frozen=True, slots=True)
class Outcome:
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
    """Fork the guardian. It must be the first thing a wrapper does: before threads, and before heavy imports."""
    if threading.active_count() > 1:
        raise UsageError("the guardian must be forked before any thread is started; call start() first")
    ours, its = socket.socketpair()
    # The wrapper inherits the command's processes when the guardian dies, and can end them then.
    _adopt_orphans()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    pid = os.fork()
    if pid == 0:
        ours.close()
        _run_keeper(its)
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
        self._newest.append(_line({"kind": "deadline", "deadline": deadline[:2]}))
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
            left = _SLICE if until is None else until - time.monotonic()
            alive = self._receive(max(0.0, min(_SLICE, left, overdue_in)))
            if not self._running:
                break
            if not alive or self._deadline.remaining(self._clock.now()) <= self._margin / 2:
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
        self._queue.append(_line(message))
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
        for line in lines:
            self._hear(json.loads(line))
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
        group = self.child if self._running and not _LINUX else None
        give_up = time.monotonic() + 5.0  # a process that is stuck in the kernel must not hold up the wrapper as well
        while True:
            _signal_kin(signal.SIGKILL, group)
            ended, childless = _reap()
            if self.child in ended:
                status = ended[self.child]
            if childless or time.monotonic() > give_up:
                return status
            time.sleep(0.002)


def _run_keeper(channel: socket.socket) -> NoReturn:
    """The guardian process, from fork to exit."""
    code = 70
    try:
        _prctl(15, b"leader-guardian")  # PR_SET_NAME: what ps and top show
        os.setsid()  # neither the terminal's signals nor those for the wrapper's group are meant for the guardian
        _close_inherited(keep=channel.fileno())
        keeper = _Keeper(channel)
        for number in signal.valid_signals() - _FAULTS - _UNCATCHABLE - {signal.SIGCHLD}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        keeper.run()
        code = 0
    except BaseException:  # whatever it was, the command must not outlive its guardian
        _signal_kin(signal.SIGKILL, None)
        import traceback  # heavy, and hardly ever needed

        traceback.print_exc()
    finally:
        os._exit(code)  # never back into the wrapper's code, its exit handlers and its buffered output


@dataclass(slots=True)
class _Job:
    pid: int
    deadline: Deadline
    grace: float
    margin: float
    why: Why = Why.EXITED
    status: int | None = None
    """Set once the command itself has ended and been reaped; from then on its number may be another's."""
    kill_at: Deadline | None = None
    """Set once the end is decided."""
    kills: int = 0


class _Keeper:
    """The guardian's one loop: messages, children that end, and time."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.clock = SteadyClock()
        self.job: _Job | None = None
        self.received = b""
        self.wrapper_gone = False
        _adopt_orphans()
        self.wake, write_end = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(write_end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _do_nothing)  # without a handler nothing would be written to the pipe

    def run(self) -> None:
        poll = select.poll()
        poll.register(self.channel, select.POLLIN)
        poll.register(self.wake, select.POLLIN)
        while self.job is not None or not self.wrapper_gone:
            for descriptor, _ in poll.poll(self.pause()):
                if descriptor == self.wake:
                    os.read(self.wake, 4096)
                elif not self.listen():
                    poll.unregister(self.channel)
                    self.wrapper_gone = True
                    if self.job is not None:
                        self.decide(self.job, Why.WRAPPER_GONE, self.job.grace)
            if self.job is not None:
                self.bury(self.job)
            if self.job is not None:
                self.enforce(self.job)

    def pause(self) -> float | None:
        """Milliseconds until something may have to be done."""
        if (job := self.job) is None:
            return None
        now = self.clock.now()
        if job.kill_at is None:
            seconds = job.deadline.remaining(now) - max(job.grace, job.margin)
        else:
            # After the first KILL it is repeated, ever more seldom, for what was forked meanwhile.
            seconds = 0.001 * 2 ** min(job.kills, 10) if job.kills else job.kill_at.remaining(now)
        return max(0.0, min(seconds, _SLICE)) * 1000

    def listen(self) -> bool:
        """Act on what the wrapper says; false when it has hung up."""
        try:
            data = self.channel.recv(65536)
        except OSError:
            return False
        *lines, self.received = (self.received + data).split(b"\n")
        for line in lines:
            self.obey(json.loads(line))
        return bool(data)

    def obey(self, message: dict[str, Any]) -> None:
        job = self.job
        match message["kind"]:
            case "spawn":
                self.spawn(message)
            case "deadline" if job is not None:
                job.deadline = _deadline(message["deadline"])
            case "signal" if job is not None and job.status is None:
                _signal_group(job.pid, message["number"])
            case "end" if job is not None:
                self.decide(job, Why.ASKED, message["grace"])
            case _:  # about a command that has ended meanwhile
                pass

    def tell(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # a wrapper that is gone is noticed by reading
            self.channel.sendall(_line(message))

    def spawn(self, message: dict[str, Any]) -> None:
        deadline, margin = _deadline(message["deadline"]), message["margin"]
        if deadline.remaining(self.clock.now()) <= margin:  # the guardian itself was held up
            self.tell(kind="exited", status=None, why=Why.DEADLINE.value)
            return
        # A signal that comes between fork and exec waits until the child can take it as the command would.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        guardian = os.getpid()
        try:
            pid = os.fork()
            if pid == 0:
                self.become(message["argv"], message["env"], deadline, guardian)
        except OSError as error:
            self.tell(kind="failed", detail=f"cannot fork: {error.strerror}")
            self.tell(kind="exited", status=126 << 8, why=Why.EXITED.value)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.job = _Job(pid, deadline, message["grace"], margin)
        self.tell(kind="started", pid=pid)

    def become(self, argv: list[str], env: dict[str, str], deadline: Deadline, guardian: int) -> NoReturn:
        """In the forked child: become the command."""
        code = 126
        try:
            os.setsid()
            _die_with_parent()
            if os.getppid() == guardian and deadline.is_ahead(self.clock.now()):
                for number in signal.valid_signals() - _UNCATCHABLE:
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                os.execvpe(argv[0], argv, env)
        except (FileNotFoundError, NotADirectoryError):
            code = 127
            self.tell(kind="failed", detail=f"{argv[0]}: command not found")
        except (OSError, ValueError) as error:
            self.tell(kind="failed", detail=f"{argv[0]}: cannot execute: {getattr(error, 'strerror', None) or error}")
        finally:
            os._exit(code)

    def bury(self, job: _Job) -> None:
        """Reap what has ended; when nothing is left, say so."""
        ended, childless = _reap()
        if job.pid in ended:
            job.status = ended[job.pid]
            # What the command left running runs under its lease as well.
            if not childless or _group_lives(job):
                self.hurry(job, job.grace)
                _signal_kin(signal.SIGTERM, None if _LINUX else job.pid)
                _signal_kin(signal.SIGCONT, None if _LINUX else job.pid)
        if job.status is not None and childless and not _group_lives(job):
            self.job = None
            self.tell(kind="exited", status=job.status, why=job.why.value)

    def enforce(self, job: _Job) -> None:
        now = self.clock.now()
        if job.kill_at is None and job.deadline.remaining(now) <= max(job.grace, job.margin):
            self.decide(job, Why.DEADLINE, job.grace)
        if job.kill_at is not None and job.kill_at.remaining(now) <= 0:
            job.kills += 1
            _signal_kin(signal.SIGKILL, job.pid if job.status is None or not _LINUX else None)

    def decide(self, job: _Job, why: Why, grace: float) -> None:
        """End the job: ask it now, if it has not been asked, and kill it after ``grace`` seconds."""
        if job.kill_at is None:
            job.why = why
            _signal_group(job.pid, signal.SIGTERM)
            _signal_group(job.pid, signal.SIGCONT)  # a stopped process acts on TERM only when it runs again
        self.hurry(job, grace)

    def hurry(self, job: _Job, grace: float) -> None:
        """Have the job killed after ``grace`` seconds, before its deadline, or when it was to be killed anyway."""
        now = self.clock.now()
        ends = [_before(job.deadline, job.margin), Deadline.after(now, grace), job.kill_at or FOREVER]
        job.kill_at = Deadline(min(end.boot for end in ends), min(end.raw for end in ends), 0.0)


def _do_nothing(*_: object) -> None:
    pass


def _line(message: dict[str, Any]) -> bytes:
    # Escaped as ASCII, so that arguments and environment that are no valid text survive as lone surrogates.
    return json.dumps(message).encode("ascii") + b"\n"


def _deadline(pair: Sequence[float]) -> Deadline:
    return Deadline(pair[0], pair[1], 0.0)


def _before(deadline: Deadline, seconds: float) -> Deadline:
    return Deadline(deadline.boot - seconds, deadline.raw - seconds, 0.0)


def _prctl(option: int, argument: int | bytes) -> None:
    if _LINUX:
        ctypes.CDLL(None).prctl(option, argument, 0, 0, 0)


def _adopt_orphans() -> None:
    _prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: a daemon whose parent died becomes this process's child, and can be found


def _die_with_parent() -> None:
    # PR_SET_PDEATHSIG, a second belt only: it reaches the direct child alone, and is dropped when that runs a setuid
    # program. It fires when the forking *thread* ends, which is why a wrapper with threads could not use it.
    _prctl(1, signal.SIGKILL)


def _close_inherited(*, keep: int) -> None:
    """Close what the wrapper was started with beyond stdio, so that neither guardian nor command holds it open."""
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) != keep:
            with contextlib.suppress(OSError):  # listdir's own
                os.close(int(name))


def _reap() -> tuple[dict[int, int], bool]:
    """Bury the children that have ended: their statuses, and whether none is left."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, True
        if pid == 0:
            return ended, False
        ended[pid] = status


def _group_lives(job: _Job) -> bool:
    """Whether the group has members that are nobody's children here; only where orphans cannot be adopted."""
    if _LINUX:
        return False
    try:
        os.killpg(job.pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(PermissionError):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:  # just forked, and not yet the leader of its group
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _signal_kin(number: int, group: int | None) -> None:
    """Signal a group at one stroke, if its number is certainly still its own, and then every descendant."""
    if group is not None:
        _signal_group(group, number)
    kin = _descendants()
    for pid in kin:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            _signal_one(pid, number, kin | {os.getpid()})


def _signal_one(pid: int, number: int, family: set[int]) -> None:
    # The number may have passed to a stranger since it was read. So first take hold of whoever has it now, and only
    # then look again whose child that is: a stranger is let go, and if the number passes on now the signal fails.
    try:
        handle = os.pidfd_open(pid)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EPERM):  # an old kernel, or a container that forbids the call
            os.kill(pid, number)
        return
    try:
        if _parent(pid) in family:
            signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def _descendants() -> set[int]:
    """Every process below this one; empty where there is no /proc."""
    children: dict[int, list[int]] = {}
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit() and (parent := _parent(int(name))) is not None:
                children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    ahead = [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found.update(below)
        ahead.extend(below)
    return found


def _parent(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[1])  # the name in brackets may hold anything, brackets too
