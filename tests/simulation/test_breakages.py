"""Every rule, broken: the simulator sees it within its budget of histories."""

from __future__ import annotations

import pytest

from .breakages import BREAKAGES
from .breaking import Breakage, hunt
from .cores import Change, load


@pytest.mark.timeout(300)
@pytest.mark.parametrize("breakage", BREAKAGES, ids=str)
def test_is_seen(breakage: Breakage):
    found = hunt(breakage)

    assert found is not None, f"{breakage} went unseen through {breakage.budget} histories"


@pytest.mark.parametrize("old", ["there is no such text", "import"])
def test_a_change_that_does_not_fit_exactly_once_is_refused(old: str):
    with pytest.raises(LookupError, match="rotted"):
        load((Change("rivals.py", old, ""),))
