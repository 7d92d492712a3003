"""Terms and faults as pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from tests.chaos.histories import History, Injury, Span, Term
from tests.chaos.verdict import Verdict

__all__ = ["draw_histograms", "draw_timeline"]

OF_STORE, OF_WORKER, FORGETS = "#f4c7a1", "#c9d7ea", "#e9a0a0"
HELD, TOGETHER = "#2f6f4f", "#c0181f"
LEAST_WIDTH = 0.15
"""In seconds, so that a short term can be seen."""


def draw_timeline(
    path: Path,
    window: Span,
    origin: float,
    injuries: Sequence[Injury],
    kinds: Mapping[str, tuple[History, Verdict]],
    names: Mapping[str, str],
) -> None:
    """A row for each worker of each kind; the faults behind them, named at the top."""
    figure, axes = plt.subplots(
        len(kinds), 1, figsize=(15, 1.4 + 1.5 * len(kinds)), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, (kind, (history, verdict)) in zip(axes[:, 0], kinds.items(), strict=True):
        _draw_injuries(axis, window, origin, injuries, named=axis is axes[0, 0])
        _draw_terms(axis, window, origin, history, verdict)
        axis.set_ylabel(f"{names[kind]}\nworker")
    axes[-1, 0].set_xlabel("seconds since the first leader; red: two led at once")
    axes[-1, 0].set_xlim(window.began - origin, window.ended - origin)
    figure.savefig(path, dpi=85)
    plt.close(figure)


def _draw_injuries(axis: Any, window: Span, origin: float, injuries: Sequence[Injury], *, named: bool) -> None:
    for injury in injuries:
        if injury.answered < window.began or injury.began > window.ended:
            continue
        colour = FORGETS if injury.forgets else OF_WORKER if injury.of_worker else OF_STORE
        axis.axvspan(injury.began - origin, max(injury.ended, injury.began + 0.1) - origin, color=colour, lw=0)
        if named and window.began <= injury.began <= window.ended:
            label = (
                injury.name if not injury.of_worker else f"{injury.name.removeprefix('worker ')} {injury.detail[:1]}"
            )
            axis.text(
                injury.began - origin, 1.03, label, rotation=38, fontsize=6.5, transform=axis.get_xaxis_transform()
            )


def _draw_terms(axis: Any, window: Span, origin: float, history: History, verdict: Verdict) -> None:
    slots = sorted({term.who.partition("-")[0] for term in history.terms})
    for slot, held in ((slot, held) for held in history.terms for slot in slots if held.who.startswith(f"{slot}-")):
        _bar(axis, slots.index(slot), held.began - origin, held.ended - held.began, HELD)
    for overlap in verdict.overlaps:
        for term in (overlap.one, overlap.other):
            _bar(axis, slots.index(_slot(term)), overlap.other.began - origin, overlap.seconds, TOGETHER)
    axis.set_yticks(range(len(slots)), slots)
    axis.set_ylim(-0.6, len(slots) - 0.4)


def _slot(term: Term) -> str:
    return term.who.partition("-")[0]


def _bar(axis: Any, at: int, began: float, width: float, colour: str) -> None:
    axis.barh(at, max(width, LEAST_WIDTH), left=began, height=0.55, color=colour, lw=0)


def draw_histograms(
    path: Path, stores: Sequence[tuple[str, Mapping[str, History], Mapping[str, Verdict], float]]
) -> None:
    """For each store: what was left of a claim at its renewal, and how long a lost leader was missed."""
    figure, axes = plt.subplots(len(stores), 2, figsize=(12, 2.3 * len(stores)), squeeze=False, layout="constrained")
    for (left, right), (title, histories, verdicts, ttl) in zip(axes, stores, strict=True):
        left.hist([margin / ttl for margin in histories["ours"].margins], bins=60, range=(0, 1), color=HELD)
        left.set_yscale("symlog")
        left.set_ylabel(title)
        right.hist([took / ttl for took in verdicts["ours"].takeovers], bins=60, range=(0, 6), color=HELD)
        right.axvline(1.005, color=TOGETHER, lw=1)
    axes[0, 0].set_title("left of a claim when it was renewed, in ttl")
    axes[0, 1].set_title("without a leader after one was lost, in ttl (line: ttl(1+ρ))")
    figure.savefig(path, dpi=85)
    plt.close(figure)
