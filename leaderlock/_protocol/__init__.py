"""The lease protocol: pure, a chapter a file. :mod:`leaderlock._protocol.machine` joins them.

Nothing in here knows threads, sockets, or what time it is: time comes in as an argument called ``now``, requests go
out as effects, answers come in as events. ``docs/protocol.md`` is the same rules in prose, by the same numbers.
"""
