"""The stores' pages, held against the code: ``python tests/unit/test_store_pages.py --write`` renders the traits."""

import re
import sys
from contextlib import closing
from pathlib import Path

import pytest

import leaderlock_etcd
import leaderlock_redis
import leaderlock_sqlite
import leaderlock_zookeeper
from leaderlock._connect import OURS, drivers
from leaderlock.backend import Traits
from leaderlock_redis._errors import ACL

STORES = Path(__file__).parents[2] / "docs" / "stores"
INDEX = STORES / "README.md"
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in STORES.glob("[!R]*.md")}
REWRITE = "python tests/unit/test_store_pages.py --write"
BEGIN, END = "<!-- traits -->\n", "<!-- end of traits -->\n"

SHOWN = (
    ("SQLite", "", leaderlock_sqlite, "sqlite:///leader.db", {}),
    ("Redis", "", leaderlock_redis, "redis://host", {}),
    ("Redis", '`durability="disk"`', leaderlock_redis, "redis://host", {"durability": "disk"}),
    ("Redis", '`durability="replicas:2"`', leaderlock_redis, "redis://host", {"durability": "replicas:2"}),
    ("Redis, by Sentinel or in a Cluster", "", leaderlock_redis, "redis+sentinel://host/main", {}),
    ("ZooKeeper", "", leaderlock_zookeeper, "zk://host", {}),
    ("etcd", "", leaderlock_etcd, "etcd://host", {}),
)


def table() -> str:
    """Each driver's traits, under each of the settings that change them."""
    rows = [
        "| store | settings | acknowledged writes survive | keeps its memory | pushes changes | writes a call"
        " | bytes each |",
        "| --- | --- | --- | --- | --- | ---: | ---: |",
    ]
    for name, settings, driver, url, options in SHOWN:
        with closing(driver.open_backend(url, namespace="traits", **options)) as backend:
            rows.append(_row(name, settings or "defaults", backend.traits))
    return "\n".join(rows) + "\n"


def _row(name: str, settings: str, traits: Traits) -> str:
    yes = {True: "yes", False: "no"}
    words = {"memory": "no restart", "disk": "restarts and crashes"}
    survives = words.get(traits.durability) or f"a failover to one of {traits.durability.partition(':')[2]} replicas"
    cells = [name, settings, survives, yes[traits.keeps_memory], yes[traits.pushes]]
    return f"| {' | '.join(cells)} | {traits.max_batch:,} | {traits.max_value:,} |"


def parts() -> tuple[str, str, str]:
    """The index up to the table, the table, and the rest."""
    before, begin, rest = INDEX.read_text(encoding="utf-8").partition(BEGIN)
    found, end, after = rest.partition(END)
    assert begin, f"{INDEX.name} has lost its mark {BEGIN!r}"
    assert end, f"{INDEX.name} has lost its mark {END!r}"
    return before, found, after


@pytest.mark.skipif(sys.platform != "linux", reason="declared unsupported: SQLite pushes on Linux only")
def test_the_table_of_traits_is_what_the_drivers_say():
    assert parts()[1] == table(), f"the traits changed: {REWRITE}"


@pytest.mark.parametrize("page", PAGES)
def test_every_store_has_a_page_that_says_all_there_is_to_say(page):
    headings = re.findall(r"^## (.+)$", PAGES[page], flags=re.M)

    assert f"({page}.md)" in INDEX.read_text(encoding="utf-8")
    for wanted in ("Pointing at it", "What it guarantees", "What it cannot do", "Rights", "Errors", "Recommended"):
        assert wanted in headings
    assert "What the driver does" in headings or "| what the driver does |" in PAGES[page]


@pytest.mark.parametrize("scheme", sorted(set(drivers()) & set(OURS)))
def test_every_scheme_is_on_the_page_of_its_store(scheme):
    page = PAGES[OURS[scheme]]
    kind, plus, how = scheme.partition("+")
    is_named = f"`{scheme}:" in page
    is_derived = plus and f"`{kind}+…://" in page and f"`{kind.replace('valkey', 'redis')}+{how}://" in page

    assert is_named or is_derived, f"{scheme}: is on no page"


def test_the_rights_on_redis_page_are_those_that_an_error_names():
    assert ACL.replace("<user>", "leader on >password") in PAGES["redis"]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {REWRITE}")
    start, _, end = parts()
    INDEX.write_text(start + BEGIN + table() + END + end, encoding="utf-8")
