"""What a fresh process pays: the import, and ``leaderlock run`` beside the command that it runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from .figures import MS, ROOT, Figure, beside, median, spread


def measure(*, quick: bool) -> Iterator[Figure]:
    rounds = 7 if quick else 30
    _python("-c", "import leaderlock")  # the first leaves the bytecode that all others find
    bare, imported = beside(rounds, lambda: _python("-c", "pass"), lambda: _python("-c", "import leaderlock"))
    yield Figure(
        what="import leaderlock",
        value=(median(imported) - median(bare)) * MS,
        unit="ms",
        goal=60,
        measured=f"{spread(imported, MS, 'ms')} beside {spread(bare, MS, 'ms')} of an empty program",
    )
    with tempfile.TemporaryDirectory() as folder:
        command = ("-m", "leaderlock", "run", "starting", "--url", f"sqlite:///{folder}/leader.db", "--", "true")
        _python(*command)
        bare, ran = beside(rounds, lambda: (_python("-c", "pass"), _run("true")), lambda: _python(*command))
    yield Figure(
        what="leaderlock run -- true",
        value=(median(ran) - median(bare)) * MS,
        unit="ms",
        goal=150,
        measured=f"{spread(ran, MS, 'ms')} beside {spread(bare, MS, 'ms')} of an empty program, then true",
    )


def _python(*arguments: str) -> None:
    _run(sys.executable, *arguments)


def _run(*command: str) -> None:
    # As where it was installed: pip compiles what it installs. A shell that forbids bytecode would have every process
    # compile all of leaderlock anew, which takes longer than all else it does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
