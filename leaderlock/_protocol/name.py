"""What is known of one name, and what this client wants of it."""

from __future__ import annotations

from leaderlock._protocol.candidacy import Candidacy, State
from leaderlock._protocol.clocks import Instant
from leaderlock._protocol.events import Kind, Put, SaveNote
from leaderlock._protocol.records import Foreign, NameRecord, name_key
from leaderlock.backend import ABSENT, Stamp

__all__ = ["Name"]


class Name:
    """One name in this client: the record last seen, the candidacy, the one write under way, and what is in doubt."""

    __slots__ = (
        "asking",
        "candidacy",
        "contradicted",
        "doubts",
        "epoch",
        "failures",
        "flight",
        "floor",
        "is_stranded",
        "key",
        "leaving",
        "looked_at",
        "name",
        "notes",
        "record",
        "rival",
        "seen_at",
        "seen_since",
        "stamp",
        "timer",
        "undo",
        "watched",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.key = name_key(name)
        self.timer = ("name", name)
        """A back-off, the end of an observation, or simply time to look again."""
        self.record: NameRecord | Foreign | None = None
        """What the register holds; ``None``: absent (if ``epoch`` is the present one)."""
        self.stamp: Stamp = ABSENT
        self.epoch = 0
        """The epoch of memory on which that was seen."""
        self.floor = 0
        """For an absent name: the floor that came in the very answer which showed it absent (rule 8); 0: none did."""
        self.seen_at: Instant | None = None
        self.seen_since = False
        """Whether that was after the present campaign began."""
        self.looked_at: Instant | None = None
        """When the present campaign was last shown the register, be it by an answer that lags and is ignored."""
        self.candidacy: Candidacy | None = None
        """Who campaigns here, or leads."""
        self.leaving: Candidacy | None = None
        """Whose claim has ended, while the store has not been told yet."""
        self.contradicted = False
        """Whether a read denies a claim, though it left after that was last seen to stand: a swap finds out."""
        self.flight: Put | None = None
        self.doubts: tuple[Put, ...] = ()
        """Takes and notes of the present session, on the present memory, whose outcome is unknown."""
        self.notes: tuple[SaveNote, ...] = ()
        self.undo: tuple[str, bytes] | None = None
        """Of the last take that carried an errand's note, while it has elected nobody: its ``write``, and the note that
        it replaced."""
        self.rival: str | None = None
        """The session that is watched because it holds the name."""
        self.watched = False
        self.asking = False
        self.is_stranded = False
        """Whether a write was told that its memory is gone, while reads show no other yet: then the next one waits for
        the back-off, or else the two would ask each other without end."""
        self.failures = 0

    def show(self, record: NameRecord | Foreign | None, stamp: Stamp, now: Instant, *, floor: int, epoch: int) -> None:
        """Take over what the register holds."""
        self.record, self.stamp, self.floor, self.epoch = record, stamp, floor, epoch
        self.seen_at = self.looked_at = now
        self.seen_since = True

    @property
    def shown_session(self) -> str | None:
        return self.record.session if isinstance(self.record, NameRecord) else None

    @property
    def is_claimed(self) -> bool:
        return self.candidacy is not None and self.candidacy.leads

    @property
    def is_wanted(self) -> bool:
        candidacy = self.candidacy
        return candidacy is not None and candidacy.state is State.CAMPAIGNING  # asked seven times a campaign

    @property
    def take_in_doubt(self) -> Put | None:
        return next((put for put in self.doubts if put.kind is Kind.TAKE), None)

    def recognise(self, record: NameRecord | Foreign | None, kind: Kind) -> Put | None:
        """The write in doubt that this record is, if it is one of ours (rule 10)."""
        if isinstance(record, NameRecord):
            for put in self.doubts:
                if put.kind is kind and put.mark == record.write:
                    return put
        return None

    def resolve(self, stamp: Stamp) -> None:
        """A swap's answer showed ``stamp``: what expects another can never be applied any more."""
        self.doubts = tuple(put for put in self.doubts if put.write.expected == stamp)
