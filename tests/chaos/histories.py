"""What contenders and the nemesis wrote down, read back. Instants are seconds of CLOCK_BOOTTIME."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["History", "Injury", "News", "Span", "Term", "Write", "read_history", "read_injuries", "write_injuries"]


@dataclass(frozen=True)
class Injury:
    """A fault: from when to when it lasted, and when the store answered again."""

    name: str
    detail: str
    began: float
    ended: float
    answered: float
    of_worker: bool
    """The store itself was left alone."""
    forgets: bool
    load: float = 0.0
    """How many processes wanted this machine's cores then, over the last minute."""


@dataclass(frozen=True)
class Span:
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    def overlap(self, other: Span) -> float:
        """How many seconds lie in both; negative: how far they are apart."""
        return min(self.ended, other.ended) - max(self.began, other.began)


@dataclass
class Term:
    """From the first instant at which the holder was sure to lead to the last."""

    who: str
    """``slot-pid``."""
    token: int
    began: float
    """After the first look that said so."""
    ended: float
    """Before the last look that said so."""
    until: float = 0.0
    """How long the claim stood, as far as the holder wrote it down; 0.0: the lock does not say."""
    how: str = "cut short"
    """``resigned`` or ``lost``, as written down; else the process was killed."""
    over: float = 0.0
    """When it resigned, or knew of its loss."""

    @property
    def claimed(self) -> Span:
        """Nobody else may lead in it: also what a killed holder could still have believed."""
        return Span(self.began, max(self.ended, self.until) if self.how == "cut short" else self.ended)


@dataclass(frozen=True)
class Write:
    """A counter raised to ``count``; ``token`` 0: without a fence."""

    count: int
    token: int
    began: float
    ended: float
    is_admitted: bool


@dataclass(frozen=True)
class News:
    """A holder is told that its lease was lost."""

    who: str
    token: int
    at: float
    reason: str


@dataclass
class History:
    """All contenders of one kind."""

    terms: list[Term] = field(default_factory=list)
    fenced: list[Write] = field(default_factory=list)
    plain: list[Write] = field(default_factory=list)
    news: list[News] = field(default_factory=list)
    margins: list[float] = field(default_factory=list)
    """What was left of a claim when it was renewed, in seconds."""
    stillness: dict[str, list[Span]] = field(default_factory=dict)
    """When a process did not run, by who."""


def read_history(folder: Path, kind: str) -> History:
    history = History()
    for path in sorted(folder.glob(f"{kind}-*")):
        text = path.read_text()
        # A kill in the middle of a write leaves half a line, at the end.
        lines = text[: text.rfind("\n") + 1].splitlines()
        _read(history, path.name.removeprefix(f"{kind}-"), lines)
    history.terms.sort(key=lambda term: term.began)
    return history


def _read(history: History, who: str, lines: Iterable[str]) -> None:
    term: Term | None = None
    for line in lines:
        kind, *words = line.split()
        match kind:
            case "held":
                token, before, after, until = int(words[0]), float(words[1]), float(words[2]), float(words[3])
                if term is None or term.token != token or term.how != "cut short":
                    term = Term(who, token, began=after, ended=before)
                    history.terms.append(term)
                term.ended = max(term.ended, before)
                term.until = max(term.until, until)
            case "ended" if term is not None:
                term.over, term.how = float(words[1]), words[2]
            case "renewed":
                history.margins.append(float(words[2]))
            case "news":
                history.news.append(News(who, int(words[0]), float(words[1]), words[2]))
            case "fenced" | "refused":
                token, count, began, ended = int(words[0]), int(words[1]), float(words[2]), float(words[3])
                history.fenced.append(Write(count, token, began, ended, kind == "fenced"))
            case "plain":
                history.plain.append(Write(int(words[0]), 0, float(words[1]), float(words[2]), True))
            case "lag":
                history.stillness.setdefault(who, []).append(Span(float(words[0]), float(words[1])))
            case _:
                pass


def write_injuries(path: Path, injuries: list[Injury]) -> None:
    path.write_text("".join(json.dumps(asdict(injury)) + "\n" for injury in injuries))


def read_injuries(path: Path) -> list[Injury]:
    return [Injury(**json.loads(line)) for line in path.read_text().splitlines()]
