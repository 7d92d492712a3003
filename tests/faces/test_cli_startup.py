"""What a crontab line does not pay for: modules that ``leaderlock run`` has no use for."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from leaderlock._connect import OURS

ROOT = Path(__file__).parents[2]

HEAVY = (
    "asyncio",
    "dataclasses",
    "importlib.metadata",
    "inspect",
    "shutil",
    "secrets",
    "ssl",
    "tenacity",
    "cronsim",
    "leaderlock.cli.status",
)


def test_run_imports_nothing_heavy(run_program, tmp_path):
    ended = run_program(
        "import logging, sys; theirs = set(sys.modules)  # from 3.14 on, logging itself brings some of them\n"
        "from leaderlock.cli import main\n"
        "code = main(['run', '--url', sys.argv[1], 'x', '--', 'true'])\n"
        "print(code, *(name for name in sys.argv[2:] if name in sys.modules.keys() - theirs))",
        f"sqlite:///{tmp_path}/x.db",
        *HEAVY,
    )

    assert ended.stdout.split() == ["0"]


@pytest.mark.parametrize("configured", [False, True])
def test_what_client_libraries_log_is_heard_only_by_who_asked_for_it(run_program, tmp_path, configured):
    ended = run_program(
        "import logging, sys\n"
        "if sys.argv[2] == 'True': logging.basicConfig()\n"
        "class Dropping:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'leaderlock_sqlite': logging.getLogger('kazoo.client').warning('Connection dropped')\n"
        "sys.meta_path.insert(0, Dropping())\n"
        "from leaderlock.cli import main\n"
        "sys.exit(main(['cron', '--url', sys.argv[1], 'x', '@every 1d', '--tolerance', '43200', '--', 'true']))",
        f"sqlite:///{tmp_path}/x.db",
        configured,
    )

    assert (ended.returncode, "Connection dropped" in ended.stderr) == (0, configured)


@pytest.mark.parametrize("module", ["leaderlock._connect", "leaderlock_sqlite", "leaderlock.cli._ticker"])
def test_a_signal_amid_the_imports_withdraws(run_program, tmp_path, module):
    ended = run_program(
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == sys.argv[2]: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from leaderlock.cli import main\n"
        "sys.exit(main(['cron', '--url', sys.argv[1], 'x', '@every 1d', '--tolerance', '43200', '--', 'echo', 'ran']))",
        f"sqlite:///{tmp_path}/x.db",
        module,
    )

    assert (ended.returncode, ended.stdout) == (143, "")
    assert ended.stderr == "leaderlock: withdrawn from 'x' by SIGTERM\n"


def test_our_drivers_are_registered_where_the_short_cut_finds_them():
    registered = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]

    for scheme, place in registered["leaderlock.backends"].items():
        if place.startswith("leaderlock_"):
            assert place == f"leaderlock_{OURS[scheme]}:open_backend"
