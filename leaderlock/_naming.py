"""What may be called a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["check_name", "check_names", "check_namespace"]

LONGEST: Final = 200
TRICKS: Final = frozenset(("", ".", ".."))


def check_name(name: object, *, what: str = "the name of an election") -> str:
    """Return ``name`` if every store can hold it.

    Raises:
        TypeError: it is not a string.
        ValueError: it is empty, too long, or has characters or path tricks that a store or a shell would mistake.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} is a string, not {type(name).__name__}")
    if not name:
        raise ValueError(f"{what} must not be empty")
    if len(name) > LONGEST:
        raise ValueError(f"{what} has {len(name)} characters; use at most {LONGEST}")
    if not name.isprintable():
        bad = next(character for character in name if not character.isprintable())
        raise ValueError(f"{what} has the unprintable character {bad!r}; use printable ones only: {name!r}")
    if name != name.strip():
        raise ValueError(f"{what} must not begin or end with a space: {name!r}")
    if not TRICKS.isdisjoint(name.split("/")):
        raise ValueError(
            f"{what} must not have empty, '.' or '..' parts between slashes, which some stores take for paths: {name!r}"
        )
    return name


def check_names(names: Iterable[str]) -> list[str]:
    """Return these names, each once, if every store can hold them. Raises as :func:`check_name` does."""
    if isinstance(names, str):
        raise TypeError(f"campaign_all takes names, not one name: write [{names!r}], or client.election({names!r})")
    return list(dict.fromkeys(map(check_name, names)))


def check_namespace(namespace: object) -> str:
    """Return ``namespace`` if it can keep tenants apart in every store: a name without slashes."""
    checked = check_name(namespace, what="a namespace")
    if "/" in checked:
        raise ValueError(f"a namespace must not have slashes: {checked!r}")
    return checked
