"""Histories of several clients over one forgetful, slow, lossy store, in virtual time, checked as they happen.

The machines are the real ones; everything around them is made here and follows one random seed, so that a history is
the same whenever it is asked for by its profile and seed.

==============  =======================================================================================================
``world``       true time, the queue of what is to come, chance; hosts, whose clocks show anything but true time
``store``       a linearizable swap on memory and stamp, reads that lag, losses of memory
``network``     the way there and back: lost, late, twice, cut
``process``     a machine and what the engine does around it: lanes, timers, pauses
``seats``       the applications
``history``     who takes part and what happens to them; ``profiles`` says how often
``checks``      what must hold at every moment; ``healing`` what must come right when the faults stop
``breakages``   every rule broken once: the proof that all this can see
``exploring``   the same machines in a world so small that every history of it is lived through, and none by chance
==============  =======================================================================================================

``python -m tests.simulation --profile rough --seeds 7:8`` shows one history's tail, ``--breakages`` the hunt;
``python -m tests.simulation.explore`` explores.
"""
