"""Explore a small world to its end: ``python -m tests.simulation.explore --space travels --faults 2 --acts 1``."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from .breakages import BREAKAGES
from .cores import REAL, Core, load
from .exploring.search import Found, explore
from .exploring.spaces import SPACES, Space


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.explore", description=__doc__)
    parser.add_argument("--space", action="append", choices=sorted(SPACES), help="default: all of them, in turn")
    parser.add_argument("--clients", type=int, choices=(1, 2, 3), default=2)
    parser.add_argument("--faults", type=int, default=1, help="at most so many in a history")
    parser.add_argument("--acts", type=int, default=0, help="what applications do besides campaigning once each")
    parser.add_argument("--ttls", type=float, default=1.5, help="how long a history is before nothing more goes wrong")
    parser.add_argument("--kinds", help="only these of the space's faults: late,pause")
    parser.add_argument("--most", type=int, help="stop after so many states")
    parser.add_argument("--breakages", nargs="?", const="", help="break each rule (whose name holds this text)")
    options = parser.parse_args()
    sizes = {name: getattr(options, name) for name in ("clients", "faults", "acts", "ttls")}
    spaces = [replace(SPACES[name], **sizes) for name in options.space or SPACES]
    if options.kinds is not None:
        spaces = [replace(space, kinds=space.kinds & set(options.kinds.split(","))) for space in spaces]
    if options.breakages is not None:
        return _hunt(spaces, options.breakages, options.most)
    bad = 0
    for space in spaces:
        found = _explore(space, REAL, options.most, aloud=True)
        if found.violation is not None:
            print(found)
            bad += 1
    return 1 if bad else 0


def _hunt(spaces: list[Space], text: str, most: int | None) -> int:
    """Each rule broken: in which of the spaces that is seen first."""
    unseen = 0
    for breakage in (breakage for breakage in BREAKAGES if text in breakage.name):
        print(breakage.name, flush=True)
        unseen += all(_explore(space, load(breakage.changes), most).violation is None for space in spaces)
    print(f"{unseen} unseen")
    return 1 if unseen else 0


def _explore(space: Space, core: Core, most: int | None, *, aloud: bool = False) -> Found:
    started = time.process_time()

    def tell(found: Found, faults: int, waiting: int) -> None:
        if aloud and sys.stderr.isatty():
            line = f"\r{space.name}: {found.states} states, {waiting} to go with {faults} faults"
            print(line, end="", file=sys.stderr, flush=True)

    found = explore(space, core, most=most, tell=tell)
    end = f"{found.violation}" if found.violation is not None else "whole" if found.is_complete else "NOT TO ITS END"
    print(
        f"  {space.name}: {found.states} states by faults {found.by_faults}, {found.moves} moves, {found.leaves} ends, "
        f"{found.clients} states of a client, {time.process_time() - started:.0f} s: {end}",
        flush=True,
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
