"""Every block of code on the pages runs, and the README's do what it says they do."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine
from sybil import Sybil
from sybil.example import Example
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted(path for path in [README, ROOT / "backends/README.md", *ROOT.glob("docs/**/*.md")])


def run_in_shell(example: Example) -> None:
    """Run a block as the reader would; ``leaderlock`` is the one of this checkout."""
    if example.parsed.startswith("make "):
        return  # checked by tests/unit/test_docs.py: they would run these tests again
    script = f'leaderlock() {{ "{sys.executable}" -m leaderlock "$@"; }}\n{example.parsed}'
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, timeout=60, env=os.environ, check=False
    )
    example.namespace.setdefault("shell_output", []).append(done.stdout)
    assert done.returncode == 0, f"{example.parsed}\n{done.stdout}{done.stderr}"


def run(page: Path, *, shell: bool = False) -> dict[str, object]:
    """Run a page's blocks in their order; returns the names that they defined."""
    parsers = [PythonCodeBlockParser(), *([CodeBlockParser("sh", run_in_shell)] if shell else [])]
    document = Sybil(parsers=parsers, path=str(page.parent)).parse(page)
    try:
        for example in document.examples():
            example.evaluate()
    finally:
        put_away(document.namespace)
    return document.namespace


def put_away(names: dict[str, object]) -> None:
    """End what a program keeps until it ends: from Python 3.13 on, SQLite's connections complain if nobody does."""
    for value in names.values():
        if isinstance(value, AsyncEngine):
            value.sync_engine.dispose()
        elif isinstance(value, Engine):
            value.dispose()
        elif isinstance(value, sqlite3.Connection):
            value.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_python_on_the_page_runs(page, reader):
    before = set(threading.enumerate())

    run(page)

    left = {thread for thread in threading.enumerate() if thread.name.startswith("leaderlock")} - before
    for thread in left:
        thread.join(10.0)  # the one that closed the client has told so, and is about to end
    assert not [thread for thread in left if thread.is_alive()]


def test_the_readme_runs_from_top_to_bottom_and_does_what_it_says(reader, capsys):
    names = run(README, shell=True)

    printed = capsys.readouterr().out
    assert re.search(r"^cleaned under token \d+$", printed, re.M)
    assert [line.split(",")[0] for line in printed.splitlines() if line.startswith("page")] == [
        "page 0",
        "page 1",
        "page 2",
    ]
    assert "refused token" in printed
    [ticked, shell] = names["shell_output"]
    assert re.fullmatch(r"the tick of \d{4}-\d\d-\d\dT\d\d:\d\d:00\+00:00\n", ticked)
    assert re.fullmatch(r"token \d+\n", shell)
    assert {path.name for path in reader.iterdir()} <= {
        "leader.db",
        "leader.db-bell",
        "report.txt",
        ".report.txt.fence",
        ".report.txt.fence-lock",
    }
