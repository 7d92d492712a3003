"""Where things lie.

::

    <root>/<namespace>                      which life is the current one
    <root>/<namespace>/<life>               the birth mark: its name is the memory, its data the floor's base
    <root>/<namespace>/<life>/<2 hex>       256 directories, since the list of one must fit into a megabyte
    <root>/<namespace>/<life>/<2 hex>/<key> a register

The life is part of every register's path. So a write of an earlier life finds no place in a later one, whatever
version it expects: that is the comparison of the memory, inside the atomic step and at no cost.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import Final
from urllib.parse import quote, unquote

__all__ = ["Layout", "escape", "is_life", "unescape"]

_LIFE: Final = re.compile("[0-9a-f]{32}")


def escape(text: str) -> str:
    """``text`` as one part of a path. ZooKeeper refuses dots alone, control characters, and half of Unicode."""
    return quote(text, safe="").replace(".", "%2E")


def unescape(part: str) -> str:
    """What was escaped."""
    return unquote(part)


def is_life(text: str) -> bool:
    """Whether this can be the name of a life; what else a caller names is no memory of this store."""
    return _LIFE.fullmatch(text) is not None


class Layout:
    """The paths of one namespace."""

    def __init__(self, root: str, namespace: str) -> None:
        self.pointer = f"{root}/{escape(namespace)}"
        parts = root.split("/")[1:]
        self.ancestors = ["/", *("/" + "/".join(parts[:end]) for end in range(1, len(parts) + 1))]
        """What must be there before the namespace, from the top; the first is the client's own chroot, if any."""

    def life(self, life: str) -> str:
        return f"{self.pointer}/{life}"

    def directory(self, life: str, key: str) -> str:
        return f"{self.pointer}/{life}/{_place(key)[:2]}"

    def register(self, life: str, key: str) -> str:
        return f"{self.pointer}/{life}/{_place(key)}"


# The same few keys come again and again: a session's with each renewal, a name's with each take and release.
@lru_cache(maxsize=1024)
def _place(key: str) -> str:
    return f"{blake2b(key.encode(), digest_size=1).hexdigest()}/{escape(key)}"
