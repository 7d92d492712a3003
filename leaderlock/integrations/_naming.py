"""What schedulers call their tasks, as names of jobs: no two of theirs become one of ours."""

from __future__ import annotations

import hashlib

from leaderlock._naming import check_name

__all__ = ["job_name"]

ROOM = 120
"""How many characters of a long name are kept before its digest."""


def job_name(kind: str, name: str) -> str:
    """A job's name for something that may be called anything: ``%`` and what a name must not have are escaped.

    A slash is kept where it stands between two parts. What is too long is cut, and told apart by a digest.
    """
    escaped = "".join(_escape(character) for character in name) or "%"
    parts = escaped.split("/")
    if any(part.strip() in ("", ".", "..") for part in parts) or escaped != escaped.strip():
        escaped = escaped.replace("/", "%2F").replace(" ", "%20").replace(".", "%2E")
    whole = f"{kind}/{escaped}"
    if len(whole) > 200:
        # "%~" comes of no escaping, so a name that was cut is no other's.
        whole = f"{whole[:ROOM]}%~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return check_name(whole, what="the name of a job")


def _escape(character: str) -> str:
    if character == "%" or not character.isprintable():
        return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
    return character
