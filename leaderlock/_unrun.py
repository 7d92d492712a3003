"""What a call gives back without having run it: a coroutine, a generator."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, NoReturn, cast

__all__ = ["UNRUN", "is_coroutine_function", "refuse_unrun"]

UNRUN: Final[frozenset[type[Any]]] = frozenset((AsyncGeneratorType, CoroutineType, GeneratorType))
"""None of them can be subclassed, so one look at the type tells, which costs a guarded call next to nothing."""


def is_coroutine_function(function: object) -> bool:
    """Whether calling it makes a coroutine: it is one's function, or has a method ``__call__`` that is."""
    import inspect  # not for a line of a crontab, whose functions are plain

    called: Any = function if inspect.isroutine(function) else type(function).__call__
    return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(function)


def refuse_unrun(result: object, function: object, *, instead: str) -> NoReturn:
    """Raise ``TypeError``, as the body of this result (of a type in :data:`UNRUN`) would run without lease or tick.

    A decorator looks at the function first, but a wrapper in between, or a lambda, does not show what it wraps.
    """
    unrun: type[Any] = type(result)
    if unrun is not AsyncGeneratorType:
        cast("Generator[Any, Any, Any] | Coroutine[Any, Any, Any]", result).close()
    kind = unrun.__name__.replace("_", " ")
    raise TypeError(f"{function!r} returned a {kind}, whose body would run after the call, unguarded: {instead}")
