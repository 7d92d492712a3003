"""The one place where tests get their servers.

In this order: containers, where an engine answers; else programs found on PATH, on free ports; else the URLs in
``LEADERLOCK_TEST_REDIS_URL``, ``…_VALKEY_URL``, ``…_ZOOKEEPER_URL``, ``…_ETCD_URL``; else the test is skipped by name,
or fails where the store is required. ``stores`` chooses; the other modules are what there is to choose from. Tests that
need a process of their own, to start it with other settings or under other clocks, take it from those directly.
"""
