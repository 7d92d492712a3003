"""The stores' own locks, each used as its documentation says and with more care than most programs take.

Every holder stops believing in its lock when its own steady clock says that the time it asked for is over, or when its
library says that the connection is in doubt. What overlaps all the same is not careless use.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["NATIVES"]

CALL = 1.0
"""The most that one call may take, in seconds."""


class KeptAlive:
    """A claim that a thread renews every third of its ttl, and that counts from before the last good answer was asked
    for."""

    def __init__(self, token: int, ttl: float, sent: float, renew: Callable[[], bool], give_up: Callable[[], None]):
        self.token = token
        self.until = 0.0
        self._ttl = ttl
        self._ends = sent + ttl
        self._renew = renew
        self._give_up = give_up
        self._is_over = threading.Event()
        threading.Thread(target=self._keep, daemon=True).start()

    @property
    def is_held(self) -> bool:
        return not self._is_over.is_set() and time.monotonic() < self._ends

    def end(self) -> None:
        self._is_over.set()
        self._give_up()

    abandon = end

    def _keep(self) -> None:
        while not self._is_over.wait(self._ttl / 3):
            sent = time.monotonic()
            try:
                is_kept = self._renew()
            except Exception:  # whatever a client library raises: the next attempt, or the clock, decides
                continue
            if not is_kept:
                self._is_over.set()
            elif sent < self._ends:
                self._ends = sent + self._ttl


class RedisLock:
    """redis-py's Lock, reacquired every third of its timeout."""

    def __init__(self, url: str, ttl: float) -> None:
        import redis

        self._redis = redis.Redis.from_url(url, socket_timeout=CALL, socket_connect_timeout=CALL)
        self._errors = redis.exceptions.RedisError
        self._not_owned = redis.exceptions.LockError
        self._ttl = ttl

    def acquire(self, timeout: float) -> KeptAlive | None:
        lock = self._redis.lock("native", timeout=self._ttl, sleep=0.05, thread_local=False)
        until = time.monotonic() + timeout
        while (sent := time.monotonic()) < until:
            try:
                if lock.acquire(blocking=False):
                    return KeptAlive(0, self._ttl, sent, lambda: self._renew(lock), lambda: self._release(lock))
            except self._errors:
                pass
            time.sleep(0.05)
        return None

    def _renew(self, lock: Any) -> bool:
        try:
            return bool(lock.reacquire())
        except self._not_owned:
            return False

    def _release(self, lock: Any) -> None:
        with suppress(self._errors):
            lock.release()


class SentinelLock(RedisLock):
    """The same, on the master that Sentinel names, reached on the address of this worker's own ways."""

    def __init__(self, url: str, ttl: float) -> None:
        super().__init__("redis://", ttl)
        import redis.sentinel

        hosts, _, rest = url.partition("://")[2].partition("/")
        places = [place.split(":") for place in hosts.split(",")]
        sentinels = redis.sentinel.Sentinel(
            [(host, int(port)) for host, port in places],
            sentinel_kwargs={"socket_timeout": 0.3, "socket_connect_timeout": 0.3},
            force_master_ip=places[0][0],
        )
        name = rest.partition("?")[0]
        self._redis = sentinels.master_for(name, socket_timeout=CALL, socket_connect_timeout=CALL)


class ZooKeeperLock:
    """kazoo's Lock. As kazoo advises, a suspended or lost connection ends the belief for good."""

    def __init__(self, url: str, ttl: float) -> None:
        from kazoo.client import KazooClient

        self._client = KazooClient(hosts=url.partition("://")[2], timeout=ttl, randomize_hosts=False)
        self._doubts = 0
        self._client.add_listener(self._hear)
        self._client.start_async()

    def _hear(self, state: str) -> None:
        if state != "CONNECTED":
            self._doubts += 1

    def acquire(self, timeout: float) -> ZooKeeperTerm | None:
        if not self._client.connected:
            time.sleep(0.05)
            return None
        lock, doubts = self._client.Lock("/native"), self._doubts
        try:
            self._tidy()
            if lock.acquire(timeout=timeout):
                return ZooKeeperTerm(lock, lambda: self._doubts == doubts)
        except Exception:  # kazoo raises much more than KazooException while a session ends
            time.sleep(0.05)
        return None

    def _tidy(self) -> None:
        """Remove what an attempt that failed midway left behind: while this session lives, nobody else would."""
        client_id = self._client.client_id
        for child in self._client.get_children("/native") if self._client.exists("/native") else ():
            found = self._client.exists(f"/native/{child}")
            if found and client_id and found.owner_session_id == client_id[0]:
                self._client.delete(f"/native/{child}")


class ZooKeeperTerm:
    token = 0
    until = 0.0

    def __init__(self, lock: Any, has_no_doubt: Callable[[], bool]) -> None:
        self._lock = lock
        self._has_no_doubt = has_no_doubt

    @property
    def is_held(self) -> bool:
        return self._lock.is_acquired and self._has_no_doubt()

    def end(self) -> None:
        # Also when in doubt: the node of a session that lives on would keep the name for ever.
        with suppress(Exception):
            self._lock.release()

    abandon = end


class EtcdLock:
    """The textbook's: a lease, a key that only exists with it, put where there is none; its revision is the token."""

    KEY = base64.b64encode(b"native").decode()

    def __init__(self, url: str, ttl: float) -> None:
        self._places = [place.rpartition(":") for place in url.partition("://")[2].split(",")]
        self._ttl = ttl

    def acquire(self, timeout: float) -> KeptAlive | None:
        until = time.monotonic() + timeout
        sent = time.monotonic()
        lease = None
        try:
            lease = self._ask("lease/grant", {"TTL": int(self._ttl)})["ID"]
            while time.monotonic() < until:
                revision = self._put_if_absent(lease)
                if revision:
                    return KeptAlive(revision, self._ttl, sent, lambda: self._renew(lease), lambda: self._revoke(lease))
                time.sleep(0.05)
                sent = time.monotonic()
                if not self._renew(lease):
                    return None
        except (OSError, http.client.HTTPException, KeyError, ValueError):
            time.sleep(0.05)
        if lease is not None:
            self._revoke(lease)
        return None

    def _put_if_absent(self, lease: str) -> int:
        answer = self._ask(
            "kv/txn",
            {
                "compare": [{"key": self.KEY, "target": "CREATE", "create_revision": "0"}],
                "success": [{"request_put": {"key": self.KEY, "value": self.KEY, "lease": lease}}],
            },
        )
        return int(answer["header"]["revision"]) if answer.get("succeeded") else 0

    def _renew(self, lease: str) -> bool:
        return int(self._ask("lease/keepalive", {"ID": lease})["result"].get("TTL", "0")) > 0

    def _revoke(self, lease: str) -> None:
        with suppress(OSError, http.client.HTTPException, KeyError, ValueError):
            self._ask("lease/revoke", {"ID": lease})

    def _ask(self, method: str, message: dict[str, Any]) -> dict[str, Any]:
        host, _, port = self._places[0]
        connection = http.client.HTTPConnection(host, int(port), timeout=CALL)
        try:
            connection.request("POST", f"/v3/{method}", json.dumps(message))
            answer = connection.getresponse()
            # A keep-alive is a stream of answers, of which the first line is ours.
            body: dict[str, Any] = json.loads(answer.readline() if method == "lease/keepalive" else answer.read())
            if answer.status != http.client.OK:
                raise ValueError(f"{method}: {body}")
            return body
        except (OSError, http.client.HTTPException):
            self._places.append(self._places.pop(0))
            raise
        finally:
            connection.close()


NATIVES: dict[str, Callable[[str, float], Any]] = {
    "redis": RedisLock,
    "redis+sentinel": SentinelLock,
    "zk": ZooKeeperLock,
    "etcd": EtcdLock,
}
"""By the scheme of the URL; a file has no lock of its own that lasts."""
