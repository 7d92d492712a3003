"""What a backend takes for the store's memory, whatever order answers come in."""

from typing import NamedTuple

from leaderlock.knowledge import Knowledge

OLD, NEW = "old", "new"


class Known(NamedTuple):
    memory: str
    revision: int


def test_revisions_that_go_back_under_one_mark_are_another_store():
    knowledge, known = Knowledge(), Known(OLD, 10)

    assert knowledge.stands(Known(OLD, 10), known)
    assert not knowledge.stands(Known(OLD, 9), known)
    assert knowledge.stands(Known(NEW, 9), known)
    assert knowledge.stands(Known(OLD, 9), None)


def test_a_mark_that_was_seen_to_give_way_never_stands_again():
    knowledge = Knowledge()
    knowledge.note(Known(OLD, 10), None)
    knowledge.note(Known(NEW, 3), Known(OLD, 10))

    assert knowledge.is_left(OLD)
    assert not knowledge.stands(Known(OLD, 20), Known(NEW, 3))


def test_a_slow_answer_does_not_bring_the_old_mark_back():
    knowledge = Knowledge()
    knowledge.note(Known(OLD, 10), None)
    knowledge.note(Known(NEW, 3), Known(OLD, 10))

    knowledge.note(Known(OLD, 11), Known(OLD, 10))

    assert knowledge.newest == Known(NEW, 3)
    assert not knowledge.is_left(NEW)


def test_an_answer_that_others_overtook_lowers_no_revision_that_is_known():
    knowledge = Knowledge()
    knowledge.note(Known(OLD, 10), None)

    knowledge.note(Known(OLD, 9), None)

    assert knowledge.newest == Known(OLD, 10)
