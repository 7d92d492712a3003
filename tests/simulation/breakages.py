"""The protocol with one rule broken at a time, and what has to notice: the proof that the simulator can see.

Each entry of the list at the end of the protocol's page stands in one of the two tables; that a request restarts the
observation is seen by figures alone (``test_figures.py``). Not here, since safety does not need them (they save time,
or are second belts): that nothing is buried on unsettled memory; that an absent session is observed before it is
buried, as the swap expects its absence; that a passed deadline is never revived, as far as claims go (its news are
here); the ttl after which a take in doubt is not believed any more; that who begins to watch a name looks at it
afterwards (``test_rules_of_names.py``).

The core differs from the page on purpose in two places, and is broken there where it keeps the rule. What is unknown
(a renewal, a release, a note, a touch) is swapped again and not read first: the swap decides. And an own name that
shows the live session without a claim is released by the one step that decides about names, whatever brought it about,
so that a take given back, an orphan and a resignation are one breakage each of that step.
"""

from __future__ import annotations

from typing import Final

from .breakages_alone import WITHOUT_LOSSES
from .breakages_rest import OF_MEMORY_AND_PROGRESS

__all__ = ["BREAKAGES"]

BREAKAGES: Final = (*WITHOUT_LOSSES, *OF_MEMORY_AND_PROGRESS)
