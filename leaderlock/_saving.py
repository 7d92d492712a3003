"""A note on its way to the store."""

from __future__ import annotations

import itertools
from typing import Final

from leaderlock._course import Course, check_note
from leaderlock._protocol.candidacy import News, NoteLost, NoteSaved
from leaderlock._protocol.events import SaveNote
from leaderlock.errors import BackendUnavailable

__all__ = ["Saving"]

_tickets: Final = itertools.count(1)


class Saving:
    """A note on its way to the store, until it is known what became of it."""

    def __init__(self, course: Course, note: bytes) -> None:
        check_note(note)
        course.check()
        self._course = course
        self._answer: NoteSaved | NoteLost | None = None
        self.event = SaveNote(course.candidacy, note, next(_tickets))

    def hear(self, news: News) -> None:
        if isinstance(news, NoteSaved | NoteLost) and news.ticket == self.event.ticket:
            self._answer = news

    def is_over(self) -> bool:
        return self._answer is not None

    def conclude(self, budget: float) -> None:
        """Return if it was saved; raise what the caller is owed if not."""
        match self._answer:
            case None:
                self._course.check()  # the client was closed just before it came to that
                name = self._course.name
                raise BackendUnavailable(f"the store has not acknowledged the note of {name!r} within {budget:g} s")
            case NoteLost(_, None):
                raise self._course.loss()
            case NoteLost(_, Exception() as error):
                raise error
            case _:
                pass
