"""Every history of a small world, where the others draw some of a large one.

Two or three clients, one name, a store of a few registers. What goes wrong is counted, and so is what applications do;
within these bounds every choice is followed: which message is next, whether it comes late, twice or never, who stops,
who reads what was before, when a store forgets. Time goes on to the next timer, when nothing is left to happen. Moments
that are equal in everything are one state, whatever led to them.

=============  ========================================================================================================
``spaces``     who takes part, and what may go wrong
``party``      a client: the real machine, and what the engine does around it
``catalogue``  clients and messages by number, each step of a client taken once
``state``      one moment, and the store
``moves``      what may happen next, and what must hold then
``search``     everywhere, with few faults before with many; at each end a run in which nothing more goes wrong
=============  ========================================================================================================

Where no fault is counted, a call is applied and answered in one step, at the moment at which it was sent, in any order
with all others of that moment.
"""
