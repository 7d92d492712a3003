"""What a history proves: pure functions, tested with histories made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.histories import History, Injury, News, Span, Term, Write

__all__ = [
    "Overlap",
    "Verdict",
    "falling",
    "gaps",
    "judge",
    "lags",
    "lateness",
    "overlaps",
    "recoveries",
    "stale",
    "stretches",
    "twice",
]

SLACK = 1.0
"""How much later than ttl(1+ρ) after the store answers somebody must lead, in seconds."""
NEWS_SLACK = 0.1
"""How much later than the deadline the news of a loss may come in a process that runs, in seconds."""


@dataclass(frozen=True)
class Overlap:
    """Two who led at once."""

    one: Term
    other: Term
    seconds: float


def overlaps(terms: Iterable[Term]) -> list[Overlap]:
    """Each term that began while an earlier one's claim stood, with the one that stood longest."""
    found, longest = [], None
    for term in sorted(terms, key=lambda term: term.began):
        if longest is not None:
            seconds = longest.claimed.ended - term.began
            if seconds > 0:
                found.append(Overlap(longest, term, min(seconds, max(term.claimed.seconds, 0.0))))
        if longest is None or term.claimed.ended > longest.claimed.ended:
            longest = term
    return found


def falling(terms: Iterable[Term]) -> list[Term]:
    """Terms whose token is not above that of every term that began before."""
    found, highest = [], 0
    for term in sorted((term for term in terms if term.token), key=lambda term: term.began):
        if term.token <= highest:
            found.append(term)
        highest = max(highest, term.token)
    return found


def stale(writes: Iterable[Write]) -> list[Write]:
    """Admitted writes under a token below one that had been admitted before."""
    admitted = [write for write in writes if write.is_admitted]
    found: dict[int, Write] = {}
    highest = 0
    for write in sorted(admitted, key=lambda write: write.count):  # the order in which the resource took them
        if write.token < highest:
            found[id(write)] = write
        highest = max(highest, write.token)
    by_end, at, highest = sorted(admitted, key=lambda write: write.ended), 0, 0
    for write in sorted(admitted, key=lambda write: write.began):  # the order of true time, where it is certain
        while at < len(by_end) and by_end[at].ended < write.began:
            highest = max(highest, by_end[at].token)
            at += 1
        if write.token < highest:
            found[id(write)] = write
    return list(found.values())


def twice(writes: Iterable[Write]) -> int:
    """How many updates were lost: two writers made the same number out of what both had read."""
    counts = [write.count for write in writes if write.is_admitted]
    return len(counts) - len(set(counts))


def gaps(terms: Iterable[Term], whole: Span) -> list[Span]:
    """When nobody led, as far as anybody was sure."""
    found, at = [], whole.began
    for term in sorted(terms, key=lambda term: term.began):
        if term.began > at:
            found.append(Span(at, min(term.began, whole.ended)))
        at = max(at, term.began, term.ended)
    if whole.ended > at:
        found.append(Span(at, whole.ended))
    return [gap for gap in found if gap.seconds > 0]


def stretches(gap: Span, injuries: Sequence[Injury], settling: float) -> list[Span]:
    """The parts of a gap in which nothing was in the way: the store answered, its memory was settled, and no other
    worker was hurt meanwhile."""
    points, hindered = [gap.began, gap.ended], []
    for injury in injuries:
        if injury.of_worker:
            # Whoever was about to lead may be the one who is hurt: from there it is counted anew.
            points.append(injury.began)
        else:
            hindered.append(Span(injury.began, injury.answered + (settling if injury.forgets else 0.0)))
            points += [hindered[-1].began, hindered[-1].ended]
    inside = sorted(point for point in points if gap.began <= point <= gap.ended)
    parts = [Span(one, other) for one, other in pairwise(inside)]
    return [part for part in parts if part.seconds > 0 and not any(part.overlap(span) > 0 for span in hindered)]


def recoveries(
    gaps: Sequence[Span], injuries: Sequence[Injury], whole: Span, settling: float
) -> tuple[list[float], list[float]]:
    """For each fault of the store in whose end nobody led, how long it took until somebody did; and how long it was
    waited for in vain until the next fault, where that came first."""
    took, in_vain = [], []
    for injury, after in pairwise([*injuries, None]):
        assert injury is not None
        ready = injury.answered + (settling if injury.forgets else 0.0)
        ends = after.began if after is not None else whole.ended
        gap = next((gap for gap in gaps if gap.began <= ready < gap.ended), None)
        if injury.of_worker or gap is None or ready >= ends:
            continue
        if gap.ended < ends:
            took.append(gap.ended - ready)
        else:
            in_vain.append(ends - ready)
    return took, in_vain


def lateness(news: News, terms: Iterable[Term], still: Iterable[Span]) -> float | None:
    """How long after its deadline a holder that runs was told; below zero: before. Nothing for an unknown term."""
    due = next((term.until for term in terms if (term.who, term.token) == (news.who, news.token)), None)
    if due is None:
        return None
    waited = Span(due, news.at)
    return waited.seconds - sum(max(0.0, waited.overlap(span)) for span in merged(still))


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time, each moment once."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.began):
        if found and span.began <= found[-1].ended:
            found[-1] = Span(found[-1].began, max(found[-1].ended, span.ended))
        else:
            found.append(span)
    return found


def lags(histories: Iterable[History], injuries: Sequence[Injury]) -> list[Span]:
    """When processes that nobody had stopped did not run: this machine was late just then."""
    stopped = [(injury.detail.split()[0], injury) for injury in injuries if injury.name == "worker stopped"]
    return [
        span
        for history in histories
        for who, spans in history.stillness.items()
        for span in spans
        if not any(
            who.partition("-")[0] == slot and span.overlap(Span(injury.began, injury.ended)) > 0
            for slot, injury in stopped
        )
    ]


@dataclass
class Verdict:
    """The row of a table."""

    terms: int
    overlaps: list[Overlap]
    falling: list[Term]
    stale: list[Write]
    refused: int
    fenced_lost: int
    plain_lost: int
    plain: int
    longest_gap: Span
    late_leaders: list[Span] = field(default_factory=list)
    """Stretches with nothing in the way that were longer than allowed."""
    longest_stretch: Span = field(default_factory=lambda: Span(0.0, 0.0))
    late_news: list[News] = field(default_factory=list)
    latest_news: float = 0.0
    takeovers: list[float] = field(default_factory=list)
    """After a holder was killed or lost its lease: from its last sure look to the next one's first, where the store
    was left alone meanwhile."""
    handovers: list[float] = field(default_factory=list)
    """The same after a resignation."""
    recoveries: list[float] = field(default_factory=list)
    """After a fault of the store through which nobody could lead on: from its first write to the next leader."""
    unseen: list[float] = field(default_factory=list)
    """Recoveries that the next fault cut short, and how long each had been waited for."""

    @property
    def broken(self) -> list[str]:
        """Which promises were."""
        return [
            words
            for words, is_broken in (
                (f"{len(self.overlaps)} overlaps", self.overlaps),
                (f"{len(self.falling)} falling tokens", self.falling),
                (f"{len(self.stale)} stale writes admitted", self.stale),
                (f"{self.fenced_lost} updates behind the fence lost", self.fenced_lost),
                (f"{len(self.late_news)} late news, the latest {self.latest_news:.2f} s", self.late_news),
                (f"{len(self.late_leaders)} times no leader for too long", self.late_leaders),
            )
            if is_broken
        ]


def judge(
    history: History,
    injuries: Sequence[Injury],
    whole: Span,
    *,
    ttl: float,
    rho: float,
    still: Sequence[Span] = (),
    lagging: Sequence[Span] = (),
) -> Verdict:
    """All of it. ``still``: when this whole machine stood; ``lagging``: when some process waited for it. No promise can
    be held to what a late machine does."""
    everybodys = gaps(history.terms, whole)
    verdict = Verdict(
        terms=len(history.terms),
        overlaps=overlaps(history.terms),
        falling=falling(history.terms),
        stale=stale(history.fenced),
        refused=sum(not write.is_admitted for write in history.fenced),
        fenced_lost=twice(history.fenced),
        plain_lost=twice(history.plain),
        plain=len(history.plain),
        longest_gap=max(everybodys, key=lambda gap: gap.seconds, default=Span(0.0, 0.0)),
    )
    lease = ttl * (1 + rho)
    for gap in everybodys:
        for part in stretches(gap, injuries, settling=lease):
            stood = sum(max(0.0, part.overlap(span)) for span in still)
            if part.seconds - stood > lease + SLACK:
                verdict.late_leaders.append(part)
            if part.seconds > verdict.longest_stretch.seconds:
                verdict.longest_stretch = part
    verdict.recoveries, verdict.unseen = recoveries(everybodys, injuries, whole, lease)
    for news in history.news:
        late = lateness(news, history.terms, [*history.stillness.get(news.who, []), *lagging])
        if late is not None:
            verdict.latest_news = max(verdict.latest_news, late)
            if late > NEWS_SLACK:
                verdict.late_news.append(news)
    for one, other in pairwise(history.terms):
        between = Span(one.ended, other.began)
        if stretches(between, [injury for injury in injuries if not injury.of_worker], lease) == [between]:
            (verdict.handovers if one.how == "resigned" else verdict.takeovers).append(between.seconds)
    return verdict
