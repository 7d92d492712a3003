"""A Redis key that refuses a stale leader, for whatever lies beside it.

The watermark is a key of its own. A script compares the token with it, raises it, and runs the commands, all in one
step of the server, so nobody comes between; replicas and the append-only file get it in one piece, too.

Not promised: anything against programs that write without the fence; a way back, as Redis has none: a command that
fails leaves those before it done (:meth:`RedisFence.execute`); anything that the server forgot. A failover may lose the
last writes, the watermark's among them. An ``allkeys-*`` eviction policy may drop the watermark; the fence sets no
expiry, so ``volatile-*`` does not.

The client is the user's own, redis-py's or valkey-py's, and so are its settings: if it repeats a call whose answer was
lost, as redis-py 6 and later and any ``RedisCluster`` do by default, commands may run twice, like any others.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pkgutil import get_data
from typing import Any, Final, Protocol

from leaderlock.fences._lost import damaged, missing
from leaderlock.fences._token import admit, check_token

__all__ = ["AsyncRedisFence", "RedisFence"]

# Sent whole, not by its hash: that costs a few microseconds, and a server never forgets what it was sent. Comments and
# indentation need not travel.
_LUA: Final = get_data("leaderlock.fences", "redis.lua")  # also where this package lies in a zip file
assert _LUA is not None
_LINES: Final = [line.strip() for line in _LUA.decode("ascii").splitlines()]
_SCRIPT: Final = "\n".join(line for line in _LINES if line and not line.startswith("--"))

_Word = str | bytes | int | float
_Command = Sequence[_Word]


class _Client(Protocol):
    """``redis.Redis``, ``redis.RedisCluster``, or valkey-py's; with ``decode_responses`` or without."""

    def execute_command(self, *args: Any, **options: Any) -> Any: ...


class RedisFence:
    """A watermark in Redis, and commands that run only under a token that it admits.

    ``key`` is where the watermark lives. In a cluster it and all keys of the commands share a hash tag, as
    ``{orders}:fence`` and ``{orders}:state`` do; elsewhere they may have any names.

    Whatever the client raises passes through; after a lost connection the commands may have been applied, or not.

    Raises:
        TypeError: the client is one of asyncio's, or a pipeline; or ``key`` is no name.
    """

    def __init__(self, client: _Client, key: str | bytes) -> None:
        if _is_async(client):
            raise TypeError("this client is one of asyncio's: use AsyncRedisFence")
        self._client = client
        self._watermark = _Watermark(client, key)

    def __repr__(self) -> str:
        return f"RedisFence({self._watermark.key!r})"

    def stamp(self, token: int) -> None:
        """Admit a token without writing; a new leader calls this before it reads. Lays the watermark at first use."""
        self._run("stamp", token)

    def execute(self, *commands: _Command, token: int) -> list[Any]:
        """Run commands, each a tuple of its words, if the token is admitted; returns their replies.

        The replies are as Redis gives them to a script: ``SET`` answers ``OK``, ``HGETALL`` a list; integers from 2**53
        on are not exact.

        What can be seen beforehand is refused before anything is done. A command that fails all the same (a key of
        another type, say) raises the client's own error with a note that says which it was: those before it have been
        applied, the rest did not run, and the token has been admitted.

        Raises:
            StaleToken: a newer leader has been here; nothing was done.
            WatermarkLost: there is no watermark, or something else in its place; nothing was done.
            ValueError: a command that this server does not know or that has too few words; one that names the
                watermark; in a cluster, a key without the watermark's hash tag. Nothing was done.
            TypeError: a command is no tuple or list of words; nothing was sent.
        """
        return self._run("write", token, _checked(commands))

    def highest(self) -> int:
        """The highest token admitted; 0 where there is no watermark."""
        return self._watermark.seen(self._client.execute_command(*self._watermark.request("look", 0, ())))

    def adopt(self, token: int) -> None:
        """Put a watermark in the place of whatever the key holds; one that is intact is never lowered.

        ``token`` is that of a current lease: a stale leader with a lower one is refused from here on.
        """
        self._run("adopt", token)

    def _run(self, what: str, token: int, commands: Sequence[_Command] = ()) -> list[Any]:
        request = self._watermark.request(what, check_token(token), commands)
        return self._watermark.answer(self._client.execute_command(*request), token, commands)


class AsyncRedisFence:
    """The same as :class:`RedisFence`, for ``redis.asyncio``'s clients: the same words, awaited."""

    def __init__(self, client: _Client, key: str | bytes) -> None:
        if not _is_async(client):
            raise TypeError("this client is none of asyncio's: use RedisFence")
        self._client = client
        self._watermark = _Watermark(client, key)

    def __repr__(self) -> str:
        return f"AsyncRedisFence({self._watermark.key!r})"

    async def stamp(self, token: int) -> None:
        """As :meth:`RedisFence.stamp`."""
        await self._run("stamp", token)

    async def execute(self, *commands: _Command, token: int) -> list[Any]:
        """As :meth:`RedisFence.execute`."""
        return await self._run("write", token, _checked(commands))

    async def highest(self) -> int:
        """As :meth:`RedisFence.highest`."""
        return self._watermark.seen(await self._client.execute_command(*self._watermark.request("look", 0, ())))

    async def adopt(self, token: int) -> None:
        """As :meth:`RedisFence.adopt`."""
        await self._run("adopt", token)

    async def _run(self, what: str, token: int, commands: Sequence[_Command] = ()) -> list[Any]:
        request = self._watermark.request(what, check_token(token), commands)
        return self._watermark.answer(await self._client.execute_command(*request), token, commands)


class _Watermark:
    """What is sent, and what the answer means."""

    def __init__(self, client: object, key: object) -> None:
        if hasattr(client, "command_stack"):
            raise TypeError(
                "a pipeline only collects commands, and a fence needs their answers: give the client itself"
            )
        if not isinstance(key, str | bytes) or not key:
            raise TypeError(f"the watermark's key is a str or bytes, and not empty, as '{{orders}}:fence'; not {key!r}")
        self.key = key
        self._tag = _hash_tag(key)

    def request(self, what: str, token: int, commands: Sequence[_Command]) -> list[_Word]:
        words = [word for command in commands for word in command[1:]]
        # A value that only looks like a key is declared with the keys: it is in their slot, and asks for their rights.
        near = [word for word in words if isinstance(word, str | bytes) and _hash_tag(word) == self._tag]
        packed = [part for command in commands for part in (len(command), *command)]
        return ["EVAL", _SCRIPT, 1 + len(near), self.key, *near, what, token, *packed]

    def answer(self, reply: list[Any], token: int, commands: Sequence[_Command]) -> list[Any]:
        match reply:
            case [1, replies]:
                return list(replies)
            case [2, [*done, Exception() as error]]:
                raise _noted(error, len(done), commands)
            case [-3, int(number), str(why) | bytes(why)]:
                name = _text(commands[number - 1][0])
                raise ValueError(f"command {number} of {len(commands)} ({name}) {_text(why)}; nothing was done")
            case _:
                admit(token, highest=self.seen(reply), resource=repr(self.key))
                raise missing(self.key)

    def seen(self, reply: list[Any]) -> int:
        match reply:
            case [0, int(highest)]:
                return highest
            case [-1]:
                return 0
            case _:
                raise damaged(self.key)


def _noted(error: Exception, done: int, commands: Sequence[_Command]) -> Exception:
    error.add_note(
        f"command {done + 1} of {len(commands)} ({_text(commands[done][0])}) failed; before it {done} were applied, "
        "and none after it ran"
    )
    return error


def _checked(commands: Sequence[_Command]) -> list[_Command]:
    if not commands:
        raise ValueError("there is no command to execute; stamp() admits a token without writing")
    return [_checked_command(command) for command in commands]


def _checked_command(command: _Command) -> _Command:
    if not isinstance(command, tuple | list) or not command:
        raise TypeError(f"a command is a tuple of its words, as ('SET', key, value), not {command!r}")
    for word in command:
        if isinstance(word, bool) or not isinstance(word, str | bytes | int | float):
            raise TypeError(f"the words of a command are str, bytes or numbers, not {word!r}")
    return command


def _hash_tag(key: str | bytes) -> bytes:
    """The part of a key that decides its slot in a cluster."""
    whole = key.encode("utf-8", "surrogatepass") if isinstance(key, str) else key
    _, _, rest = whole.partition(b"{")
    tag, brace, _ = rest.partition(b"}")
    return tag if tag and brace else whole


def _text(word: object) -> str:
    return word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word)


def _is_async(client: _Client) -> bool:
    return inspect.iscoroutinefunction(client.execute_command)
