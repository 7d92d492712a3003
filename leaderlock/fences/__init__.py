"""Fences: the resource's side of a lease. A fence never lets a stale leader write.

What all fences share: a write is admitted iff its token is at least the highest admitted so far, which it then
becomes; otherwise :class:`~leaderlock.errors.StaleToken` is raised. Looking, raising and writing are one atomic step.

A fence knows nothing of leases, stores and clocks: it needs the token of the lease, and nothing else. Each lives in a
module of its own, as each needs another library: ``sql``, ``redis``, ``etcd``, ``zookeeper``, ``http`` and ``file``.
"""

from leaderlock.errors import StaleToken
from leaderlock.fences._check import check_refuses_stale
from leaderlock.fences._token import MAX_TOKEN, FenceBusy, WatermarkLost

__all__ = ["MAX_TOKEN", "FenceBusy", "StaleToken", "WatermarkLost", "check_refuses_stale"]
