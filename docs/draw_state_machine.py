"""Draw ``docs/state-machine.svg`` from the protocol's own table: ``python docs/draw_state_machine.py``.

Only the places of the states are decided here. A state without a place is an error, so the picture cannot fall behind
the table without being noticed; ``tests/unit/test_docs.py`` compares the file with what this draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from leaderlock._protocol.candidacy import NEXT, Cause, State

WIDTH: Final = 940
HEIGHT: Final = 420
BOX: Final = (136, 46)
ARROW: Final = 9.0

PLACES: Final[Mapping[State, tuple[float, float]]] = {
    State.IDLE: (100, 190),
    State.CAMPAIGNING: (330, 190),
    State.WITHDRAWN: (330, 310),
    State.LEADING: (560, 190),
    State.JEOPARDY: (840, 190),
    State.RESIGNED: (700, 70),
    State.LOST: (700, 310),
}

STYLE: Final = """
    .card { fill: #ffffff; stroke: #d0d7de; }
    text { font: 15px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif; fill: #1f2328; text-anchor: middle; }
    .state { font-weight: 600; }
    .label { font-size: 13px; fill: #424a53; stroke: #ffffff; stroke-width: 6px; stroke-linejoin: round;
             paint-order: stroke; }
    .note { font-size: 13px; fill: #59636e; text-anchor: start; }
    .edge { fill: none; stroke: #59636e; stroke-width: 1.6; }
    .tip { fill: #59636e; }
    .waits { fill: #eef2f6; stroke: #59636e; stroke-width: 1.6; }
    .holds { fill: #d9f2e0; stroke: #1a7f37; stroke-width: 2.4; }
    .ends { fill: #ffffff; stroke: #59636e; stroke-width: 1.6; stroke-dasharray: 5 3; }
    @media (prefers-color-scheme: dark) {
      .card { fill: #0d1117; stroke: #3d444d; }
      text { fill: #f0f6fc; }
      .label { fill: #c9d1d9; stroke: #0d1117; }
      .note { fill: #9198a1; }
      .edge { stroke: #9198a1; }
      .tip { fill: #9198a1; }
      .waits { fill: #212830; stroke: #9198a1; }
      .holds { fill: #12361f; stroke: #3fb950; }
      .ends { fill: #0d1117; stroke: #9198a1; }
    }"""


def draw() -> str:
    """The whole picture as SVG text."""
    states = {state for state, _ in NEXT} | set(NEXT.values())
    missing = states - set(PLACES)
    if missing:
        raise ValueError(f"no place for {', '.join(sorted(state.value for state in missing))}: add it to PLACES")
    causes: dict[tuple[State, State], list[Cause]] = {}
    for (source, cause), target in NEXT.items():
        causes.setdefault((source, target), []).append(cause)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">',
        '  <title id="title">The states of a candidacy, and what moves it from one to the next</title>',
        f"  <style>{STYLE}\n  </style>",
        f'  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="10"/>',
    ]
    both_ways = {pair for pair in causes if pair[::-1] in causes}
    arrows = {pair: _arrow(*pair, aside=9.0 if pair in both_ways else 0.0) for pair in causes}
    lines += [line for line, _ in arrows.values()]
    lines += [_box(state) for state in PLACES if state in states]
    # Labels last, so that no line crosses them.
    lines += [
        _label(at, causes[pair], aside=15.0 if pair in both_ways else 0.0, pair=pair)
        for pair, (_, at) in arrows.items()
    ]
    lines += _legend()
    return "\n".join([*lines, "</svg>", ""])


def _kind(state: State) -> str:
    if (state, Cause.LOSE) in NEXT:
        return "holds"
    return "waits" if any(source is state for source, _ in NEXT) else "ends"


def _box(state: State) -> str:
    (x, y), (width, height) = PLACES[state], BOX
    rectangle = f'<rect class="{_kind(state)}" x="{x - width / 2:g}" y="{y - height / 2:g}"'
    name = f'<text class="state" x="{x:g}" y="{y + 5:g}">{escape(state.name)}</text>'
    return f'  {rectangle} width="{width}" height="{height}" rx="12"/>\n  {name}'


def _arrow(source: State, target: State, *, aside: float) -> tuple[str, tuple[float, float]]:
    """A line from box to box with a tip, and its middle. ``aside`` moves it to the left of its direction."""
    (x1, y1), (x2, y2) = PLACES[source], PLACES[target]
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    shift_x, shift_y = dy * aside, -dx * aside
    start, end = _way_out(dx, dy) + 3, length - _way_out(dx, dy) - 3
    ax, ay = x1 + dx * start + shift_x, y1 + dy * start + shift_y
    bx, by = x1 + dx * end + shift_x, y1 + dy * end + shift_y
    line = f'<path class="edge" d="M {ax:.1f} {ay:.1f} L {bx - dx * ARROW / 2:.1f} {by - dy * ARROW / 2:.1f}"/>'
    back_x, back_y = bx - dx * ARROW, by - dy * ARROW
    side_x, side_y = dy * ARROW / 2, -dx * ARROW / 2
    tip = (
        f'<path class="tip" d="M {bx:.1f} {by:.1f} L {back_x + side_x:.1f} {back_y + side_y:.1f} '
        f'L {back_x - side_x:.1f} {back_y - side_y:.1f} Z"/>'
    )
    return f"  {line}\n  {tip}", ((ax + bx) / 2, (ay + by) / 2)


def _way_out(dx: float, dy: float) -> float:
    """How far it is from the middle of a box to its edge in that direction."""
    width, height = BOX
    across = width / 2 / abs(dx) if dx else float("inf")
    along = height / 2 / abs(dy) if dy else float("inf")
    return min(across, along)


def _label(at: tuple[float, float], causes: Iterable[Cause], *, aside: float, pair: tuple[State, State]) -> str:
    x, y = at
    if aside:
        (x1, _), (x2, _) = PLACES[pair[0]], PLACES[pair[1]]
        y += -aside if x2 > x1 else aside
    elif PLACES[pair[0]][1] == PLACES[pair[1]][1]:
        y -= 13
    text = escape(", ".join(cause.value for cause in causes))
    return f'  <text class="label" x="{x:.1f}" y="{y + 4.5:.1f}">{text}</text>'


def _legend() -> list[str]:
    entries = (
        ("holds", "may act, while the deadline is ahead"),
        ("waits", "must not act yet"),
        ("ends", "over for good: the next term is a new candidacy"),
    )
    lines: list[str] = []
    x = 30.0
    for kind, text in entries:
        lines.append(f'  <rect class="{kind}" x="{x:g}" y="376" width="26" height="16" rx="5"/>')
        lines.append(f'  <text class="note" x="{x + 36:g}" y="389">{text}</text>')
        x += 60 + 7.2 * len(text)
    return lines


if __name__ == "__main__":
    Path(__file__).with_name("state-machine.svg").write_text(draw(), encoding="utf-8")
