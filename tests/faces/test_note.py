"""The note: a register that only the present leader can write, and that outlives the term."""

from __future__ import annotations

import time

import pytest

from leaderlock import BackendRefused, BackendUnavailable, LeaseLost
from leaderlock.testing import Fault


def about_names(keys):
    return keys[0].startswith("name/")


def test_a_note_outlives_its_term(client, rival):
    with client.election("a") as lease:
        assert lease.note == b""
        lease.save_note(b"up to 17\n\x00\xff")
        assert lease.note == b"up to 17\n\x00\xff"

    with rival.election("a") as lease:
        assert lease.note == b"up to 17\n\x00\xff"


def test_a_note_of_64_kib_fits_and_no_byte_more(client):
    lease = client.election("a").campaign()

    lease.save_note(b"x" * 65536)
    with pytest.raises(ValueError, match="at most 65536"):
        lease.save_note(b"x" * 65537)

    assert len(lease.note) == 65536


@pytest.mark.parametrize("note", ["text", bytearray(b"x"), None, 7])
def test_a_note_is_bytes(client, note):
    lease = client.election("a").campaign()

    with pytest.raises(TypeError, match="a note is bytes"):
        lease.save_note(note)


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.LOST_BEFORE, Fault.BUG, Fault.NEVER_SENT])
def test_a_note_whose_reply_was_lost_is_found_or_written_again(client, backend, clock, rival, in_background, fault):
    lease = client.election("a").campaign()
    backend.inject(fault, when=about_names)

    saving = in_background(lambda: lease.save_note(b"x"))
    while not saving:
        clock.advance(0.01)
        time.sleep(0.001)

    assert saving == [None]
    assert rival.election("a").leader().note == b"x"


def test_a_note_that_the_store_refuses_is_not_taken_for_a_lost_lease(client, backend):
    lease = client.election("a").campaign()
    backend.inject(Fault.REFUSE, when=about_names)

    with pytest.raises(BackendRefused):
        lease.save_note(b"x")

    lease.check()
    lease.save_note(b"y")


def test_a_note_that_is_not_acknowledged_in_time_is_unknown_and_the_next_comes_after_it(client, backend, rival, clock):
    lease = client.election("a").campaign()
    backend.inject(Fault.LATE, when=about_names)

    with pytest.raises(BackendUnavailable, match="has not acknowledged"):
        lease.save_note(b"first", timeout=0)
    clock.advance(1)
    lease.save_note(b"second")
    backend.deliver_late()

    assert rival.election("a").leader().note == b"second"


def test_notes_of_many_threads_are_all_saved_in_some_order(client, in_background, eventually):
    lease = client.election("a").campaign()
    notes = [b"%d" % number for number in range(20)]

    saving = [in_background(lambda note=note: lease.save_note(note)) for note in notes]
    eventually(lambda: all(saving))

    assert saving == [[None]] * 20
    assert lease.note in notes


def test_a_note_of_a_lost_lease_is_refused(client, clock):
    lease = client.election("a").campaign()
    clock.advance(60)

    with pytest.raises(LeaseLost):
        lease.save_note(b"x")


def test_a_release_carries_a_note_in_the_same_write(client, backend, rival):
    lease = client.election("a").campaign()
    backend.calls.clear()

    assert lease.resign(note=b"up to 18")

    assert [call.op for call in backend.calls] == ["swap"]
    with rival.election("a") as next_lease:
        assert next_lease.note == b"up to 18"


@pytest.mark.parametrize(("note", "error"), [("text", TypeError), (b"x" * 65537, ValueError)])
def test_a_release_with_a_note_that_cannot_be_is_refused_and_nothing_ends(client, note, error):
    lease = client.election("a").campaign()

    with pytest.raises(error):
        lease.resign(note=note)

    lease.check()


def test_a_note_of_a_lost_lease_is_not_left_by_its_release(client, rival, clock):
    lease = client.election("a").campaign()
    clock.advance(60)
    with rival.election("a") as later:
        later.save_note(b"by the later one")
        lease.resign(note=b"by the dead one")

    assert rival.election("a").campaign().note == b"by the later one"
