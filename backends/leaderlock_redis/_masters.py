"""Where the master is: always in one place, or where others say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from leaderlock_redis._settings import Settings
from leaderlock_redis._wire import Reply

__all__ = ["Master", "OneServer"]


class Master(ABC):
    """Where to connect to."""

    can_move: ClassVar[bool] = False
    """Whether a server that is no master means that another one is, or will be soon."""
    is_in_cluster: ClassVar[bool] = False

    @property
    @abstractmethod
    def place(self) -> str:
        """For messages: a URL without secrets."""

    @abstractmethod
    def settings(self, deadline: float) -> Settings:
        """How to connect to the master of now. Raises ``BackendError`` where nobody can say."""

    def has_moved(self, settings: Settings, deadline: float) -> bool:
        """Whether a connection made with ``settings`` leads to what no longer is the master, as far as is known."""
        return False

    def failed(self, settings: Settings) -> None:
        """No connection to a master could be made with ``settings``, or it did not answer: look elsewhere next time."""
        return

    def follow(self, reply: Reply, settings: Settings) -> bool:
        """Whether the reply, on a connection made with ``settings``, says to ask another server, which is noted."""
        return False

    def questions(self) -> Sequence[bytes]:
        """What to ask a server that is new to us, beside what concerns leases; it may refuse to answer."""
        return ()

    def learn(self, answers: Sequence[Reply], settings: Settings) -> None:
        """Take note of the answers to those."""
        return


class OneServer(Master):
    """The one that a URL names, or a client is for."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @property
    def place(self) -> str:
        return self._settings.place

    def settings(self, deadline: float) -> Settings:
        return self._settings
