"""Reading what a register holds: a record of ours, or :class:`Foreign` with the reason; ``None`` where it is absent.

Nothing is taken for granted, since anybody may write into a store by hand.
"""

from __future__ import annotations

import json
from typing import Any, Final

from leaderlock._protocol.records import (
    FORMAT,
    Boot,
    Ending,
    Foreign,
    Holder,
    NameRecord,
    Request,
    SessionRecord,
    SettledRecord,
)

__all__ = ["read_name", "read_session", "read_settled"]

_ENDLESS: Final = 1e300
"""JSON knows whole numbers that no float can hold: adding one to a clock's reading would raise."""


def _fields(value: bytes | None) -> dict[str, Any] | Foreign | None:
    if value is None:
        return None
    try:
        fields: Any = json.loads(value)
        if fields["v"] < 1:
            raise ValueError
        if (needed := fields.pop("r")) > FORMAT:
            return Foreign(f"it needs a reader of format {needed}; this one knows {FORMAT}: upgrade leaderlock here")
        del fields["v"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Foreign("it is not a record of leaderlock's: somebody else wrote this register")
    return fields  # type: ignore[no-any-return]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: Any) -> int | float:
    """A number that is not negative and can be reckoned with: any other would make a wait endless."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _ENDLESS:
        raise TypeError
    return value


def _request(name: Any, token: Any, by: Any, at: Any) -> Request:
    return Request(_text(name), int(_number(token)), _text(by), _number(at))


def _damaged(what: str) -> Foreign:
    return Foreign(f"it is a damaged {what} record: somebody else wrote this register")


def read_session(value: bytes | None) -> SessionRecord | Foreign | None:
    fields = _fields(value)
    if not isinstance(fields, dict):
        return fields
    try:
        host, pid, program, label = fields.pop("holder")
        boot = fields.pop("boot")
        return SessionRecord(
            write=_text(fields.pop("write")),
            ttl=_number(fields.pop("ttl")),
            ended=Ending(fields.pop("ended")),
            holder=Holder(host, pid, program, label),
            at=_number(fields.pop("at")),
            boot=None if boot is None else Boot(_text(boot[0]), _text(boot[1]), _number(boot[2])),
            requests=tuple(_request(*request) for request in fields.pop("requests")),
            extra=fields,
        )
    except (ValueError, KeyError, TypeError, IndexError):
        return _damaged("session")


def read_name(value: bytes | None) -> NameRecord | Foreign | None:
    head, _, note = (None, b"", b"") if value is None else value.partition(b"\n")
    fields = _fields(head)
    if not isinstance(fields, dict):
        return fields
    try:
        return NameRecord(
            write=_text(fields.pop("write")),
            session=None if (session := fields.pop("session")) is None else _text(session),
            token=int(_number(fields.pop("token"))),
            note=note,
            at=_number(fields.pop("at")),
            history=tuple(map(_text, fields.pop("history"))),
            extra=fields,
        )
    except (ValueError, KeyError, TypeError):
        return _damaged("name")


def read_settled(value: bytes | None) -> SettledRecord | Foreign | None:
    fields = _fields(value)
    if not isinstance(fields, dict):
        return fields
    try:
        return SettledRecord(
            memory=_text(fields.pop("memory")),
            longest=_number(fields.pop("longest")),
            durability=_text(fields.pop("durability")),
            extra=fields,
        )
    except (ValueError, KeyError, TypeError):
        return _damaged("settled")
