"""What a signal to ``leaderlock run`` means: withdraw before the election, and after it one for the command."""

from __future__ import annotations

import enum
import signal
from types import FrameType
from typing import Final

from leaderlock.cli.guardian import FORWARDED, Guardian

__all__ = ["Signals", "Withdrawn"]

_FOR_GOOD: Final = {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
_ENDING: Final = _FOR_GOOD | {signal.SIGHUP}


class Withdrawn(BaseException):
    """A signal ended the campaign. Like KeyboardInterrupt, nothing on the way may take it for an error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


class _Mode(enum.Enum):
    WITHDRAW = "withdraw"
    HOLD = "hold"
    FORWARD = "forward"


class Signals:
    """The handlers of one wrapper, until its ``with`` block ends; what was ignored before (nohup) stays so.

    Whoever makes one is ready for :class:`Withdrawn`. After the block nothing is raised: the exit code is decided.
    """

    def __init__(self, keeper: Guardian) -> None:
        self._keeper = keeper
        self._mode = _Mode.WITHDRAW
        self._held: list[int] = []
        self._sent: set[int] = set()
        for number in FORWARDED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take)

    def __enter__(self) -> Signals:
        return self

    def __exit__(self, *_: object) -> None:
        self.hold()

    @property
    def was_told_to_end(self) -> bool:
        """Whether the command was sent a signal that ends it."""
        return not _ENDING.isdisjoint(self._sent)

    @property
    def was_told_to_go(self) -> bool:
        """Whether it was sent one that tells it to end for good: to a daemon that goes on, HUP means something else."""
        return not _FOR_GOOD.isdisjoint(self._sent)

    def withdraw(self) -> None:
        """From here on, a signal ends the campaign; so does one that was kept, as nobody else was sent it."""
        self._mode = _Mode.WITHDRAW
        while self._held:
            self._withdraw_by(self._held.pop(0))

    def hold(self) -> None:
        """From here on, signals are kept: the command is about to exist, and none may be lost or interrupt that."""
        self._mode = _Mode.HOLD

    def forward(self) -> None:
        """From here on, signals are the command's; first those that were kept."""
        self._mode = _Mode.FORWARD
        while self._held:
            self._hand_on(self._held.pop(0))

    def _hand_on(self, number: int) -> None:
        self._sent.add(number)
        self._keeper.forward(number)

    def _withdraw_by(self, number: int) -> None:
        if number in _ENDING:
            self._mode = _Mode.HOLD  # once is enough: what follows must come to its end
            raise Withdrawn(number)

    def _take(self, number: int, _: FrameType | None) -> None:
        match self._mode:
            case _Mode.FORWARD:
                self._hand_on(number)
            case _Mode.HOLD:
                self._held.append(number)
            case _Mode.WITHDRAW:
                self._withdraw_by(number)
