"""Who waits for a name, and is told by its watch himself: no other thread stands between a release and the take."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from leaderlock._bell import Bell
from leaderlock._protocol.events import Woken
from leaderlock.backend import View

__all__ = ["Attendance", "Attending"]


class Attending:
    """A caller who waits for one register to change."""

    __slots__ = ("bell", "woken")

    def __init__(self, bell: Bell) -> None:
        self.bell = bell
        self.woken: deque[Woken] = deque()

    def take(self) -> Woken:
        """All that has come, as one."""
        woken = self.woken.popleft()
        while self.woken:
            woken = woken.then(self.woken.popleft())
        return woken


class Attendance:
    """All who attend, one for each register; what nobody attends to is left to a lane.

    Takes no lock, as :meth:`woken` is called on drivers' threads, which never wait.
    """

    def __init__(self, leave: Callable[[Woken], None]) -> None:
        self._leave = leave
        self._by_key: dict[str, Attending] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def begin(self, key: str, mine: Attending) -> bool:
        """Attend from now on, unless somebody else does."""
        return self._by_key.setdefault(key, mine) is mine

    def end(self, key: str, mine: Attending) -> None:
        """Attend no longer, if one did; may be called again."""
        if self._by_key.get(key) is mine:
            del self._by_key[key]
        self._leave_rest(mine)

    def woken(self, key: str, shown: View | None) -> None:
        """The register may have changed: have somebody see to it."""
        woken = Woken(key, shown)
        attending = self._by_key.get(key)
        if attending is None:
            self._leave(woken)
            return
        attending.woken.append(woken)
        attending.bell.ring()
        if self._by_key.get(key) is not attending:
            self._leave_rest(attending)  # he has gone meanwhile, perhaps before this came

    def _leave_rest(self, attending: Attending) -> None:
        with suppress(IndexError):
            while True:
                self._leave(attending.woken.popleft())
