"""What the driver makes of errors and of birth marks, without a server."""

import time

import pytest

from leaderlock.errors import BackendRefused, BackendUnavailable, OutcomeUnknown
from leaderlock_etcd._errors import error_of, is_refusal
from leaderlock_etcd._grpc import CallFailed
from leaderlock_etcd._marks import birth_of, new_mark

URL = "etcd://h:2379"
OLD, NEW = f"{'0' * 32}@1000", f"{'1' * 32}@2000"


@pytest.mark.parametrize(
    ("code", "details"),
    [
        ("DEADLINE_EXCEEDED", ""),
        ("UNAVAILABLE", "etcdserver: leader changed"),
        ("UNAVAILABLE", "etcdserver: request timed out"),
        ("UNAVAILABLE", "Socket closed"),
        ("CANCELLED", ""),
        ("UNKNOWN", ""),
        ("INTERNAL", "Received RST_STREAM"),
        ("RESOURCE_EXHAUSTED", "etcdserver: too many requests"),
        ("RESOURCE_EXHAUSTED", "Received message larger than max"),
        ("DATA_LOSS", "etcdserver: corrupt cluster"),
        ("FAILED_PRECONDITION", ""),
    ],
)
def test_a_write_without_a_clear_no_is_unknown_if_it_was_sent(code, details):
    sent, unsent = CallFailed(code, details), CallFailed(code, details, was_sent=False)

    assert type(error_of(sent, URL, is_write=True)) is OutcomeUnknown
    assert type(error_of(unsent, URL, is_write=True)) is BackendUnavailable
    assert type(error_of(sent, URL, is_write=False)) is BackendUnavailable
    assert not is_refusal(sent)


@pytest.mark.parametrize(
    ("code", "details", "says"),
    [
        ("UNAUTHENTICATED", "etcdserver: invalid auth token", "user:password@"),
        ("PERMISSION_DENIED", "etcdserver: permission denied", "readwrite"),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", "user:password@"),
        ("INVALID_ARGUMENT", "etcdserver: authentication failed, invalid user ID or password", "password is wrong"),
        ("INVALID_ARGUMENT", "etcdserver: too many operations in txn request", "--max-txn-ops"),
        ("INVALID_ARGUMENT", "etcdserver: request is too large", "--max-request-bytes"),
        ("UNIMPLEMENTED", "", "host and port"),
    ],
)
def test_a_clear_no_is_a_refusal_that_says_what_to_do(code, details, says):
    failed = CallFailed(code, details)

    error = error_of(failed, URL, is_write=True)

    assert isinstance(error, BackendRefused)
    assert says in str(error)
    assert is_refusal(failed)


def test_out_of_space_leaves_a_write_in_doubt():
    failed = CallFailed("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded")

    assert isinstance(error_of(failed, URL, is_write=True), OutcomeUnknown)
    assert isinstance(error_of(failed, URL, is_write=False), BackendRefused)


def test_two_marks_differ_and_the_later_is_born_above_what_was_known():
    later = new_mark(above=1 << 51)

    assert later != new_mark(above=1 << 51)
    assert birth_of(later) == 1 << 51
    assert birth_of(new_mark(above=0)) > 0


def test_a_mark_is_born_no_later_than_floors_may_be(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1 << 80)

    assert birth_of(new_mark(above=0)) == 1 << 52


@pytest.mark.parametrize("mark", ["", "x", "0" * 32, f"{'0' * 32}@", f"{'g' * 32}@1", f"{OLD}\n"])
def test_what_is_no_birth_mark_is_refused(mark):
    with pytest.raises(BackendRefused, match="none of ours"):
        birth_of(mark)
