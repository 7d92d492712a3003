"""etcd's messages: what is written is what is read, and what is no message is said to be none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock_etcd import _messages as messages
from leaderlock_etcd._messages import Change, KeyValue, RangeAnswer, TxnAnswer, WatchAnswer
from leaderlock_etcd._wire import data, fields, number, signed

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
REVISION = st.integers(0, (1 << 63) - 1)
FIELD = st.integers(1, (1 << 29) - 1)
ENTRIES = st.builds(KeyValue, st.binary(), st.binary(), REVISION)
NOISE = st.lists(
    st.one_of(
        st.builds(number, st.integers(100, 200), INT64),
        st.builds(data, st.integers(100, 200), st.binary(max_size=20)),
        st.builds(lambda field, value: tag(field, 1) + value, st.integers(100, 200), st.binary(min_size=8, max_size=8)),
        st.builds(lambda field, value: tag(field, 5) + value, st.integers(100, 200), st.binary(min_size=4, max_size=4)),
    ),
    max_size=3,
).map(b"".join)
"""Fields of newer servers."""


def tag(field: int, kind: int) -> bytes:
    # A number field's tag is its encoding without the value's one byte; its lowest bits say the kind.
    encoded = number(field, 0)[:-1]
    return bytes([encoded[0] | kind]) + encoded[1:]


def header(revision: int) -> bytes:
    return data(1, number(1, 1 << 63) + number(2, 7) + number(3, revision) + number(4, 2))


def entry(value: KeyValue) -> bytes:
    return data(1, value.key) + number(2, 1) + number(3, value.mod_revision) + number(4, 1) + data(5, value.value)


def range_message(answer: RangeAnswer) -> bytes:
    return header(answer.revision) + b"".join(data(2, entry(found)) for found in answer.found) + number(4, 1)


def txn_message(answer: TxnAnswer) -> bytes:
    return (
        header(answer.revision)
        + number(2, answer.succeeded)
        + b"".join(data(3, operation_message(step)) for step in answer.answers)
    )


def operation_message(step: RangeAnswer | TxnAnswer | None) -> bytes:
    if step is None:
        return data(2, header(1))
    return data(1, range_message(step)) if isinstance(step, RangeAnswer) else data(4, txn_message(step))


RANGES = st.builds(RangeAnswer, REVISION, st.lists(ENTRIES, max_size=3).map(tuple))
STEPS = st.recursive(
    st.one_of(st.none(), RANGES),
    lambda inner: st.builds(TxnAnswer, REVISION, st.booleans(), st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
TXNS = st.builds(TxnAnswer, REVISION, st.booleans(), st.lists(STEPS, max_size=4).map(tuple))


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (number(1, 150), "089601"),  # the examples of the format's own description
        (data(2, b"testing"), "120774657374696e67"),
        (number(1, -2), "08feffffffffffffffff01"),
        (number(3, 0), "1800"),
        (number(16, 1), "800101"),
    ],
)
def test_the_format_is_the_one_that_is_published(encoded, expected):
    assert encoded.hex() == expected


def test_a_read_asks_for_the_key_and_its_range_and_nothing_that_would_let_a_member_answer_by_itself():
    assert list(fields(messages.range_request(b"a", b"b", limit=3))) == [(1, 0, b"a"), (2, 0, b"b"), (3, 3, b"")]
    assert list(fields(messages.get(b"a"))) == [(1, 0, messages.range_request(b"a"))]
    assert list(fields(messages.range_request(b"a"))) == [(1, 0, b"a")]


@given(FIELD, INT64)
def test_a_number_comes_back(field, value):
    ((found, integer, rest),) = fields(number(field, value))

    assert (found, signed(integer), rest) == (field, value, b"")


@given(st.lists(st.tuples(FIELD, st.binary(max_size=300)), max_size=5))
def test_bytes_come_back_in_their_order(values):
    message = b"".join(data(field, value) for field, value in values)

    assert [(field, value) for field, _, value in fields(message)] == values


def event_message(change: Change) -> bytes:
    entry = data(1, change.key) + number(3, change.revision) + data(5, change.value or b"")
    return data(11, number(1, change.value is None) + data(2, entry) + data(3, b""))


@given(RANGES, NOISE)
def test_the_answer_to_a_range_comes_back(answer, noise):
    assert messages.range_answer(noise + range_message(answer) + noise) == answer


@given(TXNS, NOISE)
def test_the_answer_to_a_transaction_comes_back(answer, noise):
    assert messages.txn_answer(txn_message(answer) + noise) == answer


CHANGES = st.lists(st.builds(Change, st.binary(), st.none() | st.binary(), REVISION)).map(tuple)


@given(st.builds(WatchAnswer, REVISION, st.booleans(), st.booleans(), CHANGES))
def test_a_message_of_a_watch_comes_back(answer):
    events = b"".join(map(event_message, answer.changes))
    marks = number(3, answer.is_created) + number(4, answer.is_canceled)

    assert messages.watch_answer(header(answer.revision) + number(2, 5) + marks + events) == answer


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_a_value_error(message):
    for decode in (messages.range_answer, messages.txn_answer, messages.watch_answer, messages.authenticate_token):
        try:
            decode(message)
        except ValueError:
            continue


@given(RANGES.filter(lambda answer: answer.found), st.data())
def test_a_message_cut_short_shows_no_entry_that_was_not_sent(answer, draw):
    message = range_message(answer)

    cut = message[: draw.draw(st.integers(0, len(message) - 1))]
    try:
        shown = messages.range_answer(cut)
    except ValueError:
        return

    assert shown.found == answer.found[: len(shown.found)]


def test_a_number_without_an_end_is_refused():
    with pytest.raises(ValueError, match="does not end"):
        list(fields(b"\x08" + b"\xff" * 11))
