"""Measure, and print a table: ``python -m benchmarks.run [--quick] [--json] [--store STORE] [GROUP …]``.

Every figure is a ratio of two things measured in turns, or a time with its spread. Nothing fails here because a
machine is slow: goals are compared, and said, no more.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import asdict

from .figures import Figure
from .locks import STORES
from .servers import NotHere

GROUPS = (
    "looking",
    "guarding",
    "taking",
    "handover",
    "takeover",
    "many",
    "waiting",
    "starting",
    "ticks",
    "coroutines",
    "stores",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions: to see that it runs, not to quote")
    parser.add_argument("--json", action="store_true", help="machine-readable, on stdout")
    parser.add_argument("--store", choices=STORES, help="of the group `stores`, this one alone")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    figures: list[Figure] = []
    for group in options.groups or GROUPS:
        print(f"measuring: {group} …", file=sys.stderr, flush=True)
        module = importlib.import_module(f".{group}", __package__)
        try:
            chosen = {"only": options.store} if group == "stores" and options.store else {}
            figures += module.measure(quick=options.quick, **chosen)
        except NotHere as missing:
            print(f"not measured: {missing}", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"machine": machine(), "figures": [asdict(figure) for figure in figures]}, indent=2))
    else:
        print(f"\n{machine()}\n")
        print(table(figures))


def machine() -> str:
    return (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def table(figures: Sequence[Figure]) -> str:
    """As Markdown, so that it can be put into the docs as it is."""
    rows = [("figure", "value", "goal", "", "measured")]
    rows += [
        (figure.what, _with_unit(figure.value, figure), _goal(figure), _mark(figure), figure.measured)
        for figure in figures
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines.insert(1, " | ".join("-" * max(width, 3) for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _with_unit(value: float, figure: Figure) -> str:
    return f"{value:.3g} {figure.unit}".rstrip() if value < 1000 else f"{value:.0f} {figure.unit}"


def _goal(figure: Figure) -> str:
    return "" if figure.goal is None else f"≤ {_with_unit(figure.goal, figure)}"


def _mark(figure: Figure) -> str:
    return {True: "met", False: "missed", None: ""}[figure.met]


if __name__ == "__main__":
    main()
