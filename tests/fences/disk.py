"""A disk whose steps are written down."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and shown from now on, in its order."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("sync folder" if is_folder else "sync file")
        fsync(descriptor)

    def replaced(source: str, target: str) -> None:
        steps.append(f"show {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return steps
