"""What the blocks of code on the pages need: an empty directory, and drivers that can be found by URL."""

from __future__ import annotations

import os
import tempfile
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reader(tmp_path, tmp_path_factory, monkeypatch):
    """Somebody who follows a page: in a fresh directory, with leaderlock on the path."""
    path = [str(ROOT), str(ROOT / "backends")]
    if not entry_points(group="leaderlock.backends"):
        # Not installed, as in a checkout on PYTHONPATH: lend it what an installation would declare.
        drivers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["entry-points"]
        info = tmp_path_factory.mktemp("site") / "leaderlock-0.dist-info"
        info.mkdir()
        lines = [f"{name} = {place}" for name, place in drivers["leaderlock.backends"].items()]
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaderlock\nVersion: 0\n")
        (info / "entry_points.txt").write_text("\n".join(["[leaderlock.backends]", *lines, ""]))
        monkeypatch.syspath_prepend(info.parent)
        path.append(str(info.parent))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*path, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    monkeypatch.delenv("LEADERLOCK_URL", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path
