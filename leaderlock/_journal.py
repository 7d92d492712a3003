"""What leaderlock says to its log: elected, resigned, lost (INFO), and what somebody should look at (WARNING).

Nothing is logged where the engine's lock is held: a handler that hangs (a full disk, a log server) would hold up every
renewal. It is said on the callbacks' thread instead.
"""

from __future__ import annotations

import functools
import logging
from typing import Final

from leaderlock._callbacks import Callbacks
from leaderlock._protocol.candidacy import Candidacy, Elected, Lost, News, Released

__all__ = ["Journal"]

_log: Final = logging.getLogger("leaderlock")


class Journal:
    """The logger ``leaderlock``, at a distance."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks

    def warn(self, message: str, *arguments: object, exc_info: BaseException | None = None) -> None:
        if _log.isEnabledFor(logging.WARNING):
            say = functools.partial(_log.warning, message, *arguments, exc_info=exc_info)
            self._callbacks.call(say)

    def news(self, candidacy: Candidacy, news: News) -> None:
        """Record the turns of a term, each with the name and the token as fields of the log record."""
        if not _log.isEnabledFor(logging.INFO):
            return
        match news:
            case Elected(token):
                self._inform(candidacy, "elected for %r with token %d", candidacy.name, token)
            case Released() if candidacy.token:
                self._inform(candidacy, "resigned %r, token %d", candidacy.name, candidacy.token)
            case Lost(reason):
                self._inform(candidacy, "lost %r, token %d: %s", candidacy.name, candidacy.token, reason.value)
            case _:
                pass

    def _inform(self, candidacy: Candidacy, message: str, *arguments: object) -> None:
        fields = {"leaderlock_name": candidacy.name, "leaderlock_token": candidacy.token}
        self._callbacks.call(functools.partial(_log.info, message, *arguments, extra=fields))
