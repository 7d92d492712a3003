"""A ready test for a resource of one's own."""

from __future__ import annotations

from collections.abc import Callable

from leaderlock.errors import StaleToken

__all__ = ["check_refuses_stale"]


def check_refuses_stale(write: Callable[[int], object], *, token: int = 1) -> None:
    """Raise ``AssertionError`` unless the resource behind ``write`` is fenced.

    ``write`` takes a token, writes something under it, and raises :class:`~leaderlock.errors.StaleToken` when it is
    refused. Two terms are played, with ``token`` and ``token + 1``: give a resource that is only there for the test, or
    a token that is higher than what it has admitted.

    It plays them one after another, so it does not prove that looking and writing are one atomic step.
    """
    older, newer = token, token + 1
    _must_admit(write, older, "it has admitted a higher token before; give a fresh resource, or a higher token=")
    _must_admit(write, newer, "a new leader could not write")
    try:
        write(older)
    except StaleToken:
        pass
    except Exception as error:  # whatever it is, the answer for the caller is that his resource fails the test
        raise AssertionError(f"token {older} after {newer} must raise StaleToken, not {error!r}") from error
    else:
        raise AssertionError(f"token {older} was admitted after {newer}: a stale leader can still write")
    _must_admit(write, newer, "the holder could not write a second time; compare with >=, as integers")


def _must_admit(write: Callable[[int], object], token: int, otherwise: str) -> None:
    try:
        write(token)
    except StaleToken as error:
        raise AssertionError(f"token {token} was refused: {otherwise}") from error
