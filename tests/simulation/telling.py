"""Events and effects in few words, for the tail of a trace."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from leaderlock.backend import Conflict, Seen, Swapped

__all__ = ["tell", "tell_register"]


def tell(thing: Any) -> str:
    """One word or a few about whatever stands in a trace."""
    if isinstance(thing, str):
        return thing
    if isinstance(thing, float):
        return f"{thing:.3f}"
    if isinstance(thing, list | tuple) and not hasattr(thing, "_fields"):
        return "; ".join(map(tell, thing)) or "-"
    telling = _TELLING.get(type(thing).__name__)
    return telling(thing) if telling is not None else _shortly(thing)


def _shortly(thing: Any) -> str:
    words = [getattr(thing, name) for name in getattr(thing, "_fields", None) or getattr(thing, "__slots__", ())]
    return " ".join([type(thing).__name__, *(_word(word) for word in words)])


def _word(word: Any) -> str:
    name = getattr(word, "name", None)
    return name if isinstance(name, str) else str(word)[:60]


def tell_register(key: str, seen: Seen) -> str:
    if seen.value is None:
        return f"{key}=absent"
    head, _, note = seen.value.partition(b"\n")
    fields = json.loads(head)
    if key.startswith("name/"):
        what = f"{fields['session'] or 'free'}#{fields['token'] % 1_000_000} note={note.decode()!r}"
    elif key.startswith("session/"):
        alive = "alive" if fields["ended"] == "no" else fields["ended"]
        what = f"{alive} requests={len(fields['requests'])}"
    else:
        what = fields["memory"]
    return f"{key}=[{what} write={fields.get('write')} stamp={seen.stamp}]"


def _put(put: Any) -> str:
    becomes = tell_register(put.write.key, Seen(put.write.value, "new"))
    return f"{put.kind.name} {put.write.expected}->{becomes} on {put.memory}"


def _answered(event: Any) -> str:
    return "answered: " + "; ".join(
        f"{put.kind.name} {put.owner} " + _answer(put.write.key, answer)
        for put, answer in zip(event.puts, event.answers, strict=True)
    )


def _answer(key: str, answer: Swapped | Conflict) -> str:
    if isinstance(answer, Swapped):
        return f"done stamp={answer.stamp}"
    return f"CONFLICT {tell_register(key, answer.seen)}"


def _viewed(event: Any) -> str:
    view = event.view
    return f"saw {_registers(view.seen.items())} floor={view.floor % 1_000_000} on {view.memory}"


def _registers(items: Iterable[tuple[str, Seen]]) -> str:
    return ", ".join(tell_register(key, seen) for key, seen in items)


_TELLING: dict[str, Any] = {
    "Put": _put,
    "Answered": _answered,
    "Viewed": _viewed,
    "Unanswered": lambda event: (
        "no answer: " + "; ".join(f"{put.kind.name} {put.owner}" for put in event.puts) + f" {event.failure.name}"
    ),
    "Unread": lambda event: f"unread {event.keys} {event.failure.name}",
    "Scanned": lambda event: f"scanned {event.scan.prefix}: {len(event.items)} finished={event.finished}",
    "Tell": lambda effect: f"TELL {effect.candidacy.name} {tell(effect.news)}",
    "Arm": lambda effect: f"arm {effect.timer} at {effect.until.boot:.3f}/{effect.until.raw:.3f}",
    "Ask": lambda effect: f"ask {effect.keys}",
    "Fired": lambda event: f"fired {event.timer}",
}
