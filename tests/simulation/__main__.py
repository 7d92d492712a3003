"""Run many histories: ``python -m tests.simulation --profile mixed --seeds 0:1000``."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from .breakages import BREAKAGES
from .breaking import hunt
from .history import Outcome, run
from .profiles import PROFILES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--profile", action="append", choices=sorted(PROFILES), help="default: all of them")
    parser.add_argument("--seeds", default="0:100", help="FROM:TO")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--breakages", action="store_true", help="break every rule and say what saw it")
    options = parser.parse_args()
    if options.breakages:
        return _hunt_all()
    first, last = map(int, options.seeds.split(":"))
    bad = 0
    for profile in options.profile or PROFILES:
        bad += _campaign(profile, range(first, last), options.jobs)
    return 1 if bad else 0


def _campaign(profile: str, seeds: range, jobs: int) -> int:
    started, done, counts = time.perf_counter(), 0, Counter[str]()
    violations: list[Outcome] = []
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        outcomes = (
            pool.map(partial(run, profile), seeds, chunksize=10) if jobs > 1 else map(partial(run, profile), seeds)
        )
        for outcome in outcomes:
            done += 1
            counts += outcome.counts
            if outcome.violation is not None:
                violations.append(outcome)
                print(f"{outcome.profile} {outcome.seed}: {str(outcome.violation)[:300]}", flush=True)
            if sys.stderr.isatty() and done % 20 == 0:
                print(f"\r{profile}: {done}/{len(seeds)}", end="", file=sys.stderr, flush=True)
    seconds = time.perf_counter() - started
    if len(violations) == len(seeds) == 1:
        print(violations[0])
    kinds = Counter(outcome.violation.kind for outcome in violations if outcome.violation)
    each = 1000 * seconds / done
    print(f"{profile}: {done} histories in {seconds:.1f} s ({each:.0f} ms each), violations {dict(kinds)}")
    print("   ", ", ".join(f"{count} {what}" for what, count in counts.most_common()), flush=True)
    return len(violations)


def _hunt_all() -> int:
    unseen = 0
    for breakage in BREAKAGES:
        found = hunt(breakage)
        unseen += found is None
        what = "UNSEEN" if found is None else f"{found[1].violation}"[:90]
        print(f"{breakage.name:57} {found[0] if found else '-':>4}  {what}", flush=True)
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
