"""Which file a sqlite URL means."""

import os
import pwd
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderlock_sqlite import open_backend
from leaderlock_sqlite._url import path_of_url

names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1).filter(
    lambda name: name not in (".", "..") and not name.startswith(":memory:")
)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////var/lib/leader.db", "/var/lib/leader.db"),
        ("SQLite:////var/lib/leader.db", "/var/lib/leader.db"),
        ("sqlite:////var/lib/../leader.db", "/var/leader.db"),
        ("sqlite:////var/a%20b%3Fc%23d%25.db", "/var/a b?c#d%.db"),
        ("sqlite:////var/%C3%A9.db", "/var/é.db"),
        ("sqlite:////var/é.db", "/var/é.db"),
    ],
)
def test_four_slashes_name_an_absolute_path(url, path):
    found = path_of_url(url)

    assert found == Path(path)


def test_three_slashes_name_a_path_relative_to_where_the_program_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    found = path_of_url("sqlite:///var/leader.db")

    assert found == tmp_path / "var" / "leader.db"


def test_a_relative_path_in_a_directory_that_was_deleted_is_told_and_an_absolute_one_works(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(ValueError, match=r"working directory, and that was deleted.*sqlite:////absolute"):
        path_of_url("sqlite:///leader.db")

    assert path_of_url(f"sqlite:///{tmp_path}/leader.db") == tmp_path / "leader.db"


@given(names)
def test_every_name_can_be_written_as_a_url(name):
    found = path_of_url("sqlite:////var/" + quote(name, safe=""))

    assert found == Path("/var") / name


@pytest.mark.parametrize("url", ["sqlite:", "sqlite://", "sqlite:///"])
def test_no_path_means_the_state_directory_of_this_user(url, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/state")

    found = path_of_url(url)

    assert found == Path("/state/leaderlock/leaderlock.db")


@pytest.mark.parametrize("value", [None, "", "relative/state"])
def test_the_state_directory_is_under_home_unless_an_absolute_one_is_set(value, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ann")
    if value is None:
        monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_STATE_HOME", value)

    found = path_of_url("sqlite:")

    assert found == Path("/home/ann/.local/state/leaderlock/leaderlock.db")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite://var/leader.db", "'var' where a host would stand.*sqlite:////absolute"),
        ("sqlite:leader.db", "'leader.db' where a host would stand"),
        ("sqlite:/var/leader.db", "sqlite:////absolute"),
        ("sqlite:///:memory:", "elect nobody"),
        ("sqlite:////x.db?mode=ro", "%3F"),
        ("sqlite:////x.db#part", "%23"),
        ("sqlite:////x%zz.db", "hexadecimal"),
        ("sqlite:////x%FF.db", "decode"),
        ("sqlite:////x%00.db", "does not name a file"),
        ("sqlite:////var/", "does not name a file"),
        ("redis://x", "not a sqlite URL"),
        ("sqlite", "not a sqlite URL"),
    ],
)
def test_a_url_that_means_no_file_says_which_form_is_meant(url, says):
    with pytest.raises(ValueError, match=says):
        path_of_url(url)


def test_an_option_that_there_is_not_is_named(tmp_path):
    with pytest.raises(TypeError, match=r"no option 'mode'.*there are none"):
        open_backend(f"sqlite:///{tmp_path}/x.db", namespace="n", mode="ro")


def test_the_state_directory_is_made_for_its_user_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", os.fspath(tmp_path))

    open_backend("sqlite:", namespace="n").close()

    assert (tmp_path / "leaderlock").stat().st_mode & 0o777 == 0o700


def test_a_user_without_a_home_needs_no_home_to_name_a_file(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_242_424)

    open_backend(f"sqlite:///{tmp_path}/x.db", namespace="n").close()
    with pytest.raises(ValueError, match=r"no home directory.*; use sqlite:///relative/path.db or sqlite:////absolute"):
        open_backend("sqlite:", namespace="n")


@pytest.mark.parametrize("value", [None, "", "relative"])
def test_who_has_no_home_in_his_environment_has_the_file_of_who_has(value, monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    expected = path_of_url("sqlite:")
    if value is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", value)

    assert path_of_url("sqlite:") == expected
