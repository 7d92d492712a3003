"""The pages' blocks of Python are right to type checkers: what readers copy is not refused by theirs."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("leading", "asyncio", "ticks"))]

LENIENT = ("--allow-untyped-defs", "--allow-incomplete-defs", "--allow-untyped-calls")
"""The readers' functions have no annotations, as that is not what they are about. What is in them is checked."""

pytestmark = pytest.mark.slow


def defined_in(tree: ast.Module) -> set[str]:
    """What a block defines, for those behind it."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in tree.body:
        match node:
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                names |= {alias.asname or alias.name for alias in aliases}
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case _:
                pass
    return names


def write_modules(page: Path, folder: Path) -> int:
    """A module for each block, which imports from those before it what it has from there."""
    defined: dict[str, str] = {}
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for number, block in enumerate(blocks):
        tree, module = ast.parse(block), f"{page.stem}_{number}"
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        here = defined_in(tree)
        imports = [f"from {defined[name]} import {name}\n" for name in sorted((used & defined.keys()) - here)]
        (folder / f"{module}.py").write_text("".join(imports) + block)
        defined |= dict.fromkeys(here, module)
    return len(blocks)


@pytest.fixture(scope="module")
def modules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    counts = [write_modules(page, folder) for page in PAGES]
    assert all(counts)
    return folder


def check(modules: Path, *command: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", *command], cwd=modules, capture_output=True, text=True, timeout=100, check=False
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_mypy_accepts_the_pages(modules):
    check(modules, "mypy", "--strict", "--implicit-reexport", *LENIENT, ".")


def test_pyright_accepts_the_pages(modules):
    (modules / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "standard"}))

    check(modules, "pyright", "--pythonpath", sys.executable)
