"""The table at the end of a run of the contract."""

import re
import subprocess
import sys

import pytest

from leaderlock.testing.summary import Summary

DRIVER = """
import pytest
from leaderlock.testing import BackendContract, MemoryStore

class TestHere(BackendContract):
    unsupported = {"outage": "nothing lies in between"}

    @pytest.fixture
    def make_backend(self):
        store = MemoryStore()
        return lambda namespace: store.backend(namespace=namespace)

    @pytest.fixture
    def freeze(self):
        pytest.skip("no server on PATH")
"""


def test_a_property_is_as_good_as_its_worst_result():
    summary = Summary()

    for result in ("kept", "failed", "kept"):
        summary.note(store="A", test="test_a_stamp_changes", result=result)
    summary.note(store="B", test="test_a_stamp_changes", result="kept")
    summary.note(store="B", test="test_a_watch_wakes", result="not applicable")

    assert summary.table().splitlines() == [
        "| property | A | B |",
        "| --- | --- | --- |",
        "| a stamp changes | failed | kept |",
        "| a watch wakes | not run | not applicable |",
    ]


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_what_a_store_cannot_have_is_not_applicable_and_what_was_not_tried_is_not_tested(tmp_path, workers):
    (tmp_path / "test_driver.py").write_text(DRIVER)
    words = ["-m", "pytest", "-p", "leaderlock.testing.summary", "-p", "no:cacheprovider", "-k", "calls_say_so"]

    ran = subprocess.run([sys.executable, *words, *workers], cwd=tmp_path, capture_output=True, text=True, check=False)
    said = ran.stdout

    assert "| while the store is away calls say so in time and afterwards they work | not applicable |" in said
    assert "| while the store does not answer calls say so in time and afterwards they work | not tested |" in said
    assert "\nnot applicable: Here: outage: nothing lies in between\n" in said
    assert re.search(r"\b1 skipped, .*\b1 not applicable in", said)
