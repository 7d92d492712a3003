"""The table at the end of a run of the contract."""

from leaderlock.testing.summary import Summary


def test_a_property_is_as_good_as_its_worst_result():
    summary = Summary()

    for result in ("kept", "failed", "kept"):
        summary.note(store="A", test="test_a_stamp_changes", result=result)
    summary.note(store="B", test="test_a_stamp_changes", result="kept")
    summary.note(store="B", test="test_a_watch_wakes", result="unsupported")

    assert summary.table().splitlines() == [
        "| property | A | B |",
        "| --- | --- | --- |",
        "| a stamp changes | failed | kept |",
        "| a watch wakes | not run | unsupported |",
    ]
