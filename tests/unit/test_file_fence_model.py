"""The file fence against a model of three values, in any order of operations and accidents."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from leaderlock.errors import StaleToken
from leaderlock.fences import WatermarkLost
from leaderlock.fences.file import FencedFile

TOKENS = st.integers(1, 6)
DATA = st.binary(max_size=3)


class FileFence(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.file = FencedFile(self.folder / "data")
        self.highest: int | None = 0  # None: lost
        self.content: bytes | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def expect(self, token: int, call) -> bool:
        """Make a call that needs admission; whether the model admits it too."""
        if self.highest is None:
            wanted: type[Exception] | None = WatermarkLost
        else:
            wanted = StaleToken if token < self.highest else None
        if wanted is not None:
            with pytest.raises(wanted):
                call()
            return False
        call()
        self.highest = token
        return True

    @rule(token=TOKENS, data=DATA)
    def write(self, token: int, data: bytes) -> None:
        if self.expect(token, lambda: self.file.write(data, token=token)):
            self.content = data

    @rule(token=TOKENS)
    def stamp(self, token: int) -> None:
        self.expect(token, lambda: self.file.stamp(token))

    @rule(token=TOKENS, data=DATA)
    def update(self, token: int, data: bytes) -> None:
        if self.expect(token, lambda: self.file.update(lambda old: (old or b"") + data, token=token)):
            self.content = (self.content or b"") + data

    @rule(token=TOKENS)
    def adopt(self, token: int) -> None:
        try:
            self.file.adopt(token)
        except StaleToken:
            assert self.highest is not None
            assert token < self.highest
        else:
            assert self.highest is None or token >= self.highest
            self.highest = token

    @rule()
    def another_process(self) -> None:
        self.file = FencedFile(self.folder / "data")

    @rule()
    def delete_data(self) -> None:
        (self.folder / "data").unlink(missing_ok=True)
        self.content = None
        if self.highest is None and not self.mark.exists():
            self.highest = 0  # nothing of the file is left

    @rule()
    def delete_lock(self) -> None:
        (self.folder / ".data.fence-lock").unlink(missing_ok=True)

    @rule()
    def crash_before_the_rename(self) -> None:
        (self.folder / ".data.fence-new").write_bytes(b"half a")

    @precondition(lambda self: self.mark.exists())
    @rule(damage=st.sampled_from([b"", b"leaderlock-fence 1 1 00000000\n", None]))
    def damage_watermark(self, damage: bytes | None) -> None:
        if damage is None:
            self.mark.unlink()
            self.highest = 0 if self.content is None else None
        else:
            self.mark.write_bytes(damage)
            self.highest = None

    @property
    def mark(self) -> Path:
        return self.folder / ".data.fence"

    @invariant()
    def agrees(self) -> None:
        assert self.file.read() == self.content
        try:
            assert self.file.highest == self.highest
        except WatermarkLost:
            assert self.highest is None


TestFileFence = FileFence.TestCase
TestFileFence.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
