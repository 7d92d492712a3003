"""Whatever a scheduler calls its tasks becomes the name of a job, and no two of theirs become one of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock._naming import check_name
from leaderlock.integrations._naming import job_name

NASTY = ["", " ", "a", "a ", " a", "a b", "a/b", "a//b", "a%2Fb", "a%2F%2Fb", "%", "%%", "%25", "..", ".", "../x",
         "a/..", "a/.", "a\nb", "a%0Ab", "café", "cafe\u0301", "x" * 195, "x" * 196, "x" * 500, "x" * 499 + "y",
         "\udce9", "%~", "a\u3000", "%2E%2E", "a/ /b", "a/%20/b", "/", "//"]  # fmt: skip


def test_names_that_look_alike_stay_apart():
    names = [job_name("beat", name) for name in NASTY]

    assert len(set(names)) == len(NASTY)
    assert all(check_name(name) == name for name in names)


@given(st.text(max_size=250), st.text(max_size=250))
def test_no_two_names_collide_after_escaping(one, other):
    assert (job_name("beat", one) == job_name("beat", other)) == (one == other)


@pytest.mark.parametrize("name", NASTY)
def test_a_name_that_was_escaped_is_not_the_name_that_looks_like_it(name):
    escaped = job_name("beat", name).removeprefix("beat/")

    assert escaped == name or job_name("beat", escaped) != job_name("beat", name)


def test_what_needs_no_escaping_is_left_alone():
    assert job_name("beat", "reports/nightly run.v2") == "beat/reports/nightly run.v2"
