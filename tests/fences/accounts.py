"""A counter that is read, and then written, in two steps: whoever writes after somebody else has read is found out.

One for each store whose fence is tested here. Each write also leaves its token in a log, in the same step. The file is
a program, too, which writes as one leader after another until it is killed.
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from leaderlock.errors import StaleToken

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0


class Account(Protocol):
    def stamp(self, token: int) -> None: ...
    def read(self) -> int: ...
    def write(self, count: int, token: int) -> None: ...
    def log(self) -> list[int]: ...
    def close(self) -> None: ...


class RedisAccount:
    def __init__(self, place: str) -> None:
        import redis

        from leaderlock.fences.redis import RedisFence

        host, port = place.split(":")
        self.client = redis.Redis(host, int(port), decode_responses=True)
        self.fence = RedisFence(self.client, "fence")
        self.stamp = self.fence.stamp
        self.close = self.client.close

    def read(self) -> int:
        return int(self.client.get("count") or 0)

    def write(self, count: int, token: int) -> None:
        self.fence.execute(("SET", "count", count), ("RPUSH", "log", token), token=token)

    def log(self) -> list[int]:
        return [int(token) for token in self.client.lrange("log", 0, -1)]


class EtcdAccount:
    def __init__(self, place: str) -> None:
        import pyetcd

        from leaderlock.fences.etcd import EtcdFence

        host, port = place.split(":")
        self.client = pyetcd.client(host=host, port=int(port))
        self.fence = EtcdFence(self.client, "/account/fence")
        self.stamp = self.fence.stamp
        self.close = self.client.close

    def read(self) -> int:
        return int(self.client.get("/account/count")[0] or 0)

    def write(self, count: int, token: int) -> None:
        put = self.client.transactions.put
        self.fence.transaction(
            [put("/account/count", str(count)), put(f"/account/log/{count:06}", str(token))], token=token
        )

    def log(self) -> list[int]:
        entries = sorted(
            (meta.key, meta.version, int(value)) for value, meta in self.client.get_prefix("/account/log/")
        )
        assert all(version == 1 for _, version, _ in entries), "somebody wrote over somebody else's entry"
        return [token for _, _, token in entries]


class ZooKeeperAccount:
    def __init__(self, hosts: str) -> None:
        from kazoo.client import KazooClient

        from leaderlock.fences.zookeeper import ZooKeeperFence

        self.client = KazooClient(hosts, timeout=PATIENCE)
        self.client.start(PATIENCE)
        self.client.ensure_path("/account/count")
        self.client.ensure_path("/account/log")
        self.fence = ZooKeeperFence(self.client, "/account/fence")
        self.stamp = self.fence.stamp

    def close(self) -> None:
        self.client.stop()
        self.client.close()

    def read(self) -> int:
        return int(self.client.get("/account/count")[0] or 0)

    def write(self, count: int, token: int) -> None:
        transaction = self.client.transaction()
        transaction.set_data("/account/count", b"%d" % count)
        transaction.create("/account/log/n-", b"%d" % token, sequence=True)
        self.fence.commit(transaction, token=token)

    def log(self) -> list[int]:
        return [
            int(self.client.get(f"/account/log/{name}")[0]) for name in sorted(self.client.get_children("/account/log"))
        ]


KINDS: dict[str, Callable[[str], Account]] = {
    "redis": RedisAccount,
    "etcd": EtcdAccount,
    "zookeeper": ZooKeeperAccount,
}


def lead(account: Account, token: int) -> bool:
    """A leader's term: stamp, read, write three times. False if it was told to stop."""
    try:
        account.stamp(token)
        count = account.read()
        for further in (1, 2, 3):
            account.write(count + further, token)
    except StaleToken:
        return False
    return True


def check(account: Account) -> None:
    """Nothing was written over, and nothing by anybody after a newer one."""
    log = account.log()

    assert account.read() == len(log)
    assert all(earlier <= later for earlier, later in itertools.pairwise(log))


def compete_as_threads(open_account: Callable[[], Account], terms: int) -> None:
    """Four leaders at a time, each of which thinks that it leads; often enough for both ends: success and refusal."""
    tokens, ends = itertools.count(1), []

    def run() -> None:
        account = open_account()
        ends.extend([lead(account, next(tokens)) for _ in range(terms)])
        account.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ends) == 4 * terms, "a thread failed"
    assert set(ends) == {True, False}


def compete_as_processes(kind: str, place: str, account: Account, *, pauses: int, seed: int) -> None:
    """Three programs. At any moment one is stopped, others lead, and then it goes on, or is killed and replaced."""
    moment = random.Random(seed)
    with _programs(kind, place) as programs:
        _await_progress(account, 1)
        for number in range(pauses):
            which = number % 3
            programs[which].send_signal(signal.SIGSTOP)
            _await_progress(account, moment.randrange(4, 10))
            if number % 4 == 3:
                programs[which].kill()
                programs[which].communicate()
                programs[which] = _program(kind, place, which)
            else:
                programs[which].send_signal(signal.SIGCONT)
            _await_progress(account, moment.randrange(1, 4))


def _await_progress(account: Account, writes: int) -> None:
    enough, until = account.read() + writes, time.monotonic() + PATIENCE
    while account.read() < enough:
        assert time.monotonic() < until, "nobody writes"


@contextmanager
def _programs(kind: str, place: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    programs = [_program(kind, place, index) for index in range(3)]
    try:
        yield programs
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def _program(kind: str, place: str, index: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.fences.accounts", kind, place, str(index)], cwd=ROOT)


def main(kind: str, place: str, index: int) -> None:
    account = KINDS[kind](place)
    while True:
        lead(account, time.time_ns() // 1000 * 4 + index)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
