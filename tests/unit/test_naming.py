"""What may be called a name: what every store can hold, and no shell or path mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock._naming import check_name, check_namespace


@pytest.mark.parametrize("name", ["a", "jobs/nightly", "a b", "ночь", "夜", "a.b", "...", "x" * 200, "😀", "a=b:c%d"])
def test_a_name_is_printable_in_any_script(name):
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "must not be empty"),
        ("x" * 201, "has 201 characters; use at most 200"),
        ("a\nb", "unprintable character '.n'"),
        ("a\x00", "unprintable"),
        ("a\u202eb", "unprintable"),
        ("\ud800", "unprintable"),
        ("a\u00a0", "unprintable"),
        (" a", "begin or end with a space"),
        ("a ", "begin or end with a space"),
        ("/a", "between slashes"),
        ("a/", "between slashes"),
        ("a//b", "between slashes"),
        ("..", "between slashes"),
        (".", "between slashes"),
        ("a/../b", "take for paths"),
        ("./a", "between slashes"),
    ],
)
def test_what_a_store_or_a_shell_would_mistake_is_refused(name, text):
    with pytest.raises(ValueError, match=text):
        check_name(name)


@pytest.mark.parametrize("name", [None, 7, b"a", ["a"], True])
def test_a_name_is_a_string(name):
    with pytest.raises(TypeError, match="the name of an election is a string, not"):
        check_name(name)


def test_a_namespace_has_no_slashes():
    assert check_namespace("team one") == "team one"
    with pytest.raises(ValueError, match="a namespace must not have slashes"):
        check_namespace("a/b")
    with pytest.raises(TypeError, match="a namespace is a string"):
        check_namespace(None)


@given(st.text(max_size=250))
def test_every_text_is_taken_as_it_is_or_refused(text):
    is_fine = (
        1 <= len(text) <= 200
        and text.isprintable()
        and text == text.strip()
        and not {"", ".", ".."} & set(text.split("/"))
    )

    if is_fine:
        assert check_name(text) == text
    else:
        with pytest.raises(ValueError, match="the name of an election"):
            check_name(text)
