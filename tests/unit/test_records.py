"""What a register holds: written and read back, kept where unknown, and distrusted where damaged."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock._protocol.reading import read_name, read_session, read_settled
from leaderlock._protocol.records import (
    HISTORY,
    MAX_REQUESTS,
    Boot,
    Ending,
    Foreign,
    Holder,
    NameRecord,
    Request,
    SessionRecord,
    SettledRecord,
)

texts = st.text(max_size=20)
instants = st.floats(0, 1e10).map(lambda value: round(value, 3))
extras = st.dictionaries(
    st.sampled_from(["later", 'a "quoted" one']), texts | st.integers() | st.lists(texts), max_size=2
)
holders = st.builds(Holder, texts, st.integers(0, 2**22), texts, texts)
requests = st.builds(Request, texts, st.integers(0, 2**53), texts, instants)
sessions = st.builds(
    SessionRecord,
    write=texts,
    ttl=st.floats(0.1, 86400),
    ended=st.sampled_from(Ending),
    holder=holders,
    at=instants,
    boot=st.none() | st.builds(Boot, texts, texts, instants),
    requests=st.lists(requests, max_size=3).map(tuple),
    extra=extras,
)
names = st.builds(
    NameRecord,
    write=texts,
    session=st.none() | texts,
    token=st.integers(0, 2**53 - 1),
    note=st.binary(),
    at=instants,
    history=st.lists(texts, max_size=3).map(tuple),
    extra=extras,
)
READERS = [read_session, read_name, read_settled]


@given(sessions)
def test_a_session_is_read_as_it_was_written(record):
    assert read_session(record.encode()) == record


@given(names)
def test_a_name_is_read_as_it_was_written_its_note_byte_for_byte(record):
    assert read_name(record.encode()) == record


def test_a_settled_record_is_read_as_it_was_written():
    record = SettledRecord("memory", 30.0, "disk")

    assert read_settled(record.encode()) == record


def test_a_surrogate_in_a_host_s_name_does_not_stop_a_renewal():
    record = SessionRecord("w", 15.0, holder=Holder("\udcff", 1, "p", ""))

    assert read_session(record.encode()) == record


@given(st.binary(max_size=200))
def test_whatever_stands_there_is_read_or_called_foreign_and_never_raises(value):
    for read in READERS:
        assert isinstance(read(value), Foreign | SessionRecord | NameRecord | SettledRecord)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)


@given(st.sampled_from(["session", "name", "settled"]), st.data())
def test_a_damaged_field_makes_the_record_foreign_and_never_raises(kind, data):
    """A number that is none, a list that is text: whoever wrote that, it is neither free nor ours, nor an exception."""
    record, read = {
        "session": (SessionRecord("w", 15.0, boot=Boot("id", "ns", 5.0)), read_session),
        "name": (NameRecord("w", "s", 7), read_name),
        "settled": (SettledRecord("m", 30.0, "disk"), read_settled),
    }[kind]
    fields = json.loads(record.encode().partition(b"\n")[0])
    fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(json_values)

    found = read(json.dumps(fields).encode())

    if isinstance(found, SessionRecord):
        assert 0 <= found.ttl < float("inf")
        assert isinstance(found.write, str)
        assert all(isinstance(request.name, str) for request in found.requests)
        found.encode()
    elif isinstance(found, NameRecord):
        assert isinstance(found.token, int)
        assert found.session is None or isinstance(found.session, str)
        found.encode()


@pytest.mark.parametrize(
    "value",
    [
        b"[" * 60_000,
        SessionRecord("w", 15.0).encode().replace(b"15.0", b"1" + b"0" * 400),
        SessionRecord("w", 15.0).encode().replace(b'"requests":[]', b'"requests":[[["n"],1,"me",0]]'),
    ],
    ids=["nested without end", "more seconds than a float can hold", "a request for a list of names"],
)
def test_what_would_break_whoever_reckons_with_it_is_foreign(value):
    for read in READERS:
        assert isinstance(read(value), Foreign)


@pytest.mark.parametrize("odd", ["NaN", "1e999"])
def test_an_unknown_field_that_json_should_not_hold_does_not_keep_a_record_from_being_written(odd):
    name = NameRecord("w", None, 7).encode().replace(b"{", b'{"odd":%s,' % odd.encode(), 1)
    session = SessionRecord("w", 15.0).encode().replace(b"{", b'{"odd":%s,' % odd.encode(), 1)

    for found in (read_name(name), read_session(session)):
        assert b'"odd":' in found.encode()


def test_fields_of_a_later_version_are_kept_when_an_older_one_writes():
    fields = json.loads(NameRecord("w", None, 7).encode()) | {"v": 2, "colour": "green"}
    record = read_name(json.dumps(fields).encode() + b"\nnote")

    taken = record.taken(write="x", session="s", token=8, holder="me", at=1.0, before=Ending.NO)

    assert json.loads(taken.encode().partition(b"\n")[0])["colour"] == "green"
    assert taken.note == b"note"


@pytest.mark.parametrize("read", READERS)
def test_a_record_that_needs_a_newer_reader_is_foreign_and_says_to_upgrade(read):
    found = read(b'{"v":9,"r":2}')

    assert isinstance(found, Foreign)
    assert "upgrade leaderlock here" in found.why


def test_requests_are_one_per_requester_and_name_and_bounded():
    session = SessionRecord("w", 15.0)
    for number in range(40):
        session = session.asking(Request("a" if number % 2 else "b", 1, f"host:{number % 4}", float(number)))

    assert sorted((request.by, request.name) for request in session.requests) == [
        ("host:0", "b"),
        ("host:1", "a"),
        ("host:2", "b"),
        ("host:3", "a"),
    ]
    assert session.requests[-1].at == 39.0
    assert session.write == "w"  # whoever observes it goes on counting

    for number in range(1000):
        session = session.asking(Request(f"n{number}", 1, "host:0", float(number)))
    assert len(session.requests) == MAX_REQUESTS
    assert session.requests[-1].name == "n999"


def test_history_is_bounded_and_tells_how_each_term_ended():
    record = NameRecord("w", None, 0)
    for token in range(1, 30):
        record = record.taken(write="w", session="s", token=token, holder="a|b", at=float(token), before=Ending.EXPIRED)
        if token % 2:
            record = record.released(write="w", how="resigned", at=token + 0.5)

    stints = record.stints
    assert len(stints) == HISTORY
    assert stints[-1][:3] == (29, "a|b", 29.0)
    assert stints[-1].how == "resigned"
    assert stints[-2].how == "expired"
    assert record.token == 29


def test_releasing_keeps_token_and_note_and_a_forced_one_raises_the_token():
    record = NameRecord("w", "s", 7, b"note")

    assert record.released(write="x", how="resigned", at=0.0).token == 7
    assert record.released(write="x", how="forced", at=0.0, token=9).token == 9
    assert record.released(write="x", how="resigned", at=0.0).note == b"note"
