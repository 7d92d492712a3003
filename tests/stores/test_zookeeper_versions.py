"""ZooKeeper compares versions alone, and a node that is made anew begins at 0 again."""

import threading
import time
from contextlib import closing

from leaderlock import LossReason, connect
from leaderlock.backend import DELETE, Write
from leaderlock.testing import FaultyBackend
from leaderlock_zookeeper import open_backend

TTL = 6.0
NAME = "name/job"


def test_a_late_take_of_a_name_that_was_cleaned_and_led_anew_is_found_by_the_next_look(zookeeper):
    url, namespace = f"zk://127.0.0.1:{zookeeper.port}", "versions"
    composed, goes_on = threading.Event(), threading.Event()

    def stall():
        composed.set()
        goes_on.wait(60)

    slow = FaultyBackend(open_backend(url, namespace=namespace))
    with (
        connect(slow, ttl=TTL, label="slow") as late,
        connect(url, ttl=TTL, namespace=namespace) as next_one,
        closing(open_backend(url, namespace=namespace)) as cleaner,
    ):
        next_one.init(force=True)
        late.election("job").campaign(timeout=20).resign()  # the versions 0 and 1: free, and then idle for a day
        slow.before(stall, op="swap", times=1, when=lambda keys: NAME in keys)
        won = []
        campaign = threading.Thread(target=lambda: won.append(late.election("job").campaign(timeout=60)), daemon=True)
        campaign.start()
        assert composed.wait(10)
        view = cleaner.read([NAME], timeout=5)
        cleaner.swap([Write(NAME, view.seen[NAME].stamp, DELETE)], view.memory, timeout=5)
        lease = next_one.election("job").campaign(timeout=10)
        lease.save_note(b"led anew")  # version 1 once more
        goes_on.set()
        campaign.join(20)

        until = time.monotonic() + TTL
        while lease.is_held:
            assert time.monotonic() < until, "both lead on"
            time.sleep(0.02)
        assert lease.lost_reason is LossReason.REVOKED
        assert won[0].token < lease.token  # so a fence refuses whoever came late
