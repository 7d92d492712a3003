"""What goes into the machine (events) and what comes out of it (effects), as values."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from leaderlock._protocol.candidacy import Candidacy, Errand, News
from leaderlock._protocol.clocks import Deadline, Instant
from leaderlock._protocol.records import NameRecord
from leaderlock.backend import Answer, Seen, View, Write

__all__ = [
    "Answered",
    "Arm",
    "Ask",
    "Call",
    "Campaign",
    "Close",
    "Closed",
    "Disarm",
    "Effect",
    "Event",
    "Failure",
    "Fired",
    "Kind",
    "Lane",
    "Put",
    "Refused",
    "RenewNow",
    "Resign",
    "Retry",
    "SaveNote",
    "Scan",
    "Scanned",
    "Tell",
    "Unanswered",
    "Unread",
    "Unwatch",
    "Viewed",
    "Warn",
    "Watch",
    "Withdraw",
    "Woken",
]


class Lane(Enum):
    """Which of the engine's lanes carries a call: sessions have one of their own, so that nothing delays renewals."""

    SESSION = auto()
    NAMES = auto()


class Kind(Enum):
    """What a write is for."""

    OPEN = auto()
    RENEW = auto()
    CLOSE = auto()
    BURY = auto()
    TAKE = auto()
    TOUCH = auto()
    RELEASE = auto()
    NOTE = auto()
    SETTLE = auto()
    CLEAN = auto()


class Refused(Exception):
    """The machine does not take this event as things are, and nothing was changed; it says what to do instead."""


class Failure(Enum):
    """How a call can end without an answer."""

    UNKNOWN = auto()
    NEVER_SENT = auto()
    REFUSED = auto()
    MEMORY_GONE = auto()


class Put(NamedTuple):
    """A conditional write to send, and everything that must be known when its answer comes."""

    kind: Kind
    write: Write
    owner: str
    """The name or the session id that it is about."""
    memory: str
    epoch: int
    sent: Instant
    """When it was composed, which is before it left: claims are counted from here (rule 2)."""
    lane: Lane = Lane.NAMES
    record: NameRecord | None = None
    """The name's record that it writes, so that an acknowledgement need not be decoded."""
    base: NameRecord | None = None
    """What the register held under the stamp that it expects (``None``: nothing, with ``floor``): rule 10's touch
    writes just that again, whatever was read meanwhile."""
    floor: int = 0
    errand: Errand | None = None
    """Whose note it carries: nobody else is elected by it."""

    @property
    def session(self) -> str | None:
        """Of a take: the session that it names."""
        return None if self.record is None else self.record.session

    @property
    def mark(self) -> str | None:
        """The write id inside a name's record: how the write is recognised when its answer was lost."""
        return None if self.record is None else self.record.write


class Ask(NamedTuple):
    """Read these registers."""

    keys: tuple[str, ...]
    owner: str = ""
    """The name that it is for, or nothing."""
    lane: Lane = Lane.NAMES


class Scan(NamedTuple):
    """List some more of the registers under this prefix. Another ``run`` starts from the beginning."""

    prefix: str
    run: int = 0
    lane: Lane = Lane.NAMES


class Arm(NamedTuple):
    """Fire ``timer`` at ``until``, and no longer at any earlier setting.

    ``patiently``: only when both clocks have passed it (who waits for somebody else's claim to end), else as soon as
    one of them has (who must stop).
    """

    timer: Hashable
    until: Deadline
    patiently: bool = False


class Retry(NamedTuple):
    """Fire ``timer`` after the back-off that belongs to this many failures in a row."""

    timer: Hashable
    failures: int


class Disarm(NamedTuple):
    timer: Hashable


class Watch(NamedTuple):
    """Say :class:`Woken` whenever this register may have changed."""

    key: str


class Unwatch(NamedTuple):
    key: str


class Tell(NamedTuple):
    """News for whoever holds this candidacy."""

    candidacy: Candidacy
    news: News


class Warn(NamedTuple):
    """Something that a person should look at."""

    message: str


class Closed(NamedTuple):
    """The session has ended in the store: nothing of this client is left to do."""


Call: TypeAlias = Put | Ask | Scan
"""What is asked of the store."""

Effect: TypeAlias = Call | Arm | Retry | Disarm | Watch | Unwatch | Tell | Warn | Closed


class Campaign(NamedTuple):
    """Begin these campaigns, in one step."""

    candidacies: Sequence[Candidacy]


class Withdraw(NamedTuple):
    """Give up a campaign that has not been won."""

    candidacy: Candidacy


class Resign(NamedTuple):
    candidacy: Candidacy
    note: bytes | None = None
    """The note that the release carries; ``None``: the note stays."""


class SaveNote(NamedTuple):
    candidacy: Candidacy
    note: bytes
    ticket: int
    """Told again with the news that it was saved, or was not."""


class RenewNow(NamedTuple):
    """Renew before it is due; ``suspect``: the machine may have stood still (ADR 0006)."""

    suspect: bool = False


class Close(NamedTuple):
    pass


class Viewed(NamedTuple):
    """A read was answered; it left at ``sent``."""

    view: View
    sent: Instant


class Unread(NamedTuple):
    keys: tuple[str, ...]
    failure: Failure
    error: Exception


class Answered(NamedTuple):
    """A swap was answered, each write on its own, in order."""

    puts: Sequence[Put]
    answers: Sequence[Answer]


class Unanswered(NamedTuple):
    puts: Sequence[Put]
    failure: Failure
    error: Exception


class Scanned(NamedTuple):
    scan: Scan
    items: Sequence[tuple[str, Seen]]
    finished: bool
    sent: Instant


class Fired(NamedTuple):
    timer: Hashable


class Woken(NamedTuple):
    """A watched register may have changed."""

    key: str
    shown: View | None = None
    """What it held when the store told of the change, where it told that too: worth a read that lags."""

    def then(self, later: Woken) -> Woken:
        """Both in one: what showed nothing leads to a look, which tells all; of what was shown the last counts."""
        return self if self.shown is None else later


Event: TypeAlias = (
    Campaign
    | Withdraw
    | Resign
    | SaveNote
    | RenewNow
    | Close
    | Viewed
    | Unread
    | Answered
    | Unanswered
    | Scanned
    | Fired
    | Woken
)
