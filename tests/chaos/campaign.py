"""A campaign of faults on one store: ``python -m tests.chaos.campaign --store etcd --minutes 10 --seed 1``.

Beside every worker of ours runs one on the store's own lock, through the same network, stopped and killed with it.
What is left in the folder is enough to judge and draw it again.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.boxes import Containers
from tests.chaos.contender import Journal, now, watch_lag
from tests.chaos.histories import Span, read_history, read_injuries, write_injuries
from tests.chaos.links import Network
from tests.chaos.nemesis import ROOT, Nemesis, Slot
from tests.chaos.nodes import Ground, Processes
from tests.chaos.on_etcd import EtcdStore
from tests.chaos.on_redis import RedisStore
from tests.chaos.on_sentinel import SentinelStore
from tests.chaos.on_sqlite import SqliteStore
from tests.chaos.on_zookeeper import ZooKeeperStore
from tests.chaos.store import Store
from tests.chaos.verdict import Verdict, judge, lags
from tests.servers.choice import Way, absent
from tests.servers.containers import why_not
from tests.servers.stores import way_to
from tests.simulation.breakages import BREAKAGES

__all__ = ["STORES", "judge_folder", "run"]

STORES: dict[str, Callable[[Path, Network, int, Ground], Store]] = {
    "redis": RedisStore,
    "redis-sentinel": SentinelStore,
    "zookeeper": ZooKeeperStore,
    "etcd": EtcdStore,
    "sqlite": SqliteStore,
}
CLIENTS = {"redis": "redis", "redis-sentinel": "redis", "zookeeper": "kazoo", "etcd": "grpcio"}
SERVERS = {"redis": "redis", "redis-sentinel": "redis", "zookeeper": "zookeeper", "etcd": "etcd"}
"""What servers they are of, as tests.servers calls them; a file has none."""
NODES = {Way.CONTAINERS: "containers", Way.PATH: "processes"}
SLOTS = 3
RHO = 0.005
CALM = 1.5
"""Before the first fault and after the last, in units of the ttl."""


def run(
    name: str,
    folder: Path,
    *,
    seconds: float,
    seed: int,
    way: Way | None = None,
    ttl: float = 2.0,
    breakage: str | None = None,
    only: str | None = None,
) -> None:
    """Do it, and leave the records in ``folder``. ``way``: what the nodes are, else the first way that there is;
    ``breakage``: with that rule of the core broken; ``only``: no other
    faults than those whose name has that in it."""

    def tell(words: str) -> None:
        print(f"{name} {words}", flush=True)

    way = way_of(name, way)
    tell(f"on {NODES[way]}")
    network = Network()
    (folder / "store").mkdir(parents=True)
    home = ROOT if breakage is None else _broken_home(folder / "home", breakage)
    ground = Containers(SERVERS[name]) if way is Way.CONTAINERS else Processes(network)
    store = STORES[name](folder / "store", network, SLOTS, ground)
    kinds = ("ours", "native") if store.has_native else ("ours",)
    slots: list[Slot] = []
    try:
        store.start()
        for fault, why in store.skipped.items():
            print(f"{name}: NOT tested: {fault}: {why}", file=sys.stderr)
        for kind in (*kinds, "machine"):
            (folder / kind).mkdir()
        threading.Thread(target=watch_lag, args=(Journal(folder / "machine" / "machine-0-0"),), daemon=True).start()
        for number in range(SLOTS):
            slots.append(Slot(number, folder, store.url(number), ttl, kinds, home))
            slots[-1].start(seed * 100 + number)
        began = _first_leader(folder)
        time.sleep(CALM * ttl)
        nemesis = Nemesis(store, network, slots, ttl=ttl, seed=seed, tell=tell, only=only)
        try:
            nemesis.run(seconds)
            time.sleep(CALM * 2 * ttl)
        finally:
            write_injuries(folder / "injuries", nemesis.injuries)
            about = _about(name, store, seconds=seconds, seed=seed, ttl=ttl, whole=Span(began, now()))
            about |= {"breakage": breakage, "only": only, "nodes": NODES[way] if name in SERVERS else ""}
            (folder / "about.json").write_text(json.dumps(about, indent=1))
    finally:
        for slot in slots:
            slot.kill()
        store.close()
        network.close()


def way_of(name: str, asked: Way | None = None) -> Way:
    """What the nodes are: containers where an engine answers, else programs on PATH, which is said aloud."""
    if name not in SERVERS:
        return Way.PATH
    way = asked or way_to(SERVERS[name])
    if way not in NODES:
        absent(SERVERS[name], f"a campaign needs servers of its own; {way}")
    if way is Way.CONTAINERS and (why := why_not()):
        absent(SERVERS[name], why)
    if asked is None and way is Way.PATH:
        print(f"{name}: NO CONTAINERS: {why_not() or 'another way was asked for'}; processes instead", file=sys.stderr)
    return Way(way)


def _broken_home(home: Path, name: str) -> Path:
    """A copy of leaderlock in which one rule is broken, and which workers that start there import."""
    breakage = next(breakage for breakage in BREAKAGES if breakage.name == name)
    shutil.copytree(ROOT / "leaderlock", home / "leaderlock")
    for change in breakage.changes:
        source = home / "leaderlock" / "_protocol" / change.file
        text = source.read_text()
        assert text.count(change.old) == 1, f"{name}: this breakage has rotted"
        source.write_text(text.replace(change.old, change.new))
    (home / "tests").symlink_to(ROOT / "tests")
    return home


def _first_leader(folder: Path) -> float:
    """When somebody leads; a store that nobody can lead on is a failure of its own."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        terms = read_history(folder / "ours", "ours").terms
        if terms:
            return terms[0].began
        time.sleep(0.05)
    errors = "".join(path.read_text() for path in folder.glob("errors-*"))
    raise AssertionError(f"nobody led within a minute\n{errors}")


def _about(name: str, store: Store, *, seconds: float, seed: int, ttl: float, whole: Span) -> dict[str, Any]:
    client = CLIENTS.get(name)
    return {
        "store": name,
        "server": store.version(),
        "client": f"{client} {version(client)}" if client else "sqlite3",
        "python": platform.python_version(),
        "kernel": platform.release().partition("-")[0],
        "seconds": seconds,
        "seed": seed,
        "ttl": ttl,
        "began": whole.began,
        "ended": whole.ended,
        "skipped": store.skipped,
    }


def judge_folder(folder: Path) -> dict[str, Verdict]:
    """The verdict on each kind of lock that took part."""
    about = json.loads((folder / "about.json").read_text())
    injuries = read_injuries(folder / "injuries")
    histories = {kind: read_history(folder / kind, kind) for kind in ("ours", "native") if (folder / kind).exists()}
    still = read_history(folder / "machine", "machine").stillness.get("0-0", [])
    lagging = lags(histories.values(), injuries)
    whole = Span(about["began"], about["ended"])
    return {
        kind: judge(history, injuries, whole, ttl=about["ttl"], rho=RHO, still=still, lagging=lagging)
        for kind, history in histories.items()
    }


def _words_of(late: Span, folder: Path) -> str:
    """A stretch without a leader, as somebody needs it who looks for what it was in the records."""
    before = [injury for injury in read_injuries(folder / "injuries") if injury.began <= late.ended]
    last = f"after {before[-1].name} {before[-1].detail}, load {before[-1].load:.1f}" if before else ""
    return f"no leader from {late.began:.2f} to {late.ended:.2f}, {last}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.campaign", description=__doc__)
    parser.add_argument("--store", choices=sorted(STORES), required=True)
    parser.add_argument("--nodes", type=Way, choices=NODES, help="what they are; else containers where there are some")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--ttl", type=float, default=2.0)
    parser.add_argument("--breakage", help="break this rule of the core (python -m tests.simulation --breakages)")
    parser.add_argument("--only", help="no other faults than those whose name has this in it")
    parser.add_argument("--keep", type=Path, help="where the records go; it must not be there yet")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="leaderlock-chaos-")) / options.store
    print(f"{options.store}: seed {options.seed}, records in {folder}", flush=True)
    # Ended from outside, it still ends its servers and takes its small disks away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended from outside"))
    try:
        run(
            options.store,
            folder,
            seconds=60 * options.minutes,
            seed=options.seed,
            way=options.nodes,
            ttl=options.ttl,
            breakage=options.breakage,
            only=options.only,
        )
    except pytest.skip.Exception as absent:
        print(absent, file=sys.stderr)
        return 2
    verdicts = judge_folder(folder)
    for kind, verdict in verdicts.items():
        print(
            f"{options.store} {kind}: {verdict.terms} terms, {len(verdict.overlaps)} overlaps, "
            f"{len(verdict.falling)} falling tokens, {len(verdict.stale)} stale writes admitted, "
            f"{verdict.refused} refused, {verdict.plain_lost} of {verdict.plain} unfenced updates lost, "
            f"longest without a leader {verdict.longest_gap.seconds:.1f} s, "
            f"with nothing in the way {verdict.longest_stretch.seconds:.1f} s, "
            f"latest news {verdict.latest_news:.3f} s after the deadline, "
            f"{len(verdict.recoveries)} recoveries within {max(verdict.recoveries, default=0.0):.1f} s "
            f"and {len(verdict.unseen)} cut short after {max(verdict.unseen, default=0.0):.1f} s at most"
        )
        for late in verdict.late_leaders:
            print(f"{options.store} {kind}: {_words_of(late, folder)}")
    broken = verdicts["ours"].broken
    for words in broken:
        print(f"{options.store} BROKEN: {words}")
    with suppress(OSError):
        shutil.rmtree(folder / "store")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
