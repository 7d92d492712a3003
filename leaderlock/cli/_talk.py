"""What the command line says: exit codes, narration on stderr, data on stdout."""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import os
import sys
from collections.abc import Generator, Sequence
from typing import Any, Final, TextIO

from leaderlock.errors import (
    BackendError,
    BackendUnavailable,
    CampaignTimeout,
    LeaderLockError,
    LeaseLost,
    NotLeader,
    UsageError,
)

__all__ = ["Exit", "Talk", "Unrunnable", "Unwritten", "Usage", "ago", "exit_code", "in_iso", "paint", "plain"]


class Usage(Exception):
    """The command line asks for what cannot be; the text says what can.

    ``form``: how it is to be written, shown to people before the text.
    """

    def __init__(self, message: str, *, form: str = "") -> None:
        super().__init__(message)
        self.form = form


class Unrunnable(Exception):
    """The command is not there (127), or cannot be executed (126); told before anything is claimed for it."""

    def __init__(self, message: str, exit_code: Exit) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Unwritten(Exception):
    """Stdout takes no more, as a full disk does not: what was asked for did not get there."""


class Exit(enum.IntEnum):
    """The exit codes of ``leaderlock`` itself; ``run`` passes on its command's."""

    OK = 0
    WARNED = 1
    """``doctor`` found something that somebody should look at."""
    USAGE = 64
    STORE = 69
    """The store cannot be reached or used."""
    BROKEN = 70
    """leaderlock itself failed; a command that ran was killed."""
    UNWRITTEN = 74
    """Stdout could not be written."""
    NOT_ELECTED = 75
    LOST = 76
    TOO_LONG = 124
    """The command ran for longer than it may, and was ended; as ``timeout`` says it."""
    NOT_EXECUTABLE = 126
    NOT_FOUND = 127


def exit_code(error: BaseException) -> Exit | None:
    """What an error means for the exit code; None for a mistake of leaderlock's own."""
    match error:
        case CampaignTimeout():
            return Exit.STORE if isinstance(error.__cause__, BackendUnavailable) else Exit.NOT_ELECTED
        case LeaseLost():
            return Exit.LOST
        case NotLeader():
            return Exit.NOT_ELECTED
        case BackendError():
            return Exit.STORE
        case Usage() | UsageError():
            return Exit.USAGE
        case Unwritten():
            return Exit.UNWRITTEN
        case Unrunnable():
            return error.exit_code
        case LeaderLockError():
            return Exit.BROKEN
        case _:
            return None


class Talk:
    """The two streams. Narration never fails: nobody may be listening, and the work goes on.

    Data does: :class:`Unwritten`, and BrokenPipeError when whoever read it has seen enough.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.is_quiet = False

    def data(self, text: str) -> None:
        """A line for stdout."""
        if sys.stdout is None:
            raise Unwritten("cannot write to stdout: it is closed")
        with _writing():
            sys.stdout.write(text + "\n")

    def data_json(self, fields: object) -> None:
        self.data(json.dumps(fields))

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Lines for stdout, in columns; the first has their heads."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            self.data("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())

    def flush(self) -> None:
        """From here on, the lines for stdout are there."""
        with _writing():
            if sys.stdout is not None:
                sys.stdout.flush()

    def say(self, text: str) -> None:
        """A line of narration for people; ``--json`` silences it."""
        if not self.as_json and text:
            _write(f"{paint('leaderlock:', DIM, sys.stderr)} {plain(text)}\n")

    def tell(self, event: str, text: str, **facts: Any) -> None:
        """A line on stderr: the text for people (if there is any), or one object for ``--json``."""
        if self.as_json:
            _write(json.dumps({"leaderlock": event, **facts}) + "\n")
        else:
            self.say(text)

    def narrate_log(self) -> None:
        """From here on, what the library warns of is narrated; what stores' clients log is not."""
        logging.getLogger("leaderlock").addHandler(_Narration(self))
        # Where nobody configured logging, Python writes warnings to stderr: cron would mail that kazoo hung up.
        logging.getLogger().addHandler(logging.NullHandler())

    def fail(self, error: BaseException, code: int) -> None:
        is_away = code == Exit.STORE and isinstance(error, BackendUnavailable | CampaignTimeout)
        text = "" if self.is_quiet and (code == Exit.NOT_ELECTED or is_away) else str(error)
        if isinstance(error, Usage) and not self.as_json:
            _write(error.form)
        self.tell("error", text, message=str(error), kind=type(error).__name__, exit_code=int(code))


class _Narration(logging.Handler):
    """What the library warns of, told like everything else."""

    def __init__(self, talk: Talk) -> None:
        super().__init__(logging.WARNING)
        self._talk = talk

    def emit(self, record: logging.LogRecord) -> None:
        if hasattr(record, "leaderlock_name"):
            return  # a turn of a term, which whoever leads or waits here tells himself
        text = record.getMessage()
        self._talk.tell("warning", text, message=text)


@contextlib.contextmanager
def _writing() -> Generator[None]:
    try:
        yield
    except OSError as error:
        # What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):
            raise
        raise Unwritten(f"cannot write to stdout: {error.strerror}") from error


def _write(text: str) -> None:
    # One write a line, so that lines of several threads and of the command do not mix.
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed, or a pipe nobody reads
        sys.stderr.write(text)
        sys.stderr.flush()


DIM: Final = "2"
BOLD: Final = "1"
GREEN: Final = "32"
RED: Final = "31"


def paint(text: str, style: str, stream: TextIO | None) -> str:
    """The text in a colour, where a person looks and has not declined (https://no-color.org)."""
    if stream is None or not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def plain(text: object) -> str:
    """The text as it may be shown: what moves a terminal's cursor, in a stranger's label say, is written out."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in str(text))


def in_iso(at: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601, in UTC."""
    from datetime import UTC, datetime  # not for a line of a crontab

    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()


def ago(seconds: float) -> str:
    """A duration in the two units that matter."""
    whole = int(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
