"""A fenced service to attack: a counter that is read, and written a moment later. Run by real servers.

Its folder holds the counter, the watermark, and what a slow request says and waits for: it creates ``NAME.started``
and goes on when there is ``NAME.go``.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from leaderlock.fences.http import AsgiFence, WsgiFence

FOLDER = Path(os.environ["SERVICE_FOLDER"])
TIMEOUT = float(os.environ.get("SERVICE_TIMEOUT", "10"))
COUNTER = FOLDER / "counter"
BETWEEN = 0.015  # reading and writing: longer than a disk needs to store a watermark, so that who comes too early shows


def counted() -> int:
    return int(COUNTER.read_text()) if COUNTER.exists() else 0


def started(name: str) -> Path:
    """Say that a slow request has begun; what lets it go on is returned."""
    (FOLDER / f"{name}.started").touch()
    return FOLDER / f"{name}.go"


async def _asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{kind}"
            await send({"type": f"lifespan.{kind}.complete"})
        return
    pid = [(b"worker", str(os.getpid()).encode())]

    async def answer(text: object, more: bool = False) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": pid})
        await send({"type": "http.response.body", "body": str(text).encode(), "more_body": more})

    async def passing(go: Path) -> None:
        while not go.exists():
            await asyncio.sleep(0.005)

    match scope["path"].split("/")[1:]:
        case ["count"]:
            await answer(counted())
        case ["pause", milliseconds]:
            await asyncio.sleep(int(milliseconds) / 1000)
            await answer("")
        case ["add"]:
            before = counted()
            await asyncio.sleep(BETWEEN)
            COUNTER.write_text(f"{before + 1}")
            await answer(before + 1)
        case ["slow", name]:
            before = counted()
            await passing(started(name))
            COUNTER.write_text(f"{before + 1}")
            await answer(before + 1)
        case ["stream", name]:
            await answer("begin", more=True)
            await passing(started(name))
            COUNTER.write_text(f"{counted() + 1}")
            await send({"type": "http.response.body", "body": b" end"})
        case ["afterwards", name]:  # as Starlette's background tasks
            await answer("done")
            await passing(started(name))
            COUNTER.write_text(f"{counted() + 1}")
        case ["upload", name]:
            started(name)
            while (message := await receive()).get("more_body"):
                pass
            await answer(message["type"])
        case _:
            raise RuntimeError("the application fails")


def _wsgi(environ, start_response):
    def answer(*parts: object):
        start_response("200 OK", [("Worker", str(os.getpid()))])
        return [str(part).encode() for part in parts]

    def passing(go: Path) -> None:
        while not go.exists():
            time.sleep(0.005)

    def streamed(name: str):
        yield b"begin"
        passing(started(name))
        COUNTER.write_text(f"{counted() + 1}")
        yield b" end"

    match environ["PATH_INFO"].split("/")[1:]:
        case ["count"]:
            return answer(counted())
        case ["pause", milliseconds]:
            time.sleep(int(milliseconds) / 1000)
            return answer("")
        case ["add"]:
            before = counted()
            time.sleep(BETWEEN)
            COUNTER.write_text(f"{before + 1}")
            return answer(before + 1)
        case ["slow", name]:
            before = counted()
            passing(started(name))
            COUNTER.write_text(f"{before + 1}")
            return answer(before + 1)
        case ["stream", name]:
            answer()
            return streamed(name)
        case ["upload", name]:
            started(name)
            return answer(len(environ["wsgi.input"].read()))
        case _:
            raise RuntimeError("the application fails")


asgi = AsgiFence(_asgi, FOLDER / "watermark", timeout=TIMEOUT)
wsgi = WsgiFence(_wsgi, FOLDER / "watermark", timeout=TIMEOUT)
