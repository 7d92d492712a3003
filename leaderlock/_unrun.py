"""What a call gives back without having run it: a coroutine, a generator; and functions whose calls do that."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Final, NoReturn, cast

__all__ = ["UNRUN", "check_plain", "is_coroutine_function", "refuse_unrun"]

ELSEWHERE: Final = (
    "it is called on a thread that runs no event loop, so let a function hand it to yours "
    "(asyncio.run_coroutine_threadsafe), or use leaderlock.aio"
)

CO_COROUTINE: Final = 0x80
"""``inspect.CO_COROUTINE``: the code is an ``async def``'s."""

UNRUN: Final[frozenset[type[Any]]] = frozenset((AsyncGeneratorType, CoroutineType, GeneratorType))
"""None of them can be subclassed, so one look at the type tells, which costs a guarded call next to nothing."""


def is_coroutine_function(function: object) -> bool:
    """Whether calling it makes a coroutine: it is one's function, or has a method ``__call__`` that is."""
    import inspect  # not for a line of a crontab, whose functions are plain

    called: Any = function if inspect.isroutine(function) else type(function).__call__
    return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(function)


def check_plain(what: str, callback: object, *, instead: str = ELSEWHERE) -> None:
    """Refuse what a call would not run: what is no function, or makes a coroutine that nobody awaits."""
    if not callable(callback):
        raise TypeError(f"{what} takes a function, not {type(callback).__name__}")
    code = getattr(callback, "__code__", None)
    if code is not None and not code.co_flags & CO_COROUTINE:
        return
    if is_coroutine_function(callback):
        raise TypeError(f"{what} takes a plain function, not the coroutine function {callback!r}: {instead}")


def refuse_unrun(result: object, function: object, *, instead: str) -> NoReturn:
    """Raise ``TypeError``, as the body of this result (of a type in :data:`UNRUN`) would run without lease or tick.

    A decorator looks at the function first, but a wrapper in between, or a lambda, does not show what it wraps.
    """
    unrun: type[Any] = type(result)
    if unrun is not AsyncGeneratorType:
        cast("Generator[Any, Any, Any] | Coroutine[Any, Any, Any]", result).close()
    kind = unrun.__name__.replace("_", " ")
    raise TypeError(f"{function!r} returned a {kind}, whose body would run after the call, unguarded: {instead}")
