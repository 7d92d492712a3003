"""The public names, held against a ledger that people review: ``python tests/unit/test_ledger.py --write``."""

import enum
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import leaderlock

ROOT = Path(__file__).parents[2]
LEDGER = ROOT / "docs" / "api.txt"
REWRITE = "python tests/unit/test_ledger.py --write"

NOT_FOR_IMPORT = ("leaderlock.cli", "leaderlock.testing.contract", "leaderlock.testing.summary")
"""The command line is its own interface; the contract's parts are had from ``leaderlock.testing``."""


def public_modules() -> Iterator[str]:
    """Every module whose path says that users may import from it."""
    yield "leaderlock"
    for found in pkgutil.walk_packages(leaderlock.__path__, "leaderlock."):
        private = any(part.startswith("_") for part in found.name.split("."))
        if not private and not found.name.startswith(NOT_FOR_IMPORT):
            yield found.name


def ledger() -> str:
    """Every public name with its signature; a name that ``leaderlock`` itself has is described only there."""
    lines: list[str] = []
    described: dict[int, str] = {}
    for module in map(importlib.import_module, public_modules()):
        lines += ["", f"# {module.__name__}"]
        for name in sorted(module.__all__):
            value = getattr(module, name)
            known = described.setdefault(id(value), module.__name__) if _is_ours(value) else module.__name__
            lines += _described(name, value) if known == module.__name__ else [f"{name}: see {known}"]
    return "\n".join(lines[1:]) + "\n"


def _is_ours(value: object) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def _described(name: str, value: object) -> list[str]:
    if inspect.isfunction(value):
        return [f"{name}{_signature(value)}"]
    if not inspect.isclass(value):
        return [f"{name} = {value!r}" if isinstance(value, int | str | None) else name]
    bases = ", ".join(base.__name__ for base in value.__bases__ if base is not object and not _is_hidden(base))
    lines = [f"class {name}({bases})" if bases else f"class {name}"]
    if issubclass(value, enum.Enum):
        return [*lines, *(f"    {member.name} = {member.value!r}" for member in value)]
    fields = {field: kind for field, kind in inspect.get_annotations(value).items() if not field.startswith("_")}
    lines += [f"    {field}: {getattr(kind, '__forward_arg__', kind)}" for field, kind in fields.items()]
    for member, what in sorted(_members(value).items()):
        if member not in fields and (not member.startswith("_") or (member == "__init__" and not fields)):
            lines += [f"    {line}" for line in _member(member, what)]
    return lines


def _is_hidden(base: type) -> bool:
    """Whether it is ours, and nobody is meant to know it: what it has belongs to who stands on it."""
    return base.__module__.startswith("leaderlock._") and base.__name__ not in leaderlock.__all__


def _members(value: type) -> dict[str, object]:
    hidden = [vars(base) for base in reversed(value.__mro__[1:]) if _is_hidden(base)]
    return {name: what for members in (*hidden, vars(value)) for name, what in members.items()}


def _member(name: str, what: object) -> list[str]:
    if isinstance(what, property):
        return [f"{name} -> {inspect.signature(what.fget).return_annotation}"]
    kind = {staticmethod: "static ", classmethod: "class "}.get(type(what), "")
    function = inspect.unwrap(getattr(what, "__func__", what))
    return [f"{kind}{name}{_signature(function)}"] if callable(function) else []


class _Verbatim:
    """Stands in a signature for what should be printed as it is written in the source."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def _signature(function: object) -> str:
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(
            annotation=_verbatim(parameter.annotation),
            default=_Verbatim("...") if inspect.isfunction(parameter.default) else parameter.default,
        )
        for parameter in signature.parameters.values()
    ]
    returned = _verbatim(signature.return_annotation)
    return str(signature.replace(parameters=parameters, return_annotation=returned))


def _verbatim(annotation: object) -> object:
    return _Verbatim(annotation) if isinstance(annotation, str) else annotation


def named_classes_and_functions() -> list[tuple[str, object]]:
    modules = map(importlib.import_module, public_modules())
    found = {(f"{value.__module__}.{name}", value) for one in modules for name, value in _exports(one)}
    return sorted(found, key=lambda item: item[0])


def _exports(module: object) -> list[tuple[str, object]]:
    return [(name, getattr(module, name)) for name in module.__all__ if _is_ours(getattr(module, name))]


def test_the_public_names_are_those_in_the_ledger():
    assert ledger() == LEDGER.read_text(), f"the public interface changed: {REWRITE}, and say so in CHANGELOG.md"


@pytest.mark.parametrize(("name", "value"), [pytest.param(*item, id=item[0]) for item in named_classes_and_functions()])
def test_every_public_name_has_a_docstring(name, value):
    text = inspect.getdoc(value) or ""
    made_by_dataclass = text.startswith(f"{value.__name__}(")

    assert text, name
    assert not made_by_dataclass, name


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(f"usage: {REWRITE}")
    LEDGER.write_text(ledger())
