"""What the tests of the faces share: clients that are closed in the end, clocks moved by hand, patience."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from leaderlock import Backend, Client, Lease, Swapped, Write, aio, connect
from leaderlock._protocol.reading import read_session
from leaderlock._protocol.records import SessionRecord
from leaderlock.testing import FaultyBackend, ManualClock, MemoryStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def registered(tmp_path_factory, monkeypatch):
    """The drivers can be found by URL, here and in child processes, also where the package is not installed."""
    if not entry_points(group="leaderlock.backends"):
        drivers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
        info = tmp_path_factory.getbasetemp() / "leaderlock-0.dist-info"
        info.mkdir(exist_ok=True)
        lines = [f"{name} = {place}" for name, place in drivers["leaderlock.backends"].items()]
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaderlock\nVersion: 0\n")
        (info / "entry_points.txt").write_text("\n".join(["[leaderlock.backends]", *lines, ""]))
        monkeypatch.syspath_prepend(info.parent)
        inherited = os.environ.get("PYTHONPATH", "")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(info.parent), inherited]).rstrip(os.pathsep))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 10
    while left := [one for one in threading.enumerate() if one not in before and one.name.startswith("leaderlock")]:
        assert time.monotonic() < until, f"threads left behind: {left}"
        with suppress(RuntimeError):  # it has not quite started yet
            left[0].join(0.1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def open_client() -> Iterator[Callable[..., Client]]:
    """Open a client of a backend; it is closed at the end of the test."""
    opened: list[Client] = []

    def open_one(backend: Backend | str, **options) -> Client:
        opened.append(connect(backend, **options))
        return opened[-1]

    yield open_one
    for client in opened:
        if isinstance(backend := client._engine.backend, FaultyBackend):
            for injection in list(backend._injections):
                injection.cancel()
            backend.release_hung()
        _close(client)


def _close(client: Client) -> None:
    """Close it, while time passes: what failed before is tried again."""
    closing = threading.Thread(target=client.close)
    closing.start()
    while closing.is_alive():
        if isinstance(client._clock, ManualClock):
            client._clock.advance(0.1)
        closing.join(0.01)


@pytest.fixture
def backend(store) -> FaultyBackend:
    return FaultyBackend(store.backend())


@pytest.fixture
def client(open_client, backend, clock) -> Client:
    """A client whose store can fail and whose time stands still, with a ttl of 15 s."""
    return open_client(backend, clock=clock)


@pytest.fixture
def rival(open_client, store, clock) -> Client:
    """Another client of the same store, on the same host."""
    return open_client(store.backend(), clock=clock, label="rival")


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until something is true; fail if it is not in time."""

    def wait(is_true: Callable[[], object], within: float = 20.0) -> None:
        until = time.monotonic() + within
        while not is_true():
            assert time.monotonic() < until, "it did not come to that"
            time.sleep(0.002)

    return wait


@pytest.fixture
def in_background() -> Iterator[Callable[..., list[object]]]:
    """Run something on a thread; the list it returns receives the outcome, be it a value or an error."""
    threads: list[threading.Thread] = []

    def run(work: Callable[[], object]) -> list[object]:
        outcome: list[object] = []

        def body() -> None:
            try:
                outcome.append(work())
            except BaseException as error:
                outcome.append(error)

        threads.append(threading.Thread(target=body, daemon=True))
        threads[-1].start()
        return outcome

    yield run
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def pass_time(clock, backend, eventually) -> Callable[..., None]:
    """Let time pass a renewal at a time, each of which is answered before the next one is due."""

    def go(lease: Lease, seconds: float, step: float = 5.0) -> None:
        while seconds > 0:
            clock.advance(min(step, seconds))
            seconds -= step
            eventually(lambda: not lease.is_held or lease.remaining > 10)

    return go


@pytest.fixture
def forget_requests(store) -> Callable[[], bool]:
    """Take back what others ask of the sessions, as if it was never written; returns whether there was anything."""

    def forget() -> bool:
        backend, writes = store.backend(), []
        view = backend.read([key for key, _ in backend.scan("session/", timeout=1)], timeout=1)
        for key, seen in view.seen.items():
            session = read_session(seen.value)
            if isinstance(session, SessionRecord) and session.requests:
                writes.append(Write(key, seen.stamp, session._replace(requests=()).encode()))
        return bool(writes) and all(isinstance(a, Swapped) for a in backend.swap(writes, view.memory, timeout=1))

    return forget


@pytest.fixture
def aio_client(backend, clock) -> aio.AsyncClient:
    """An asyncio client whose store can fail and whose time stands still; the test enters it, or closes it."""
    return aio.connect(backend, clock=clock)


@pytest.fixture
def in_loop() -> Callable[..., object]:
    """Run a coroutine function in an event loop of its own; fails if anything went wrong there behind its back."""

    def run(main: Callable[[], Awaitable[object]], within: float = 60.0) -> object:
        troubles: list[object] = []

        async def guarded() -> object:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
            return await asyncio.wait_for(main(), within)

        try:
            return asyncio.run(guarded())
        finally:
            gc.collect()
            assert not troubles

    return run


@pytest.fixture
def soon() -> Callable[..., Awaitable[None]]:
    """Wait in an event loop until something is true, while time passes if a clock is given; fail if it is not."""

    async def wait(is_true: Callable[[], object], clock: ManualClock | None = None, within: float = 20.0) -> None:
        until = time.monotonic() + within
        while not is_true():
            assert time.monotonic() < until, "it did not come to that"
            if clock is not None:
                clock.advance(0.05)
            await asyncio.sleep(0.002)

    return wait


@pytest.fixture
def run_program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a Python program to its end, in a process of its own."""

    def run(program: str, *arguments: object, timeout: float = 60, **environment: str):
        command = [sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
        env = os.environ | environment
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, check=False)

    return run


class Cli:
    """The command line on a SQLite file of its own, as users call it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/cli.db"
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *words: object, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "leaderlock", *map(str, words)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "LEADERLOCK_URL": self.url, **environment},
            cwd=self.folder,
        )
        self._started.append(process)
        return process

    def __call__(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*words, **environment)
        stdout, stderr = process.communicate(timeout=90)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()  # its command goes with it, by its guardian
            process.wait()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def cli(tmp_path) -> Iterator[Cli]:
    """Call or start ``leaderlock`` in processes of its own, on a store of this test's own."""
    cli = Cli(tmp_path)
    yield cli
    cli.close()
