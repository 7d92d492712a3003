"""A job's note: what is written is read again, strangers' notes are told apart, and it never outgrows a note."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from leaderlock._protocol.records import MAX_NOTE
from leaderlock._ticks.record import HISTORY, OWED, Ending, JobRecord, Misread, Outcome, Owed, Pause, Run, read_job

FULL = JobRecord(
    newest=1_700_000_100.0,
    schedule="*/5 * * * *",
    zone="Europe/Berlin",
    running=Run(1_700_000_100.0, 17, "app (host, pid 1)", 1_700_000_100.25, 2, 1_700_000_400.0),
    owed=(Owed(1_700_000_040.0, 1_700_000_400.0, 1),),
    held=1_700_000_150.0,
    paused=Pause("somebody", 1_700_000_000.0),
    lines=((1_700_000_040.0, 16, "app (other, pid 2)", 1_700_000_041.0, None, "died", 1, False),),
)


@pytest.mark.parametrize("record", [JobRecord(), FULL], ids=["empty", "full"])
def test_what_is_written_is_read_again(record):
    assert read_job(record.encode()) == record


def test_the_history_is_read_when_it_is_asked_for():
    [outcome] = FULL.history

    assert (
        outcome
        == Outcome(1_700_000_040.0, 16, "app (other, pid 2)", 1_700_000_041.0, None, Ending.DIED, 1, False)
        == FULL.outcome_of(1_700_000_040.0)
    )


def test_an_empty_note_is_a_job_that_never_ran():
    assert read_job(b"") == JobRecord()


@pytest.mark.parametrize("note", [b"up to 17", b"{}", b"[]", b'{"ticks":1}', b"\xff\xfe", b"17", b'"text"', b"null"])
def test_somebody_elses_note_is_no_jobs(note):
    with pytest.raises(Misread, match="give the job another"):
        read_job(note)


@pytest.mark.parametrize("field", ["newest", "running", "owed", "history", "paused", "held"])
def test_a_damaged_note_is_told(field):
    fields = json.loads(FULL.encode())
    fields[field] = {"what": "is this"} if field != "paused" else [1, 2, 3]

    with pytest.raises(Misread, match="damaged"):
        read_job(json.dumps(fields).encode())


def test_a_note_that_needs_a_newer_reader_says_so():
    fields = json.loads(FULL.encode()) | {"r": 9, "ticks": 12}

    with pytest.raises(Misread, match=r"format 12.*upgrade"):
        read_job(json.dumps(fields).encode())


def test_fields_of_a_later_version_are_kept():
    fields = json.loads(FULL.encode()) | {"colour": "red"}

    again = replace(read_job(json.dumps(fields).encode()), newest=1_700_000_400.0).encode()

    assert json.loads(again)["colour"] == "red"


def test_a_surrogate_in_a_hosts_name_stops_nothing():
    record = replace(FULL, running=replace_host(FULL.running, "caf\udce9"))

    assert read_job(record.encode()).running.host == "caf\udce9"


def replace_host(run: Run, host: str) -> Run:
    return run._replace(host=host)


def test_it_is_bounded_whatever_happens():
    record = FULL
    for number in range(500):
        run = Run(number * 60.0, number, "x" * 5_000, number * 60.0, 1, number * 60.0 + 60)
        record = replace(record, running=run).ended(Ending.FAILED, number * 60.0 + 1)
        record = replace(record, owed=(*record.owed, Owed(number * 60.0, number * 60.0 + 60, 1)))

    note = record.encode()

    assert len(note) < MAX_NOTE
    assert len(read_job(note).history) == HISTORY
    assert len(read_job(note).owed) == OWED
    assert [outcome.token for outcome in read_job(note).history] == list(range(480, 500))
