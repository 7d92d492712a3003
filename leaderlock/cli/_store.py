"""From a command line's options to the store that they name, and to a client of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from leaderlock.cli._options import Options
from leaderlock.cli._talk import Talk, Usage

if TYPE_CHECKING:
    from leaderlock import Client
    from leaderlock._connect import Opening

__all__ = ["label_of", "namespace_of", "no_store_yet", "open_client", "printable", "ttl_of"]


def open_client(options: Options, *, label: str = "", serves_memory: bool = False) -> Client:
    """A client of the store that was named. ``serves_memory``: also of one that nobody else can see.

    Raises:
        Usage: no store was named, or an option cannot work; the text says what can.
    """
    opening = _opening(options, label)
    if not serves_memory and str(opening.url).partition(":")[0] == "memory":
        raise Usage(
            "a memory: store is this very process's, and gone when it ends: name one that other processes see too, "
            "such as sqlite: or redis://…"
        )
    try:
        return opening.open()
    except (ValueError, TypeError) as error:
        raise Usage(str(error)) from error


def _opening(options: Options, label: str = "") -> Opening:
    from leaderlock._connect import prepare

    try:
        return prepare(
            options.url,
            ttl=ttl_of(options),
            namespace=options.namespace,
            longest=options.longest,
            renew_every=None,
            label=label,
            back_off=None,
            clock=None,
            options={},
        )
    except (ValueError, TypeError) as error:
        raise Usage(str(error)) from error


def no_store_yet(options: Options, talk: Talk) -> bool:
    """Whether a SQLite file is named that is not there, and so nobody has led anything; told to people if so.

    Whoever only looks should not make one: where the path is misspelled, the next one who looks would find a store.

    Raises:
        Usage: as :func:`open_client` does, even where there is nothing to open.
    """
    url = str(_opening(options).url)
    if url.partition(":")[0].lower() != "sqlite":
        return False
    from leaderlock_sqlite._url import names_no_file, path_of_url

    try:
        path = path_of_url(url)
    except ValueError:
        return False  # told when it is opened
    if path.exists() or not (path.parent.is_dir() or names_no_file(url)):
        return False
    text = f"there is no store at {path} yet: nobody has led anything there (is it spelled right?)"
    talk.tell("warning", text, message=text)
    return True


def label_of(options: Options) -> str:
    """Who runs a command: as was said, or else by its name."""
    return printable(os.path.basename(options.argv[0])) if options.label is None else str(options.label)


def printable(name: str) -> str:
    """As much of a name as can be a label."""
    from leaderlock._connect import LONGEST_LABEL

    return "".join(character if character.isprintable() else "?" for character in name[:LONGEST_LABEL])


def ttl_of(options: Options, default: float = 15.0) -> float:
    return default if options.ttl is None else options.ttl


def namespace_of(options: Options) -> str:
    from leaderlock._connect import default_namespace

    return options.namespace or default_namespace()
