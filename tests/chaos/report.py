"""``docs/proof.md`` and its pictures: ``python -m tests.chaos.report FOLDER…``, a folder for each campaign.

Everything that is a number on that page comes from here. Needs matplotlib: ``pip install --group proof``.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.chaos.campaign import RHO, SLOTS, judge_folder
from tests.chaos.histories import History, Injury, Span, read_history, read_injuries
from tests.chaos.pictures import draw_histograms, draw_timeline
from tests.chaos.verdict import SLACK, Overlap, Verdict

__all__ = ["Campaign", "main"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NATIVE = {
    "redis": "redis-py's `Lock`",
    "redis-sentinel": "redis-py's `Lock`",
    "zookeeper": "kazoo's `Lock`",
    "etcd": "a lease lock",
}
TITLES = {
    "redis": "Redis",
    "redis-sentinel": "Redis under Sentinel",
    "zookeeper": "ZooKeeper",
    "etcd": "etcd",
    "sqlite": "SQLite",
}
LONG = 10.0
"""In minutes."""
WINDOW = 100.0
"""How much of a campaign a timeline shows, in seconds."""
BREAKAGES = (
    "a rival waits its own ttl",
    "takes without the session seen ended",
    "the observation is kept on a changed write",
    "the wait is cut short by a seventh",
    "the wait has no drift margin",
)

HEAD_OF_VERDICTS = (
    *("store", "lock", "faults", "terms", "overlaps", "longest", "falling tokens", "stale writes admitted"),
    *("refused", "lost without a fence", "longest without a leader"),
)
HEAD_OF_PUNCTUALITY = (
    *("store", "longest without a leader and nothing in the way", "too long", "latest news after a deadline"),
    *("takeover p50 / p99 / most", "handover p50 / p99 / most", "recovery p50 / p99 / most"),
)


@dataclass
class Campaign:
    """What one folder holds."""

    about: dict[str, Any]
    injuries: list[Injury]
    histories: dict[str, History]
    verdicts: dict[str, Verdict]

    @classmethod
    def read(cls, folder: Path) -> Campaign:
        verdicts = judge_folder(folder)
        return cls(
            json.loads((folder / "about.json").read_text()),
            read_injuries(folder / "injuries"),
            {kind: read_history(folder / kind, kind) for kind in verdicts},
            verdicts,
        )

    @property
    def title(self) -> str:
        """The store; and of a campaign that is not one of ten minutes and all faults, what it is."""
        only, minutes = self.about.get("only"), self.about["seconds"] / 60
        long = f", {minutes:.0f} min" if minutes < LONG else ""
        boxed = ", in containers" if self.nodes == "containers" else ""
        return TITLES[self.about["store"]] + boxed + long + (f", only “{only}”" if only else "")

    @property
    def nodes(self) -> str:
        """``containers``, ``processes``, or nothing where there is no server."""
        return str(self.about.get("nodes", "processes"))

    @property
    def picture(self) -> str:
        boxed = "-containers" if self.nodes == "containers" else ""
        return f"{self.about['store']}{boxed}-{self.about['seed']}.png"

    def lock(self, kind: str) -> str:
        return "**leaderlock**" if kind == "ours" else NATIVE[self.about["store"]]

    def cause(self, overlap: Overlap) -> str:
        """The fault that began last before it."""
        before = [injury for injury in self.injuries if injury.began <= overlap.other.began]
        return before[-1].name if before else "(before the first fault)"

    def window(self) -> Span:
        """The part worth looking at: where the native lock overlapped most, else the beginning."""
        native = self.verdicts.get("native")
        starts = [overlap.other.began for overlap in native.overlaps] if native else []
        first, last = self.about["began"], self.about["ended"] - WINDOW
        if not starts:
            return Span(first, first + WINDOW)
        best = max(starts, key=lambda start: sum(start <= other < start + 0.9 * WINDOW for other in starts))
        began = max(first, min(best - 0.05 * WINDOW, last))
        return Span(began, began + WINDOW)


def row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def table(head: Sequence[str], rows: Iterable[str]) -> str:
    return row(*head) + row(*("---" for _ in head)) + "".join(rows)


def seconds(value: float) -> str:
    return f"{value:.1f} s" if value else "0"


def verdict_rows(campaign: Campaign) -> Iterable[str]:
    for kind, verdict in campaign.verdicts.items():
        has_tokens = kind == "ours" or campaign.about["store"] == "etcd"
        yield row(
            campaign.title,
            campaign.lock(kind),
            len(campaign.injuries),
            verdict.terms,
            len(verdict.overlaps),
            seconds(max((overlap.seconds for overlap in verdict.overlaps), default=0.0)),
            len(verdict.falling) if has_tokens else "no tokens",
            len(verdict.stale) if has_tokens else "no fence",
            verdict.refused if has_tokens else "no fence",
            f"{verdict.plain_lost} of {verdict.plain}",
            seconds(verdict.longest_gap.seconds),
        )


def spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "–"
    ordered = sorted(values)
    return f"{statistics.median(ordered):.2f} / {ordered[int(0.99 * len(ordered))]:.2f} / {ordered[-1]:.2f} s"


def punctuality_rows(campaign: Campaign) -> Iterable[str]:
    verdict, ttl = campaign.verdicts["ours"], campaign.about["ttl"]
    allowed = ttl * (1 + RHO) + SLACK
    late = verdict.longest_stretch.seconds
    yield row(
        campaign.title,
        f"{late:.2f} s (allowed {allowed:.2f})",
        len(verdict.late_leaders),
        f"{1000 * verdict.latest_news:.0f} ms",
        spread(verdict.takeovers),
        spread(verdict.handovers),
        spread(verdict.recoveries),
    )


def fault_rows(campaign: Campaign) -> Iterable[str]:
    """Those faults before which any lock's terms overlapped."""
    counts = Counter(injury.name for injury in campaign.injuries)
    causes = {kind: Counter(map(campaign.cause, verdict.overlaps)) for kind, verdict in campaign.verdicts.items()}
    for name, count in sorted(counts.items(), key=lambda item: (-causes.get("native", Counter())[item[0]], item[0])):
        if any(cause[name] for cause in causes.values()):
            native = causes["native"][name] if "native" in causes else "–"
            yield row(campaign.title, name, count, causes["ours"][name], native)


def skipped_items(campaigns: Iterable[Campaign]) -> Iterable[str]:
    """What some campaign left out that others did, and why."""
    for campaign in campaigns:
        for why in dict.fromkeys(campaign.about["skipped"].values()):
            names = ", ".join(name for name, reason in campaign.about["skipped"].items() if reason == why)
            yield f"- On {campaign.title}: **{names}** ({why}).\n"


def setting_rows(campaign: Campaign) -> Iterable[str]:
    about = campaign.about
    only = f" ONLY='{about['only']}'" if about.get("only") else ""
    nodes = {"containers": " NODES=containers", "processes": " NODES=path"}.get(campaign.nodes, "")
    command = f"`make chaos STORE={about['store']}{nodes} MINUTES={about['seconds'] / 60:g} SEED={about['seed']}{only}`"
    yield row(
        campaign.title,
        about["server"],
        about["client"],
        about["python"],
        f"{about['ttl']:g} s",
        command,
    )


def campaign_breakage_rows(campaigns: Iterable[Campaign]) -> Iterable[str]:
    for campaign in campaigns:
        about, overlaps = campaign.about, campaign.verdicts["ours"].overlaps
        before = [injury for injury in campaign.injuries if overlaps and injury.began <= overlaps[0].other.began]
        where = f"a campaign on {campaign.title}, seed {about['seed']}"
        when = f"{overlaps[0].other.began - about['began']:.0f} s, {len(before)} faults" if overlaps else "–"
        yield row(about["breakage"], where, when, "; ".join(campaign.verdicts["ours"].broken) or "UNSEEN")


def breakage_rows() -> Iterable[str]:
    from tests.simulation.breakages import BREAKAGES as ALL
    from tests.simulation.breaking import hunt

    known = {breakage.name: breakage for breakage in ALL}
    for name in BREAKAGES:
        found = hunt(known[name])
        if found is None:
            raise SystemExit(f"{name}: went unseen through {known[name].budget} histories")
        number, outcome = found
        assert outcome.violation is not None
        yield row(
            name,
            f"the simulator, profile `{outcome.profile}`",
            f"{number} {'history' if number == 1 else 'histories'}",
            outcome.violation.kind,
        )


def lag_of(campaigns: Sequence[Campaign], folders: Sequence[Path]) -> str:
    worst = 0.0
    for folder in folders:
        still = read_history(folder / "machine", "machine").stillness.get("0-0", [])
        worst = max([worst, *(span.seconds for span in still)])
    return f"{worst:.2f} s"


def write_page(campaigns: Sequence[Campaign], sabotaged: Sequence[Campaign], folders: Sequence[Path]) -> str:
    broken = [f"{campaign.title}: {words}" for campaign in campaigns for words in campaign.verdicts["ours"].broken]
    faults = sum(len(campaign.injuries) for campaign in campaigns)
    causes = [line for campaign in campaigns for line in fault_rows(campaign)]
    kinds = {(campaign.title, injury.name) for campaign in campaigns for injury in campaign.injuries}
    pictures = [f"[{one.title}, seed {one.about['seed']}](proof/{one.picture})" for one in campaigns]
    text = (Path(__file__).parent / "proof.md.in").read_text()
    for key, value in {
        "FAULTS": faults,
        "STORES": ", ".join(dict.fromkeys(TITLES[campaign.about["store"]] for campaign in campaigns)),
        "BROKEN": "No promise was broken." if not broken else "What was broken, or late: " + "; ".join(broken) + ".",
        "VERDICTS": table(
            HEAD_OF_VERDICTS,
            (line for campaign in campaigns for line in verdict_rows(campaign)),
        ),
        "PUNCTUALITY": table(
            HEAD_OF_PUNCTUALITY,
            (line for campaign in campaigns for line in punctuality_rows(campaign)),
        ),
        "CAUSES": table(
            ["store", "fault", "how often", "leaderlock's overlaps", "the native lock's"],
            causes,
        ),
        "QUIET": len(kinds) - len({line.rsplit(" | ", 3)[0] for line in causes}),
        "SKIPPED": "".join(skipped_items(campaigns)),
        "SETTINGS": table(
            ["store", "servers", "client", "Python", "ttl", "again"],
            (line for campaign in campaigns for line in setting_rows(campaign)),
        ),
        "BREAKAGES": table(
            ["the rule, broken", "seen by", "within", "as"], [*breakage_rows(), *campaign_breakage_rows(sabotaged)]
        ),
        "PICTURES": ",\n".join(pictures),
        "CORES": os.cpu_count(),
        "SLOTS": SLOTS,
        "LAG": lag_of(campaigns, folders),
    }.items():
        text = text.replace(f"@{key}@", str(value).rstrip("\n"))
    return text


def main(*places: str) -> int:
    folders = [Path(place) for place in places]
    read = [Campaign.read(folder) for folder in folders]
    campaigns = [campaign for campaign in read if not campaign.about.get("breakage")]
    sabotaged = [campaign for campaign in read if campaign.about.get("breakage")]
    (DOCS / "proof").mkdir(exist_ok=True)
    for campaign in campaigns:
        draw_timeline(
            DOCS / "proof" / campaign.picture,
            campaign.window(),
            campaign.about["began"],
            campaign.injuries,
            {kind: (campaign.histories[kind], verdict) for kind, verdict in campaign.verdicts.items()},
            {"ours": "leaderlock", "native": NATIVE.get(campaign.about["store"], "").replace("`", "")},
        )
    draw_histograms(
        DOCS / "proof" / "times.png",
        [(campaign.title, campaign.histories, campaign.verdicts, campaign.about["ttl"]) for campaign in campaigns],
    )
    (DOCS / "proof.md").write_text(write_page(campaigns, sabotaged, folders))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
