"""What a call gave back without having run it: a coroutine, a generator."""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Final

__all__ = ["refuse_unrun"]

_UNRUN: Final = frozenset((AsyncGeneratorType, CoroutineType, GeneratorType))
"""None of them can be subclassed, so one look at the type tells."""


def refuse_unrun(result: object, function: object, *, instead: str) -> None:
    """Raise ``TypeError`` if the body would run after the call, without lease or tick.

    A decorator looks at the function first, but a wrapper in between, or a lambda, does not show what it wraps.
    """
    if type(result) not in _UNRUN:
        return
    if isinstance(result, CoroutineType | GeneratorType):
        result.close()
    kind = type(result).__name__.replace("_", " ")
    raise TypeError(f"{function!r} returned a {kind}, whose body would run after the call, unguarded: {instead}")
