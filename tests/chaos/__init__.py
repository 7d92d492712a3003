"""Real processes on real stores while these are being hurt; what everybody did is judged afterwards, from the records.

==============  =======================================================================================================
``contender``   a process that campaigns, leads, counts and resigns, and writes down when it was sure to lead
``natives``     the stores' own locks behind the same few words, for the other column of the report
``links``       TCP relays between everybody, which hold back what they carry
``nodes``       what can be done to one server: paused, killed, cut off; and servers as processes of this host
``boxes``       the same servers in containers, with networks of the kernel's
``store``       what clusters have in common
``on_…``        a cluster of each kind, the faults that are its own, and whether it answers
``nemesis``     draws faults from a seed, and writes down from when to when each lasted
``histories``   the records read back; ``verdict`` judges them, and is tested with histories made by hand
``campaign``    all of it together: ``python -m tests.chaos.campaign --store etcd --minutes 10 --seed 1``
``report``      ``docs/proof.md`` and its pictures from what campaigns left
==============  =======================================================================================================
"""
