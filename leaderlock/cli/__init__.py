"""The command line: ``leaderlock COMMAND``, one file a command.

stdout is data, stderr is narration. Exit codes: :class:`leaderlock.cli._talk.Exit`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import cast

from leaderlock.cli._options import parse, wants_json
from leaderlock.cli._talk import Exit, Talk, exit_code

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    _reserve_stdio()
    words = list(sys.argv[1:] if argv is None else argv)
    talk = Talk(as_json=wants_json(words))
    talk.narrate_log()
    try:
        options = parse(words)
        code = options.command(options, talk)
        talk.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        return Exit.OK
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        meaning = exit_code(error)
        if meaning is None:
            raise  # a mistake of leaderlock's: its traceback is what a report needs
        talk.fail(error, meaning)
        return meaning
    return code


def _reserve_stdio() -> None:
    """Whoever closed stdin, stdout or stderr (``2>&-``) must not find a store's file or a socket in their place."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    stdout: object = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        # A name or a label that this encoding lacks is shown escaped, as Python does on stderr, rather than not at all.
        cast("io.TextIOWrapper", stdout).reconfigure(errors="backslashreplace")
