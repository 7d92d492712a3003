"""The protocol's code, as it is or with a few of its lines changed, imported under another name."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import itertools
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import leaderlock._protocol as protocol

__all__ = ["REAL", "Change", "Core", "load"]

_PACKAGE = "leaderlock._protocol"
_SOURCES = Path(protocol.__path__[0])
_NUMBERS = itertools.count(1)


class Change(NamedTuple):
    """A piece of source text, found exactly once in ``file``, and what stands there instead."""

    file: str
    old: str
    new: str


class Core:
    """One version of the protocol: the modules that a history uses."""

    def __init__(self, package: str) -> None:
        def module(name: str) -> ModuleType:
            return importlib.import_module(f"{package}.{name}")

        self.candidacy, self.clocks, self.events = module("candidacy"), module("clocks"), module("events")
        self.records, self.reading = module("records"), module("reading")
        self.setting, self.machine = module("setting"), module("machine")


class _Importer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports ``package`` and its modules from the protocol's sources, changed."""

    def __init__(self, package: str, sources: dict[str, str]) -> None:
        self.package, self.sources = package, sources

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.package and not fullname.startswith(self.package + "."):
            return None
        return importlib.util.spec_from_loader(fullname, self, is_package=fullname == self.package)

    def exec_module(self, module: ModuleType) -> None:
        name = module.__name__.removeprefix(self.package).lstrip(".") or "__init__"
        file = f"{name}.py"
        exec(compile(self.sources[file], f"<{self.package}: {file}>", "exec"), module.__dict__)


def _changed(sources: dict[str, str], changes: Iterable[Change]) -> dict[str, str]:
    for file, old, new in changes:
        found = sources[file].count(old)
        if found != 1:
            raise LookupError(f"{file} holds {old!r} {found} times instead of once: this change has rotted, mend it")
        sources[file] = sources[file].replace(old, new)
    return sources


@cache
def load(changes: tuple[Change, ...] = ()) -> Core:
    """The protocol with these changes.

    Raises:
        LookupError: the text that is to be changed is not there exactly once.
    """
    if not changes:
        return REAL
    sources = {path.name: path.read_text(encoding="utf-8") for path in _SOURCES.glob("*.py")}
    package = f"_protocol_{next(_NUMBERS)}"
    changed = {file: text.replace(_PACKAGE, package) for file, text in _changed(sources, changes).items()}
    importer = _Importer(package, changed)
    sys.meta_path.insert(0, importer)
    try:
        return Core(package)
    finally:
        sys.meta_path.remove(importer)


REAL = Core(_PACKAGE)
