"""What the layout promises, read off the sources: the protocol is pure, and the wall clock has few doors."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import leaderlock

PACKAGE = Path(leaderlock.__path__[0])
SOURCES = sorted(PACKAGE.rglob("*.py"))
PROTOCOL = sorted((PACKAGE / "_protocol").glob("*.py"))
PARTS_OF_TICKS = ("cronline", "schedule", "record", "rules", "skew", "claim")
TICKS = [PACKAGE / "_checks.py", *(PACKAGE / "_ticks" / f"{name}.py" for name in PARTS_OF_TICKS)]
PURE_TICKS = ("leaderlock._checks", *(f"leaderlock._ticks.{name}" for name in PARTS_OF_TICKS))
PURE = {"__future__", "collections", "collections.abc", "dataclasses", "enum", "itertools", "json", "math", "typing"}
OURS = {"leaderlock.backend", "leaderlock.errors"}
MAY_READ_THE_WALL_CLOCK = {"_clock.py"}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def called(path: Path) -> Iterator[str]:
    """Whatever is called or merely named with a dot, as it is written: ``print``, ``time.time``."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def module_of(path: Path) -> str:
    parts = ("leaderlock", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def at_runtime(node: ast.AST) -> Iterator[ast.AST]:
    """All that may run some day, inside of functions as well; not what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield child
            yield from at_runtime(child)


def leads_to(path: Path, modules: frozenset[str]) -> Iterator[str]:
    """The modules of ours that this one imports, also those that it imports late."""
    for node in at_runtime(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names = (f"{node.module}.{alias.name}", node.module)
                yield from [name for name in names if name in modules][:1]


def test_no_module_leads_back_to_itself_not_even_by_a_late_import():
    modules = frozenset(map(module_of, SOURCES))
    graph = {module_of(path): set(leads_to(path, modules)) - {module_of(path)} for path in SOURCES}

    assert len(graph["leaderlock._client"]) > 10
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", PROTOCOL, ids=name_of)
def test_the_protocol_imports_nothing_impure(path):
    others = {module for module in imported(path) if not module.startswith("leaderlock._protocol.")}

    assert others <= PURE | OURS


@pytest.mark.parametrize("path", TICKS, ids=name_of)
def test_the_rules_of_ticks_import_nothing_impure(path):
    others = {module for module in imported(path) if not module.startswith(("leaderlock._protocol.", *PURE_TICKS))}

    assert others <= PURE | {"array", "bisect", "cronsim", "datetime", "re", "zoneinfo"}


@pytest.mark.parametrize("path", [*PROTOCOL, *TICKS], ids=name_of)
def test_the_protocol_opens_imports_and_draws_nothing_by_the_back_door(path):
    assert not {"open", "__import__", "exec", "eval", "input"} & set(called(path))


@pytest.mark.parametrize("path", [path for path in SOURCES if "cli" not in path.parts], ids=name_of)
def test_nothing_but_the_command_line_prints(path):
    assert "print" not in set(called(path))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_the_wall_clock_is_read_in_one_module_only(path):
    readings = {call for call in called(path) if call in {"time.time", "time.time_ns"} or call.endswith(".utcnow")}
    readings |= {call for call in called(path) if call in {"datetime.now", "datetime.datetime.now", "date.today"}}

    assert not readings or name_of(path) in MAY_READ_THE_WALL_CLOCK


def test_the_chapters_are_found():
    assert len(PROTOCOL) > 10


# -- arrows point down only

DRIVERS = sorted((Path(__file__).parents[2] / "backends").glob("leaderlock_*/*.py"))
BELOW_DRIVERS = {f"leaderlock.{module}" for module in ("backend", "errors", "knowledge", "watching", "diagnosis")}
ENGINE = (
    "attendance backoff bell callbacks calls clock clockwork engine handed journal lane patches terms timers watchlist"
)
CORE = [PACKAGE / f"_{name}.py" for name in ENGINE.split()]
NAMES_OF_FACES = "_aio aio _campaign _client _connect _course _decorators _election _lease _observe _tenure _ticks cli"
FACES = tuple(f"leaderlock.{face}" for face in NAMES_OF_FACES.split())


@pytest.mark.parametrize("path", DRIVERS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_driver_knows_the_waist_and_no_leases(path):
    ours = {module for module in imported(path) if module == "leaderlock" or module.startswith("leaderlock.")}

    assert ours <= BELOW_DRIVERS


# -- an interruption leaves no lock held

NEVER_ENTERED = {"_claim", "_sending", "_turn"}
"""Locks that are only tried, or waited for with a time-out."""


def test_every_lock_that_a_block_enters_is_safe_from_signals():
    trees = [tree(path) for path in (*SOURCES, *DRIVERS)]
    entered = {item.context_expr for one in trees for node in ast.walk(one) for item in getattr(node, "items", ())}
    bare = {lock for one in trees for lock in bare_locks(one)}

    assert bare == NEVER_ENTERED
    assert not bare & {ast.unparse(lock).split(".")[-1] for lock in entered}


def bare_locks(module: ast.Module) -> Iterator[str]:
    """What those of Python's own locks are called that are used as they are."""
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    safe = {call.args[0] for call in calls if ast.unparse(call.func) == "signal_safe"}
    names = {node.value: ast.unparse(node.targets[0]) for node in ast.walk(module) if isinstance(node, ast.Assign)}
    for call in calls:
        if ast.unparse(call) in ("threading.Lock()", "threading.RLock()") and call not in safe:
            yield names.get(call, ast.unparse(call)).split(".")[-1]


@pytest.mark.parametrize("path", CORE, ids=name_of)
def test_the_engine_and_its_parts_know_no_face(path):
    assert not [module for module in imported(path) if module.startswith(FACES)]


@pytest.mark.parametrize("path", sorted((PACKAGE / "fences").glob("*.py")), ids=name_of)
def test_a_fence_knows_nothing_of_the_rest(path):
    ours = {module for module in imported(path) if module.startswith("leaderlock")}

    assert not {module for module in ours if not module.startswith(("leaderlock.fences", "leaderlock.errors"))}
