"""What the pages say must be there: names, errors, links, commands, the picture, the decisions."""

from __future__ import annotations

import inspect
import re
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

import leaderlock
from leaderlock import LossReason, errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ADR = DOCS / "adr"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "backends/README.md", *DOCS.glob("**/*.md")])
DECISIONS = sorted(ADR.glob("[0-9]*.md"))
ERRORS = [name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)]


def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def prose(path: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text(path), flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """The places in a page that a link can point at, named as GitHub names them."""
    headings = re.findall(r"^#+ +(.+)$", prose(path), flags=re.M)
    bare = (re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)]\([^)]*\)", r"\1", heading)) for heading in headings)
    return {heading.strip().lower().replace(" ", "-") for heading in bare}


def links(path: Path) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)\s]+)\)", prose(path))


@pytest.mark.parametrize("name", leaderlock.__all__)
def test_every_public_name_is_mentioned_on_some_page(name):
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]

    assert any(re.search(rf"\b{name}\b", text(page)) for page in pages)


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_has_a_section_and_a_row(name):
    page = text(DOCS / "errors.md")

    assert f"\n## {name}\n" in page
    assert name == "LeaderLockError" or name == "BackendError" or f"| [`{name}`](#{name.lower()}) |" in page


@pytest.mark.parametrize("reason", LossReason)
def test_every_reason_of_a_loss_is_explained(reason):
    assert f"\n| `{reason.value}` |" in text(DOCS / "errors.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_between_the_pages_leads_somewhere(page):
    for link in links(page):
        if link.startswith(("http:", "https:", "mailto:")):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / unquote(place)).resolve() if place else page
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading; there are {sorted(anchors(target))}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_can_be_found_from_the_readme(page):
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        here = ahead.pop()
        if here not in reached and here.suffix == ".md" and here.exists():
            reached.add(here)
            ahead += [(here.parent / link.partition("#")[0]).resolve() for link in links(here) if "://" not in link]

    assert page in reached


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile():
    commands = re.findall(r"^make (\w+)", text(ROOT / "README.md"), flags=re.M)
    targets = re.findall(r"^([\w-]+):", text(ROOT / "Makefile"), flags=re.M)

    assert commands == ["demo", "test"]
    assert set(commands) <= set(targets)


def test_the_picture_of_the_states_is_drawn_from_the_table_as_it_is_now():
    draw = runpy.run_path(str(DOCS / "draw_state_machine.py"))["draw"]

    assert text(DOCS / "state-machine.svg") == draw(), "run: python docs/draw_state_machine.py"


def test_the_index_lists_every_decision_under_its_own_title():
    rows = re.findall(r"^\| \[(\d{4})]\(([^)]+)\) \|", text(ADR / "README.md"), flags=re.M)

    assert rows == [(page.name[:4], page.name) for page in DECISIONS]
    assert [number for number, _ in rows] == [f"{count:04}" for count in range(1, len(rows) + 1)]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_every_decision_says_context_choice_and_price(page):
    assert text(page).startswith(f"# {page.name[:4]}: ")
    assert re.findall(r"^## (.+)$", text(page), flags=re.M) == ["Context", "Choice", "What we give up"]


def test_the_changelog_begins_with_this_version():
    first = re.search(r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", text(ROOT / "CHANGELOG.md"), flags=re.M)
    project = tomllib.loads(text(ROOT / "pyproject.toml"))["project"]

    assert first is not None
    assert first[1] == leaderlock.__version__ == project["version"]


@pytest.mark.parametrize("symbol", sorted(set(re.findall(r"`(leaderlock(?:\.\w+)+)", text(ROOT / "CHANGELOG.md")))))
def test_every_symbol_of_the_changelog_exists(symbol):
    module, _, rest = symbol.partition(".")
    value = __import__(module)
    for part in rest.split("."):
        if not hasattr(value, part):
            __import__(f"{module}.{part}")
        value = getattr(value, part)
        module = f"{module}.{part}"
