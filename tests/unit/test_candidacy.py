"""The table of states: what stands in it happens, and nothing else changes anything."""

import itertools

import pytest

from leaderlock._protocol.candidacy import NEXT, NOBODY, Candidacy, Cause, Standing, State

ABSENT = [pair for pair in itertools.product(State, Cause) if pair not in NEXT]
LEADS = {State.LEADING, State.JEOPARDY}


def candidacy_in(state: State) -> tuple[Candidacy, Standing]:
    candidacy, standing = Candidacy("n", patient=True), Standing()
    candidacy.state, candidacy.standing = state, standing
    return candidacy, standing


@pytest.mark.parametrize(("state", "cause"), NEXT, ids=str)
def test_a_pair_in_the_table_moves_as_it_says(state, cause):
    candidacy, _ = candidacy_in(state)

    candidacy.move(cause)

    assert candidacy.state is NEXT[state, cause]


@pytest.mark.parametrize(("state", "cause"), ABSENT, ids=str)
def test_a_pair_that_is_not_in_the_table_raises_and_changes_nothing(state, cause):
    candidacy, standing = candidacy_in(state)

    with pytest.raises(ValueError, match=f"'n' is {state.value}: '{cause.value}' cannot happen to it"):
        candidacy.move(cause)

    assert (candidacy.state, candidacy.standing) == (state, standing)


@pytest.mark.parametrize(("state", "cause"), NEXT, ids=str)
def test_whoever_does_not_lead_stands_on_nothing(state, cause):
    candidacy, standing = candidacy_in(state)

    candidacy.move(cause)

    assert candidacy.leads is (candidacy.state in LEADS)
    assert candidacy.standing is (standing if candidacy.leads else NOBODY)


def test_every_state_but_the_first_is_reached_and_every_cause_is_used():
    assert {*NEXT.values(), State.IDLE} == set(State)
    assert {cause for _, cause in NEXT} == set(Cause)


@pytest.mark.parametrize("state", [State.RESIGNED, State.LOST, State.WITHDRAWN])
def test_a_term_that_is_over_stays_over(state):
    assert not [pair for pair in NEXT if pair[0] is state]
