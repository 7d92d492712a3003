"""The guardian's own process: one loop over messages, children that end, and time."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import select
import signal
import socket
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from leaderlock._clock import SteadyClock
from leaderlock._protocol.clocks import FOREVER, Deadline
from leaderlock.cli._kin import (
    LINUX,
    adopt_orphans,
    close_inherited,
    die_with_parent,
    group_lives,
    name_process,
    reap,
    signal_group,
    signal_kin,
)

__all__ = ["SLICE", "Why", "line", "run_keeper"]

SLICE: Final = 1.0
"""The longest single wait, in seconds: poll's own clock stops in suspend, so the steady ones are asked this often."""

UNCATCHABLE: Final = {signal.SIGKILL, signal.SIGSTOP}
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


def run_keeper(channel: socket.socket) -> NoReturn:
    """The guardian process, from fork to exit."""
    code = 70
    try:
        name_process(b"leader-guardian")
        os.setsid()  # neither the terminal's signals nor those for the wrapper's group are meant for the guardian
        close_inherited(keep=channel.fileno())
        keeper = _Keeper(channel)
        for number in signal.valid_signals() - _FAULTS - UNCATCHABLE - {signal.SIGCHLD}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        keeper.run()
        code = 0
    except BaseException:  # whatever it was, the command must not outlive its guardian
        signal_kin(signal.SIGKILL, None)
        import traceback  # heavy, and hardly ever needed

        traceback.print_exc()
    finally:
        os._exit(code)  # never back into the wrapper's code, its exit handlers and its buffered output


class _Job:
    def __init__(self, pid: int, deadline: Deadline, grace: float, margin: float) -> None:
        self.pid = pid
        self.deadline = deadline
        self.grace = grace
        self.margin = margin
        self.why = Why.EXITED
        self.status: int | None = None
        """Set once the command itself has ended and been reaped; from then on its number may be another's."""
        self.kill_at: Deadline | None = None
        """Set once the end is decided."""
        self.kills = 0


class _Keeper:
    """The guardian's one loop: messages, children that end, and time."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.clock = SteadyClock()
        self.job: _Job | None = None
        self.received = b""
        self.wrapper_gone = False
        adopt_orphans()
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
        return max(0.0, min(seconds, SLICE)) * 1000

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
                signal_group(job.pid, message["number"])
            case "end" if job is not None:
                self.decide(job, Why.ASKED, message["grace"])
            case _:  # about a command that has ended meanwhile
                pass

    def tell(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # a wrapper that is gone is noticed by reading
            self.channel.sendall(line(message))

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
            die_with_parent()
            if os.getppid() == guardian and deadline.is_ahead(self.clock.now()):
                for number in signal.valid_signals() - UNCATCHABLE:
                    signal.signal(number, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, ())
                os.execvpe(argv[0], argv, env)
        except (FileNotFoundError, NotADirectoryError):
            from shutil import which

            if which(argv[0], path=env.get("PATH")):  # the kernel says the same of what a script's first line names
                what = "cannot execute: what it is to be run with (its line #!) is not there"
            else:
                code, what = 127, "command not found"
            self.tell(kind="failed", detail=f"{argv[0]}: {what}")
        except (OSError, ValueError) as error:
            self.tell(kind="failed", detail=f"{argv[0]}: cannot execute: {getattr(error, 'strerror', None) or error}")
        finally:
            os._exit(code)

    def bury(self, job: _Job) -> None:
        """Reap what has ended; when nothing is left, say so."""
        ended, childless = reap()
        if job.pid in ended:
            job.status = ended[job.pid]
            # What the command left running runs under its lease as well.
            if not childless or group_lives(job.pid):
                self.hurry(job, job.grace)
                signal_kin(signal.SIGTERM, None if LINUX else job.pid)
                signal_kin(signal.SIGCONT, None if LINUX else job.pid)
        if job.status is not None and childless and not group_lives(job.pid):
            self.job = None
            self.tell(kind="exited", status=job.status, why=job.why.value)

    def enforce(self, job: _Job) -> None:
        now = self.clock.now()
        if job.kill_at is None and job.deadline.remaining(now) <= max(job.grace, job.margin):
            self.decide(job, Why.DEADLINE, job.grace)
        if job.kill_at is not None and job.kill_at.remaining(now) <= 0:
            job.kills += 1
            signal_kin(signal.SIGKILL, job.pid if job.status is None or not LINUX else None)

    def decide(self, job: _Job, why: Why, grace: float) -> None:
        """End the job: ask it now, if it has not been asked, and kill it after ``grace`` seconds."""
        if job.kill_at is None:
            job.why = why
            signal_group(job.pid, signal.SIGTERM)
            signal_group(job.pid, signal.SIGCONT)  # a stopped process acts on TERM only when it runs again
        self.hurry(job, grace)

    def hurry(self, job: _Job, grace: float) -> None:
        """Have the job killed after ``grace`` seconds, before its deadline, or when it was to be killed anyway."""
        now = self.clock.now()
        ends = [_before(job.deadline, job.margin), Deadline.after(now, grace), job.kill_at or FOREVER]
        job.kill_at = Deadline(min(end.boot for end in ends), min(end.raw for end in ends), 0.0)


def _do_nothing(*_: object) -> None:
    pass


def line(message: dict[str, Any]) -> bytes:
    # Escaped as ASCII, so that arguments and environment that are no valid text survive as lone surrogates.
    return json.dumps(message).encode("ascii") + b"\n"


def _deadline(pair: Sequence[float]) -> Deadline:
    return Deadline(pair[0], pair[1], 0.0)


def _before(deadline: Deadline, seconds: float) -> Deadline:
    return Deadline(deadline.boot - seconds, deadline.raw - seconds, 0.0)
